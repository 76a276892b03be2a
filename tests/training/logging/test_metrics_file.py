"""metrics.csv and TensorBoard's files: what is written, what a resumed run drops."""

import csv

import numpy as np
import pytest

from cvae_jax.runtime import quiet_tensorflow
from cvae_jax.runtime.errors import InputError
from cvae_jax.training.logging import metrics_file
from cvae_jax.training.logging.metrics_file import EVENTS_PATTERN, CsvWriter
from cvae_jax.training.logging.trackers import Writers
from tiny import task_of, tiny_config

CONFIG = tiny_config()
COLUMNS = metrics_file.columns(task_of(CONFIG))
HEADER = ','.join(COLUMNS).encode() + b'\n'


def read_csv(folder):
  with open(folder / 'metrics.csv', newline='') as file:
    return list(csv.DictReader(file))


def read_events(folder):
  """(step, tag) of every summary under `folder`."""
  with quiet_tensorflow.quiet():
    import tensorflow as tf
    from tensorflow.core.util import event_pb2
  found = []
  for path in sorted(folder.glob(EVENTS_PATTERN)):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      event = event_pb2.Event.FromString(record)
      found += [(event.step, value.tag) for value in event.summary.value]
  return found


def write(folder, steps):
  writers = Writers(folder, CONFIG, COLUMNS, print)
  for step in steps:
    writers.write_scalars(step, {'train/loss': 1 / 3 + step, 'seconds': 0.5})
  writers.close()


def forget_after(folder, step, log=print):
  return metrics_file.forget_after(folder, step, COLUMNS, log)


def test_columns_are_the_terms_of_the_task():
  assert COLUMNS == (
    'step',
    'epoch',
    'train/loss',
    'train/reconstruction',
    'train/kl',
    'train/beta',
    'train/gradient_norm',
    'train/learning_rate',
    'validation/negative_elbo',
    'validation/reconstruction',
    'validation/kl',
    'images_per_second',
    'seconds',
  )
  dae = metrics_file.columns(task_of(tiny_config(objective='dae')))
  assert set(COLUMNS) - set(dae) == {
    'train/kl',
    'train/beta',
    'validation/negative_elbo',
    'validation/kl',
  }
  binary = metrics_file.columns(task_of(tiny_config(data__binarize='dynamic')))
  assert set(binary) - set(COLUMNS) == {'validation/bits_per_dim'}


def test_rows_read_back_as_the_same_numbers(tmp_path):
  write(tmp_path, [1, 2])
  rows = read_csv(tmp_path)
  assert tuple(rows[0]) == COLUMNS
  assert [float(row['train/loss']) for row in rows] == [1 / 3 + 1, 1 / 3 + 2]
  assert rows[0]['validation/kl'] == ''


def test_an_unknown_column_is_no_silent_loss(tmp_path):
  writer = CsvWriter(tmp_path / 'metrics.csv', COLUMNS)
  with pytest.raises(KeyError, match='colour'):
    writer.write_scalars(1, {'colour': 1.0})
  writer.close()


def test_tensorboard_gets_scalars_pictures_and_the_config(tmp_path):
  writers = Writers(tmp_path, CONFIG, COLUMNS, print)
  writers.write_scalars(3, {'train/loss': 2.0})
  writers.write_pictures(3, {'samples': np.zeros((4, 4, 1), np.uint8)})
  writers.close()
  events = read_events(tmp_path)
  assert {(3, 'train/loss'), (3, 'samples')} <= set(events)
  assert any('hparams' in tag for _, tag in events)


def test_a_resumed_run_logs_each_step_once(tmp_path):
  write(tmp_path, [2, 4, 6, 8])
  assert forget_after(tmp_path, 5) == 0.5
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4']
  write(tmp_path, [6, 8])
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4', '6', '8']
  steps = [step for step, tag in read_events(tmp_path) if tag == 'train/loss']
  assert sorted(steps) == [2, 4, 6, 8]


