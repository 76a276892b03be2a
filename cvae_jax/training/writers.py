"""Where the numbers of a run go: metrics.csv and TensorBoard, both cut back when a run resumes."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from cvae_jax import tensorflow_runtime

CSV_NAME = 'metrics.csv'
EVENTS_PATTERN = 'events.out.tfevents.*'
COLUMNS = (
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
  'validation/bits_per_dim',
  'images_per_second',
  'seconds',
)


class CsvWriter:
  """Appends rows to metrics.csv, each on disk before the next step begins."""

  def __init__(self, path: Path):
    self._file = open(path, 'a', newline='', encoding='utf-8', buffering=1)  # noqa: SIM115
    self._writer = csv.writer(self._file)
    if not path.stat().st_size:
      self._writer.writerow(COLUMNS)

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One row; columns without a value stay empty.

    Raises:
      KeyError: a name that is no column.
    """
    if unknown := set(scalars) - set(COLUMNS):
      raise KeyError(f'no columns of {CSV_NAME}: {sorted(unknown)}')
    row = {'step': step} | scalars
    # repr: the shortest text that reads back as the same number.
    self._writer.writerow([repr(row[name]) if name in row else '' for name in COLUMNS])

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class Writers:
  """metrics.csv, and TensorBoard through CLU where TensorFlow is installed."""

  def __init__(self, workdir: Path, say: Callable[[str], None]):
    """Opens both; `say` hears of it where there is no TensorFlow."""
    self._csv = CsvWriter(workdir / CSV_NAME)
    self._tensorboard = None
    self._knows_hparams = any(workdir.glob(EVENTS_PATTERN))
    if tensorflow_runtime.installed('tensorboard'):
      with tensorflow_runtime.quiet():
        from clu import metric_writers

        self._tensorboard = metric_writers.SummaryWriter(str(workdir))
    else:
      say('TensorFlow is not installed: no TensorBoard logs; the numbers are in metrics.csv.')

  def write_hparams(self, hparams: Mapping[str, object]) -> None:
    """The config, flat, for TensorBoard's table of runs; once for a run, however often resumed."""
    if self._tensorboard and not self._knows_hparams:
      plain = (bool, int, float, str)
      self._tensorboard.write_hparams(
        {name: value if isinstance(value, plain) else str(value) for name, value in hparams.items()}
      )

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One row of metrics.csv, whose columns are the names, and as many points in TensorBoard."""
    self._csv.write_scalars(step, scalars)
    if self._tensorboard:
      self._tensorboard.write_scalars(step, scalars)
      self._tensorboard.flush()

  def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """uint8 [H, W, C] each."""
    if self._tensorboard:
      self._tensorboard.write_images(step, pictures)
      self._tensorboard.flush()

  def close(self) -> None:
    """Closes both."""
    self._csv.close()
    if self._tensorboard:
      self._tensorboard.close()


class Silence:
  """What a process writes that leaves the writing to another one: nothing."""

  def write_hparams(self, hparams: Mapping[str, object]) -> None:
    """Nothing."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Nothing."""

  def close(self) -> None:
    """Nothing."""


def forget_after(workdir: Path, step: int) -> float:
  """Drops all that was written about steps after `step`, so that a resumed run says it once.

  Returns:
    The seconds that the run had taken by the last row that stays.
  """
  seconds = _cut_csv(workdir / CSV_NAME, step)
  event_files = list(workdir.glob(EVENTS_PATTERN))
  if event_files and tensorflow_runtime.installed():
    for path in event_files:
      _cut_events(path, step)
  return seconds


def _cut_csv(path: Path, step: int) -> float:
  if not path.is_file():
    return 0.0
  with open(path, 'r+b') as file:
    kept, last = 0, b''
    for number, line in enumerate(file):
      # A line without its end was cut off by a crash.
      if not line.endswith(b'\n') or (number and int(line.split(b',', 1)[0]) > step):
        break
      kept, last = kept + len(line), line
    file.truncate(kept)
  return float(last.rpartition(b',')[2]) if last[:1].isdigit() else 0.0


def _cut_events(path: Path, step: int) -> None:
  with tensorflow_runtime.quiet():
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

  kept, dropped = [], 0
  records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  while True:
    try:
      record = next(records)
    except StopIteration:
      break
    except tf.errors.DataLossError:  # the crash was in the middle of a record
      dropped += 1
      break
    if event_pb2.Event.FromString(record).step > step:
      dropped += 1
    else:
      kept.append(record)
  if not dropped:
    return
  # Not a name that TensorBoard would read, should this be cut off too.
  temporary = path.with_name(f'.{path.name}.tmp')
  with tf.io.TFRecordWriter(str(temporary)) as writer:
    for record in kept:
      writer.write(record)
  os.replace(temporary, path)
