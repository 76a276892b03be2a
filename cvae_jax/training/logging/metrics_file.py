"""metrics.csv and TensorBoard's files of a run, cut back when it is resumed."""

import csv
import mmap
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from cvae_jax.runtime import quiet_tensorflow
from cvae_jax.runtime.errors import InputError, reason
from cvae_jax.tasks import Task
from cvae_jax.training.step import term_names

CSV_NAME = 'metrics.csv'
EVENTS_PATTERN = 'events.out.tfevents.*'


def columns(task: Task) -> tuple[str, ...]:
  """The columns of metrics.csv: the terms of the training steps, then those of validations."""
  return (
    'step',
    'epoch',
    *(f'train/{name}' for name in term_names(task)),
    *(f'validation/{name}' for name in task.validation_terms),
    'images_per_second',
    'seconds',
  )


class CsvWriter:
  """Appends rows to metrics.csv, each on disk before the next step begins."""

  def __init__(self, path: Path, columns: tuple[str, ...]):
    """Opens the file; an existing one keeps its columns (see `forget_after`)."""
    self._columns = _header(path) or columns
    self._file = open(path, 'a', newline='', encoding='utf-8', buffering=1)  # noqa: SIM115
    self._writer = csv.writer(self._file)
    if not path.stat().st_size:
      self._writer.writerow(self._columns)

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One row; columns without a value stay empty.

    Raises:
      KeyError: a name that is no column.
    """
    if unknown := set(scalars) - set(self._columns):
      raise KeyError(f'no columns of {CSV_NAME}: {sorted(unknown)}')
    row = {'step': step} | scalars
    # repr: the shortest text that reads back as the same number.
    self._writer.writerow([repr(row[name]) if name in row else '' for name in self._columns])

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def _header(path: Path) -> tuple[str, ...] | None:
  if not path.is_file():
    return None
  with open(path, newline='', encoding='utf-8', errors='replace') as file:
    line = file.readline()
  return tuple(line.rstrip('\r\n').split(',')) if line.endswith('\n') else None


def keep_copy(workdir: Path, folder: Path) -> Path | None:
  """Copies metrics.csv into `folder` if it holds a validation; returns the copy, or None."""
  path = workdir / CSV_NAME
  if not path.is_file():
    return None
  with open(path, newline='', encoding='utf-8', errors='replace') as file:
    rows = csv.DictReader(file)
    validations = [name for name in rows.fieldnames or () if name.startswith('validation/')]
    if not any(row.get(name) for row in rows for name in validations):
      return None
  target, number = folder / CSV_NAME, 2
  while target.exists():
    target, number = target.with_stem(f'{path.stem}-{number}'), number + 1
  folder.mkdir(exist_ok=True)
  shutil.copyfile(path, target)  # not its mode, which network drives refuse
  return target


def forget_after(
  workdir: Path, step: int, columns: tuple[str, ...], log: Callable[[str], None]
) -> float:
  """Drops what was written about steps after `step`, so that a resumed run logs them once.

  Args:
    workdir: the run's folder.
    step: the last step to keep.
    columns: what metrics.csv must have; it may have more, from an earlier version.
    log: receives a line if TensorBoard's files cannot be cut back.

  Returns:
    Seconds of the run at the last row that stays.

  Raises:
    InputError: metrics.csv is not one of this version.
  """
  seconds = _cut_csv(workdir / CSV_NAME, step, columns)
  event_files = list(workdir.glob(EVENTS_PATTERN))
  if event_files and quiet_tensorflow.installed():
    try:
      for path in event_files:
        _cut_events(path, step)
    except Exception as error:  # TensorFlow's errors share no base class with Python's.
      log(f'what TensorBoard has after step {step} could not be dropped ({reason(error)})')
  return seconds


def _cut_csv(path: Path, step: int, columns: tuple[str, ...]) -> float:
  if not path.is_file():
    return 0.0
  with open(path, 'r+b') as file:
    if not path.stat().st_size:
      return 0.0
    # From the end, where the rows to drop are, however long the file is.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
      header = content.readline()
      names = header.decode(errors='replace').rstrip().split(',')
      if header.endswith(b'\n') and not (set(columns) <= set(names) and names[0] == 'step'):
        raise InputError(
          f'{path} lacks columns of this run: {",".join(columns)}. Move it elsewhere, and training '
          'continues with a new one.'
        )
      end, seconds = content.rfind(b'\n', 0) + 1, 0.0  # a crash left an incomplete line
      while end > len(header):
        begin = content.rfind(b'\n', 0, end - 1) + 1
        last, seconds = _step_and_seconds(path, content[begin:end], names)
        if last <= step:
          break
        end, seconds = begin, 0.0
    file.truncate(end)
  return seconds


def _step_and_seconds(path: Path, row: bytes, names: list[str]) -> tuple[int, float]:
  values = row.rstrip().split(b',')
  try:
    if len(values) != len(names):
      raise ValueError
    return int(values[0]), float(values[names.index('seconds')] or 0)
  except ValueError as error:
    shown = row[:60].decode(errors='replace').rstrip()
    raise InputError(
      f'{path} has a row that no run wrote: {shown!r}. Remove it, or move the file elsewhere.'
    ) from error


def _cut_events(path: Path, step: int) -> None:
  with quiet_tensorflow.quiet():
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
        # A crash truncated the last record; or one is damaged, and others may follow it.
        dropped += 'truncated' in str(error)
        break
      if event_pb2.Event.FromString(record).step > step:
        dropped += 1
      else:
        kept.append(record)
  if not dropped:
    return
  # A name that TensorBoard does not read, in case this is interrupted too.
  temporary = path.with_name(f'.{path.name}.tmp')
  with tf.io.TFRecordWriter(str(temporary)) as writer:
    for record in kept:
      writer.write(record)
  os.replace(temporary, path)
