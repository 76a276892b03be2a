"""metrics.csv and TensorBoard's files: what is written, what a resumed run forgets."""

import csv

import numpy as np
import pytest

from cvae_jax import tensorflow_runtime
from cvae_jax.training import writers


def read_csv(folder):
  with open(folder / 'metrics.csv', newline='') as file:
    return list(csv.DictReader(file))


def read_events(folder):
  """(step, tag) of every summary under `folder`."""
  with tensorflow_runtime.quiet():
    import tensorflow as tf
    from tensorflow.core.util import event_pb2
  found = []
  for path in sorted(folder.glob(writers.EVENTS_PATTERN)):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      event = event_pb2.Event.FromString(record)
      found += [(event.step, value.tag) for value in event.summary.value]
  return found


def write(folder, steps):
  log = writers.Writers(folder, print)
  for step in steps:
    log.write_scalars(step, {'train/loss': 1 / 3 + step, 'seconds': 0.5})
  log.close()


def test_rows_read_back_as_the_same_numbers(tmp_path):
  write(tmp_path, [1, 2])
  rows = read_csv(tmp_path)
  assert list(rows[0]) == list(writers.COLUMNS)
  assert [float(row['train/loss']) for row in rows] == [1 / 3 + 1, 1 / 3 + 2]
  assert rows[0]['validation/kl'] == ''


def test_unknown_columns_are_no_silent_loss(tmp_path):
  writer = writers.CsvWriter(tmp_path / 'metrics.csv')
  with pytest.raises(KeyError, match='colour'):
    writer.write_scalars(1, {'colour': 1.0})
  writer.close()


def test_tensorboard_gets_scalars_pictures_and_the_config(tmp_path):
  log = writers.Writers(tmp_path, print)
  log.write_hparams({'beta': 1.0, 'channels': (3, 4)})
  log.write_scalars(3, {'train/loss': 2.0})
  log.write_pictures(3, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  events = read_events(tmp_path)
  assert {(3, 'train/loss'), (3, 'samples')} <= set(events)
  assert any('hparams' in tag for _, tag in events)


def test_a_resumed_run_says_each_step_once(tmp_path):
  write(tmp_path, [2, 4, 6, 8])
  writers.forget_after(tmp_path, 5)
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4']
  write(tmp_path, [6, 8])
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4', '6', '8']
  steps = [step for step, tag in read_events(tmp_path) if tag == 'train/loss']
  assert sorted(steps) == [2, 4, 6, 8]


def test_what_a_crash_cut_off_is_dropped(tmp_path):
  write(tmp_path, [2, 4])
  with open(tmp_path / 'metrics.csv', 'a') as file:
    file.write('5,0.1')  # the end of the line is missing
  events = next(tmp_path.glob(writers.EVENTS_PATTERN))
  events.write_bytes(events.read_bytes()[:-7])
  writers.forget_after(tmp_path, 5)
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4']
  write(tmp_path, [6])
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4', '6']
  steps = {step for step, tag in read_events(tmp_path) if tag == 'train/loss'}
  assert steps >= {2, 6}


def test_nothing_to_forget_changes_nothing(tmp_path):
  write(tmp_path, [2, 4])
  before = {path: path.read_bytes() for path in tmp_path.iterdir()}
  writers.forget_after(tmp_path, 4)
  assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_training_goes_on_without_tensorflow(tmp_path, monkeypatch):
  monkeypatch.setattr(tensorflow_runtime, 'installed', lambda *_: False)
  said = []
  log = writers.Writers(tmp_path, said.append)
  log.write_hparams({'beta': 1.0})
  log.write_scalars(1, {'train/loss': 2.0})
  log.write_pictures(1, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  assert len(said) == 1
  assert 'no TensorBoard logs' in said[0]
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.csv']
