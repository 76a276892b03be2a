"""Where the numbers of a run go: metrics.csv and TensorBoard, cut back on resuming; trackers."""

import csv
import importlib.util
import mmap
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax import config as config_lib
from cvae_jax.runtime import quiet_tensorflow as tensorflow_runtime
from cvae_jax.runtime.errors import InputError, reason

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


class Tracker:
  """One of CLU's writers. Where it fails, that is said once, and nothing more is written to it."""

  def __init__(self, name: str, open_writer: Callable[[], Any], say: Callable[[str], None]):
    """Opens it.

    Args:
      name: for people.
      open_writer: gives one of CLU's writers; called where TensorFlow is quiet.
      say: hears of it where it fails.
    """
    self._name, self._say, self._writer = name, say, None
    if not tensorflow_runtime.installed('tensorboard'):
      say(f'TensorFlow is not installed: nothing for {name}; the numbers are in metrics.csv.')
      return
    try:
      with tensorflow_runtime.quiet():
        self._writer = open_writer()
    except Exception as error:  # whatever a broken installation raises
      self._give_up(error)

  def write(self, action: Callable[[Any], None]) -> None:
    """Does something with the writer, while there is one."""
    if self._writer is None:
      return
    try:
      with tensorflow_runtime.quiet():
        action(self._writer)
        self._writer.flush()
    except Exception as error:  # those of TensorFlow and wandb share no base class with Python's
      self._give_up(error)

  def _give_up(self, error: Exception) -> None:
    self._writer = None
    self._say(
      f'{self._name} fails ({reason(error)}): no more logs for it; the numbers are in metrics.csv.'
    )


def _trackers(workdir: Path, config, say: Callable[[str], None]) -> list[Tracker]:
  """TensorBoard, and what the config asks for beside it."""

  def open_tensorboard():
    from clu import metric_writers

    return metric_writers.SummaryWriter(str(workdir))

  def open_wandb():
    from cvae_jax.training import wandb_writer

    if not wandb_writer.is_online():
      say(
        'WANDB_API_KEY is not set: Weights & Biases is written offline, and '
        f'`wandb sync {workdir}/wandb/offline-run-*` sends it'
      )
    return wandb_writer.WandbWriter(workdir, config.name)

  found = [Tracker('TensorBoard', open_tensorboard, say)]
  if config.tracker == 'wandb':
    if importlib.util.find_spec('wandb') is None:
      say('tracker=wandb needs a package that is not installed: pip install wandb')
    else:
      found.append(Tracker('Weights & Biases', open_wandb, say))
  return found


class Writers:
  """metrics.csv, TensorBoard where it can be had, and the tracker of the config."""

  def __init__(self, workdir: Path, config, say: Callable[[str], None]):
    """Opens them; `say` hears of it where a tracker cannot be written to."""
    # TensorBoard has the config once for a run, however often resumed.
    first = 1 if any(workdir.glob(EVENTS_PATTERN)) else 0
    self._csv = CsvWriter(workdir / CSV_NAME)
    self._trackers = _trackers(workdir, config, say)
    plain = (bool, int, float, str)
    hparams = {
      name: value if isinstance(value, plain) else str(value)
      for name, value in config_lib.fields(config)
    }
    for tracker in self._trackers[first:]:
      tracker.write(lambda writer: writer.write_hparams(hparams))

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One row of metrics.csv, whose columns are the names, and as many points of the trackers."""
    self._csv.write_scalars(step, scalars)
    self._write(lambda writer: writer.write_scalars(step, scalars))

  def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """uint8 [H, W, C] each, for the trackers."""
    self._write(lambda writer: writer.write_images(step, pictures))

  def close(self) -> None:
    """Closes all."""
    self._csv.close()
    self._write(lambda writer: writer.close())

  def _write(self, action: Callable[[Any], None]) -> None:
    for tracker in self._trackers:
      tracker.write(action)


class Silence:
  """What a process writes that leaves the writing to another one: nothing."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Nothing."""

  def close(self) -> None:
    """Nothing."""


def keep_copy(workdir: Path, folder: Path) -> Path | None:
  """Copies metrics.csv into `folder`, if a validation stands in it; returns the copy."""
  path = workdir / CSV_NAME
  if not path.is_file():
    return None
  with open(path, newline='', encoding='utf-8', errors='replace') as file:
    if not any(row.get('validation/reconstruction') for row in csv.DictReader(file)):
      return None
  target, number = folder / CSV_NAME, 2
  while target.exists():
    target, number = target.with_stem(f'{path.stem}-{number}'), number + 1
  folder.mkdir(exist_ok=True)
  shutil.copy(path, target)
  return target


def forget_after(workdir: Path, step: int, say: Callable[[str], None]) -> float:
  """Drops all that was written about steps after `step`, so that a resumed run says it once.

  Args:
    workdir: the run's folder.
    step: the last one to be kept.
    say: hears of it where TensorBoard's files cannot be cut back.

  Returns:
    The seconds that the run had taken by the last row that stays.

  Raises:
    InputError: metrics.csv is not one of this version.
  """
  seconds = _cut_csv(workdir / CSV_NAME, step)
  event_files = list(workdir.glob(EVENTS_PATTERN))
  if event_files and tensorflow_runtime.installed():
    try:
      for path in event_files:
        _cut_events(path, step)
    except Exception as error:  # TensorFlow's errors share no base class with Python's.
      say(f'what TensorBoard has after step {step} could not be dropped ({reason(error)})')
  return seconds


def _cut_csv(path: Path, step: int) -> float:
  if not path.is_file():
    return 0.0
  with open(path, 'r+b') as file:
    if not path.stat().st_size:
      return 0.0
    # From the end, where the rows to drop are, however long the file is.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
      header = content.readline()
      if header.endswith(b'\n') and header.decode(errors='replace').rstrip() != ','.join(COLUMNS):
        raise InputError(
          f'{path} has other columns than this version writes: {",".join(COLUMNS)}. Move it '
          'elsewhere, and training goes on with a new one.'
        )
      end, seconds = content.rfind(b'\n') + 1, 0.0  # a line without its end was cut off by a crash
      while end > len(header):
        begin = content.rfind(b'\n', 0, end - 1) + 1
        last, seconds = _step_and_seconds(path, content[begin:end])
        if last <= step:
          break
        end, seconds = begin, 0.0
    file.truncate(end)
  return seconds


def _step_and_seconds(path: Path, row: bytes) -> tuple[int, float]:
  values = row.rstrip().split(b',')
  try:
    if len(values) != len(COLUMNS):
      raise ValueError
    return int(values[0]), float(values[-1] or 0)
  except ValueError as error:
    shown = row[:60].decode(errors='replace').rstrip()
    raise InputError(
      f'{path} has a row that no run wrote: {shown!r}. Remove it, or move the file elsewhere.'
    ) from error


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
      except tf.errors.DataLossError as error:
        # A crash left the half of a record; or one is damaged, and others may lie behind it.
        dropped += 'truncated' in str(error)
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
