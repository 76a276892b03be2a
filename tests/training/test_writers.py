"""metrics.csv and TensorBoard's files: what is written, what a resumed run forgets."""

import csv
import importlib.util
import sys
import time

import numpy as np
import pytest

from cvae_jax.runtime import quiet_tensorflow as tensorflow_runtime
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import writers
from tiny import tiny_config


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
  log = writers.Writers(folder, tiny_config(), print)
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
  log = writers.Writers(tmp_path, tiny_config(), print)
  log.write_scalars(3, {'train/loss': 2.0})
  log.write_pictures(3, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  events = read_events(tmp_path)
  assert {(3, 'train/loss'), (3, 'samples')} <= set(events)
  assert any('hparams' in tag for _, tag in events)


def test_a_resumed_run_says_each_step_once(tmp_path):
  write(tmp_path, [2, 4, 6, 8])
  writers.forget_after(tmp_path, 5, print)
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
  writers.forget_after(tmp_path, 5, print)
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4']
  write(tmp_path, [6])
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4', '6']
  steps = {step for step, tag in read_events(tmp_path) if tag == 'train/loss'}
  assert steps >= {2, 6}


def test_nothing_to_forget_changes_nothing(tmp_path):
  write(tmp_path, [2, 4])
  before = {path: path.read_bytes() for path in tmp_path.iterdir()}
  writers.forget_after(tmp_path, 4, print)
  assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_training_goes_on_without_tensorflow(tmp_path, monkeypatch):
  monkeypatch.setattr(tensorflow_runtime, 'installed', lambda *_: False)
  said = []
  log = writers.Writers(tmp_path, tiny_config(), said.append)
  log.write_scalars(1, {'train/loss': 2.0})
  log.write_pictures(1, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  assert len(said) == 1
  assert 'nothing for TensorBoard' in said[0]
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.csv']


def test_training_goes_on_if_tensorboard_breaks(tmp_path, monkeypatch):
  said = []
  log = writers.Writers(tmp_path, tiny_config(), said.append)
  log.write_scalars(1, {'train/loss': 2.0})
  from clu.metric_writers import SummaryWriter

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(SummaryWriter, 'write_scalars', fail)
  log.write_scalars(2, {'train/loss': 3.0})
  log.write_scalars(3, {'train/loss': 4.0})
  log.write_pictures(3, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  (line,) = said
  assert line.startswith('TensorBoard fails (No space left on device)')
  assert [row['step'] for row in read_csv(tmp_path)] == ['1', '2', '3']


def test_a_tensorflow_that_cannot_be_imported_costs_one_line(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'clu', None)
  said = []
  log = writers.Writers(tmp_path, tiny_config(), said.append)
  log.write_scalars(1, {'train/loss': 2.0})
  log.close()
  (line,) = said
  assert line.startswith('TensorBoard fails (ModuleNotFoundError: ')
  assert len(read_csv(tmp_path)) == 1


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'step,colour\n1,red\n', 'has other columns than this version writes: step,epoch,'),
    (b'a;b\xff\xfe\x00\n', 'has other columns'),
    (','.join(writers.COLUMNS).encode() + b'\n1,2\n', "a row that no run wrote: '1,2'"),
    (','.join(writers.COLUMNS).encode() + b'\nx' + b',' * 13 + b'\n', 'a row that no run wrote'),
  ],
)
def test_a_table_of_another_hand_is_refused_and_left_as_it_is(tmp_path, content, message):
  (tmp_path / 'metrics.csv').write_bytes(content)
  with pytest.raises(InputError, match=message):
    writers.forget_after(tmp_path, 5, print)
  assert (tmp_path / 'metrics.csv').read_bytes() == content


@pytest.mark.parametrize('content', [b'', b'step,ep', ','.join(writers.COLUMNS).encode() + b'\n'])
def test_a_table_without_rows_is_begun_anew(tmp_path, content):
  (tmp_path / 'metrics.csv').write_bytes(content)
  assert writers.forget_after(tmp_path, 5, print) == 0.0
  write(tmp_path, [6])
  assert [row['step'] for row in read_csv(tmp_path)] == ['6']


