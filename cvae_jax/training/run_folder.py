"""The folder of a run: whether it can be used, what is in it, where its checkpoints are."""

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from errno import EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import NamedTuple

from cvae_jax import config as config_lib
from cvae_jax.runtime import paths, processes, progress
from cvae_jax.runtime.errors import InputError, OccupiedError, WriteError, did_you_mean

CHECKPOINTS = 'checkpoints'
SAMPLES = 'samples'  # holds a picture of the last step of a finished run
# What flock answers on file systems without it: NFS without its daemon, Lustre, some FUSE. 524 is
# the kernel's ENOTSUPP, which has no name.
NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL, 524)


class CheckpointPath(NamedTuple):
  """A run's folder and the step of a checkpoint in it, if one is named."""

  run: Path
  step: int | None


def free_name(workdir: Path) -> Path:
  """`workdir-2`, or with the first higher number that is free."""
  if workdir.name in ('', '..'):  # '.', '/' and the like
    workdir = Path('runs') / (workdir.resolve().name or 'run')
  number = 2
  while (candidate := workdir.with_name(f'{workdir.name}-{number}')).exists():
    number += 1
  return candidate


def is_step(text: str) -> bool:
  """Whether `text` is the number of a step."""
  return text.isascii() and text.isdigit() and len(text) <= 10


def holds_run(workdir: Path) -> bool:
  """Whether a run has begun in `workdir`."""
  return (workdir / config_lib.FILE_NAME).is_file()


def check_present(workdir: Path) -> None:
  """Raises WriteError if the folder of a run was moved or deleted: Orbax would make it anew."""
  if not holds_run(workdir):
    raise WriteError(f'its {config_lib.FILE_NAME} is gone (was the folder moved or deleted?)')


def has_checkpoint(workdir: Path) -> bool:
  """Whether a checkpoint has been completed in `workdir`; unfinished ones have other names."""
  return any(is_step(path.name) for path in (workdir / CHECKPOINTS).glob('*'))


def checkpoint_path(run: Path, step: int) -> Path:
  """The folder of the checkpoint of that step."""
  return run / CHECKPOINTS / str(step)


def check_usable(workdir: Path, config) -> None:
  """Raises OccupiedError unless `workdir` is free, or holds the run that `config` describes."""
  if workdir.exists() and not workdir.is_dir():
    raise OccupiedError(f'{workdir} is a file, expected a folder.', free_name(workdir))
  for inside in (workdir / CHECKPOINTS, workdir / SAMPLES):
    if inside.is_file():
      raise OccupiedError(f'{inside} is a file, expected a folder.', free_name(workdir))
  if holds_run(workdir):
    if different := config_lib.differences(config_lib.read(workdir).config, config):
      listed = '; '.join(map(str, different))
      message, free = f'{workdir} holds another run: {listed}.', free_name(workdir)
      is_longer = different[0].field == 'num_epochs' and different[0].given > different[0].saved
      if not (is_longer and len(different) == 1 and has_checkpoint(workdir)):
        raise OccupiedError(message, free)
      message += (
        f' To train on, continue it in another folder, with the schedules of {config.num_epochs} '
        'epochs.'
      )
      raise OccupiedError(message, free, resume_from=workdir)
  elif workdir.is_dir() and any(not path.name.startswith('.') for path in workdir.iterdir()):
    raise OccupiedError(
      f'{workdir} holds files that are no run (no config.json).', free_name(workdir)
    )


def locate(path: Path, shipped: tuple[str, ...] = ()) -> CheckpointPath:
  """Finds a run's folder, or one checkpoint in it (`<run>/checkpoints/<step>`).

  Args:
    path: as the user gave it.
    shipped: names of shipped weights, for the error message.

  Raises:
    InputError: it is neither.
  """
  given, path = path, paths.from_user(path).resolve()
  if holds_run(path):
    return CheckpointPath(path, None)
  if path.name == CHECKPOINTS and holds_run(path.parent):
    return CheckpointPath(path.parent, None)
  if path.parent.name == CHECKPOINTS and is_step(path.name) and path.is_dir():
    return CheckpointPath(path.parents[1], int(path.name))
  inside = sorted(inner.name for inner in path.glob('*') if holds_run(inner))
  if inside:
    raise InputError(
      f'{path} holds {len(inside)} run(s): name one of them, e.g. {path / inside[0]}.'
    )
  names = f', or the name of shipped weights: {", ".join(shipped)}' if shipped else ''
  raise InputError(
    f'{path} is neither a run folder nor a checkpoint in one. '
    f'Expected e.g. runs/mnist or runs/mnist/checkpoints/4290{names}.'
    f'{did_you_mean(str(given), shipped)}'
  )


def newest(runs: Path) -> Path | None:
  """The run under `runs`, or in a sweep's folder there, with the newest checkpoint; or None."""
  checkpoints = [
    path
    for pattern in (f'*/{CHECKPOINTS}/*', f'*/*/{CHECKPOINTS}/*')
    for path in runs.glob(pattern)
    if is_step(path.name) and holds_run(path.parents[1])
  ]
  if not checkpoints:
    return None
  return max(checkpoints, key=lambda path: path.stat().st_mtime_ns).parents[1]


@contextlib.contextmanager
def made_whole(workdir: Path) -> Iterator[Path]:
  """Yields a folder to fill, which is moved to `workdir` if the block succeeds.

  Several processes may fill it together.

  Raises:
    InputError: the folder cannot be written.
  """
  workdir = workdir.resolve()
  unfinished = workdir.with_name(f'.{workdir.name}.unfinished')
  try:
    with processes.together():
      if processes.is_main():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    yield unfinished
    with processes.together():
      if processes.is_main():
        _move_entries(unfinished, workdir)
  except OSError as error:
    raise InputError(f'{workdir} cannot be written: {error}. Name another --workdir.') from error
  finally:
    if processes.is_main():
      shutil.rmtree(unfinished, ignore_errors=True)


def _move_entries(source: Path, target: Path) -> None:
  target.mkdir(exist_ok=True)
  # config.json last: with it the folder counts as a run.
  for path in sorted(source.iterdir(), key=lambda path: path.name == config_lib.FILE_NAME):
    path.replace(target / path.name)


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
  """Keeps other processes from training in `workdir`; the system unlocks it when this one ends.

  On a file system that has no locks a line warns of this, and nothing is locked.

  Raises:
    InputError: another process trains there, or the folder cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / '.lock', 'a+', encoding='utf-8')  # noqa: SIM115
  except OSError as error:
    raise InputError(
      f'{workdir} cannot be written: {error.strerror}. Name another --workdir.'
    ) from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read() or 'another process'
      raise InputError(f'{workdir} is in use by {holder}: wait until it ends.') from None
    except OSError as error:
      if error.errno not in NO_LOCKS:
        raise
      progress.log(
        f'The file system of {workdir} has no locks ({error.strerror}): start no second process '
        'in this folder.'
      )
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    yield
