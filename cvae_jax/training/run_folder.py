"""The folder of a run: may it be used, what is in it, where is a checkpoint."""

from pathlib import Path
from typing import NamedTuple

from cvae_jax import config as config_lib
from cvae_jax.errors import InputError

CHECKPOINTS = 'checkpoints'


class OccupiedError(InputError):
  """The workdir holds something else; `free_workdir` is a folder that would do."""

  def __init__(self, message: str, workdir: Path):
    super().__init__(message)
    self.free_workdir = free_name(workdir)


class CheckpointPath(NamedTuple):
  """A run's folder and, where one is named, the step of a checkpoint in it."""

  run: Path
  step: int | None


def free_name(workdir: Path) -> Path:
  """`workdir` with the first number from 2 on behind it that no folder has."""
  number = 2
  while (candidate := workdir.with_name(f'{workdir.name}-{number}')).exists():
    number += 1
  return candidate


def holds_run(workdir: Path) -> bool:
  """Whether a run has begun in `workdir`."""
  return (workdir / config_lib.FILE_NAME).is_file()


def has_checkpoint(workdir: Path) -> bool:
  """Whether a checkpoint has been completed in `workdir`; unfinished ones have other names."""
  return any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob('*'))


def check_usable(workdir: Path, config) -> None:
  """Raises OccupiedError unless `workdir` is free, or holds the run that `config` describes."""
  if workdir.exists() and not workdir.is_dir():
    raise OccupiedError(f'{workdir} is a file, expected a folder.', workdir)
  if holds_run(workdir):
    if different := config_lib.differences(config_lib.read(workdir).config, config):
      listed = '; '.join(map(str, different))
      raise OccupiedError(f'{workdir} holds another run: {listed}.', workdir)
  elif workdir.is_dir() and any(not path.name.startswith('.') for path in workdir.iterdir()):
    raise OccupiedError(f'{workdir} holds files that are no run (no config.json).', workdir)


def locate(path: Path) -> CheckpointPath:
  """Understands a run's folder, or one checkpoint in it (`<run>/checkpoints/<step>`).

  Raises:
    InputError: it is neither.
  """
  path = path.expanduser().resolve()
  if holds_run(path):
    return CheckpointPath(path, None)
  if path.name == CHECKPOINTS and holds_run(path.parent):
    return CheckpointPath(path.parent, None)
  if path.parent.name == CHECKPOINTS and path.name.isdigit() and path.is_dir():
    return CheckpointPath(path.parents[1], int(path.name))
  raise InputError(
    f'{path} is neither a run folder nor a checkpoint in one. '
    'Expected e.g. runs/mnist or runs/mnist/checkpoints/4290.'
  )


def newest(runs: Path) -> Path:
  """The run under `runs` that was written last: the one whose newest checkpoint is the youngest.

  Raises:
    InputError: no run there has a checkpoint.
  """
  checkpoints = [
    path
    for path in runs.glob(f'*/{CHECKPOINTS}/*')
    if path.name.isdigit() and holds_run(path.parents[1])
  ]
  if not checkpoints:
    raise InputError(
      f'No trained run under {runs}/. Train one (python train.py --config configs/digits.py), '
      'or name a run folder with --workdir.'
    )
  return max(checkpoints, key=lambda path: path.stat().st_mtime_ns).parents[1]