def test_only_the_end_of_a_long_table_is_read(tmp_path):
  """Of a million rows, in a file that takes no room where nothing was written to it."""
  path = tmp_path / 'metrics.csv'
  rows = b''.join(b'%d,' % step + b',' * 12 + b'7.5\n' for step in (999_998, 999_999, 1_000_000))
  with open(path, 'wb') as file:
    file.write(','.join(writers.COLUMNS).encode() + b'\n')
    file.seek(1 << 36)  # 64 GB
    file.write(b'\n' + rows)
  assert writers.forget_after(tmp_path, 999_999, print) == 7.5
  with open(path, 'rb') as file:
    file.seek(1 << 36)
    assert file.read() == b'\n' + rows[: rows.index(b'1000000')]


def test_a_flipped_bit_in_the_events_costs_no_others(tmp_path):
  write(tmp_path, [2, 4, 6])
  events = next(tmp_path.glob(writers.EVENTS_PATTERN))
  content = bytearray(events.read_bytes())
  content[len(content) // 3] ^= 4
  events.write_bytes(content)
  writers.forget_after(tmp_path, 6, print)
  assert events.read_bytes() == content


def test_events_that_cannot_be_read_are_said(tmp_path):
  write(tmp_path, [2, 4])
  (tmp_path / 'events.out.tfevents.1.folder').mkdir()
  said = []
  writers.forget_after(tmp_path, 2, said.append)
  (line,) = said
  assert line.startswith('what TensorBoard has after step 2 could not be dropped')
  assert [row['step'] for row in read_csv(tmp_path)] == ['2']


def wandb_lines(folder, monkeypatch, **environment):
  """What is said while a run of Weights & Biases is written in `folder`."""
  pytest.importorskip('wandb')
  for name in ('WANDB_API_KEY', 'WANDB_MODE'):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  said = []
  log = writers.Writers(folder, tiny_config(tracker='wandb'), said.append)
  log.write_scalars(2, {'train/loss': 2.5})
  log.write_pictures(2, {'samples': np.zeros((4, 4, 1), np.uint8)})
  log.close()
  assert [row['step'] for row in read_csv(folder)] == ['2']
  return said


def test_weights_and_biases_works_offline_and_says_how_to_send_it(tmp_path, monkeypatch):
  (line,) = wandb_lines(tmp_path, monkeypatch)
  assert line.startswith('WANDB_API_KEY is not set: Weights & Biases is written offline')
  (written,) = tmp_path.glob('wandb/offline-run-*/*.wandb')
  # By wandb's own process, which on a busy machine is not done when it says so.
  expected = (b'train/loss', b'2.5', b'beta_schedule')  # the last of the config
  deadline = time.monotonic() + 60
  while missing := [text for text in expected if text not in written.read_bytes()]:
    assert time.monotonic() < deadline, missing
    time.sleep(0.1)
  assert list(tmp_path.glob('wandb/offline-run-*/files/media/images/samples_2_*.png'))


def test_weights_and_biases_that_cannot_be_reached_costs_a_line(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  with tensorflow_runtime.quiet():
    from cvae_jax.training import wandb_writer
  monkeypatch.setattr(wandb_writer, 'INIT_TIMEOUT_SECONDS', 3)
  nowhere = {'WANDB_API_KEY': 40 * '0', 'WANDB_BASE_URL': 'http://127.0.0.1:9'}
  (line,) = wandb_lines(tmp_path, monkeypatch, **nowhere)
  assert line.startswith('Weights & Biases fails (')
  assert line.endswith(': no more logs for it; the numbers are in metrics.csv.')


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    writers.importlib.util, 'find_spec', lambda name: None if name == 'wandb' else find(name)
  )
  said = []
  writers.Writers(tmp_path, tiny_config(tracker='wandb'), said.append).close()
  assert said == ['tracker=wandb needs a package that is not installed: pip install wandb']