def test_the_columns_of_an_earlier_version_stay(tmp_path):
  """It had columns that no task of this one reports, and they lie between the others."""
  names = [*COLUMNS[:3], 'train/colour', *COLUMNS[3:]]
  before = ','.join(names) + '\n2,1.0,' + ',' * (len(names) - 3) + '7.5\n'
  (tmp_path / 'metrics.csv').write_text(before)
  assert forget_after(tmp_path, 2) == 7.5
  write(tmp_path, [4])
  assert (tmp_path / 'metrics.csv').read_text().startswith(before)
  old, new = read_csv(tmp_path)
  assert list(new) == names
  assert (old['epoch'], new['train/colour'], float(new['train/loss'])) == ('1.0', '', 1 / 3 + 4)


def test_a_line_or_record_that_a_crash_cut_off_is_dropped(tmp_path):
  write(tmp_path, [2, 4])
  with open(tmp_path / 'metrics.csv', 'a') as file:
    file.write('5,0.1')  # the end of the line is missing
  events = next(tmp_path.glob(EVENTS_PATTERN))
  events.write_bytes(events.read_bytes()[:-7])
  forget_after(tmp_path, 5)
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4']
  write(tmp_path, [6])
  assert [row['step'] for row in read_csv(tmp_path)] == ['2', '4', '6']
  steps = {step for step, tag in read_events(tmp_path) if tag == 'train/loss'}
  assert steps >= {2, 6}


def test_files_without_later_steps_are_left_as_they_are(tmp_path):
  write(tmp_path, [2, 4])
  before = {path: path.read_bytes() for path in tmp_path.iterdir()}
  forget_after(tmp_path, 4)
  assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
  ('content', 'names'),
  [
    (b'step,colour\n1,red\n', 'step,epoch,'),
    (b'a;b\xff\xfe\x00\n', 'step,epoch,'),
    (HEADER + b'1,2\n', "'1,2'"),
    (HEADER + b'x' + b',' * 12 + b'\n', "'x,"),
  ],
)
def test_a_table_that_no_run_wrote_is_refused_and_left_as_it_is(tmp_path, content, names):
  (tmp_path / 'metrics.csv').write_bytes(content)
  with pytest.raises(InputError, match=names) as error:
    forget_after(tmp_path, 5)
  assert str(tmp_path / 'metrics.csv') in str(error.value)
  assert (tmp_path / 'metrics.csv').read_bytes() == content


@pytest.mark.parametrize('content', [b'', b'step,ep', HEADER])
def test_a_table_without_rows_is_begun_anew(tmp_path, content):
  (tmp_path / 'metrics.csv').write_bytes(content)
  assert forget_after(tmp_path, 5) == 0.0
  write(tmp_path, [6])
  assert [row['step'] for row in read_csv(tmp_path)] == ['6']


def test_only_the_end_of_a_long_table_is_read(tmp_path):
  """Of a million rows, in a file that takes no room where nothing was written to it."""
  path = tmp_path / 'metrics.csv'
  commas = b',' * (len(COLUMNS) - 1)
  rows = b''.join(b'%d%s7.5\n' % (step, commas) for step in (999_998, 999_999, 1_000_000))
  with open(path, 'wb') as file:
    file.write(HEADER)
    file.seek(1 << 36)  # 64 GB
    file.write(b'\n' + rows)
  assert forget_after(tmp_path, 999_999) == 7.5
  with open(path, 'rb') as file:
    file.seek(1 << 36)
    assert file.read() == b'\n' + rows[: rows.index(b'1000000')]


def test_a_flipped_bit_in_the_events_drops_no_others(tmp_path):
  write(tmp_path, [2, 4, 6])
  events = next(tmp_path.glob(EVENTS_PATTERN))
  content = bytearray(events.read_bytes())
  content[len(content) // 3] ^= 4
  events.write_bytes(content)
  forget_after(tmp_path, 6)
  assert events.read_bytes() == content


def test_events_that_cannot_be_read_are_logged(tmp_path):
  write(tmp_path, [2, 4])
  (tmp_path / 'events.out.tfevents.1.folder').mkdir()
  logged = []
  forget_after(tmp_path, 2, logged.append)
  (line,) = logged
  assert 'TensorBoard' in line
  assert 'step 2 ' in line
  assert [row['step'] for row in read_csv(tmp_path)] == ['2']
