"""Reads checkpoints of runs: to resume one, to begin another at one, or to use its weights."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from cvae_jax.runtime import devices, paths, processes
from cvae_jax.runtime.errors import InputError, reason
from cvae_jax.tasks import TASKS
from cvae_jax.training import checkpoint_items
from cvae_jax.training.logging.windows import Window
from cvae_jax.training.run_folder import CHECKPOINTS, checkpoint_path, is_step
from cvae_jax.training.state import TrainState

DAMAGED = 'damaged'  # where a run's folder keeps checkpoints that cannot be read


class Best(NamedTuple):
  """The lowest validation score of a run, and its step; infinity and None without any."""

  value: float
  step: int | None


class Resumed(NamedTuple):
  """The state of a run that is resumed."""

  state: TrainState
  window: Window
  damaged: dict[int, str]  # step of each checkpoint that was set aside -> what is wrong with it


def resume(run: Path, config: ConfigDict, like: TrainState) -> Resumed:
  """Reads the newest intact checkpoint; damaged ones are moved to `damaged/`.

  Call it before making `Checkpoints`, which needs readable metrics.

  Args:
    run: a run's folder, which has checkpoints.
    config: the run's.
    like: a state of the same run, for structure, shapes and placement.

  Raises:
    InputError: no checkpoint can be read; nothing has been moved.
  """
  damaged: dict[int, str] = {}
  with _reader(run, config) as manager:

    def is_intact(step, read):
      """Whether all processes can read a checkpoint and its metrics; notes what is wrong."""
      fault = ''
      try:
        read()
        checkpoint_items.metrics(manager, step)
      except InputError as error:
        fault = reason(error.__cause__)
      if faults := [each for each in processes.gather(fault) if each]:
        damaged[step] = faults[0]
      return not faults

    steps, found = processes.from_main(sorted(manager.all_steps(), reverse=True)), []
    for step in steps:
      if is_intact(step, lambda step=step: found.append(_restore(manager, step, config, like))):
        break
    else:
      raise InputError(
        f'None of the {len(steps)} checkpoints of {run} can be read, and all are left as they are. '
        f'Of the newest: {damaged[steps[0]]}. Name another --workdir to begin anew.'
      )
    # Orbax reads the metrics of all, and results are computed with the best of them.
    variables = like.eval_variables
    for step in steps[len(damaged) + 1 :]:
      is_intact(step, lambda step=step: _restore_variables(manager, step, config, variables))
  damaged = dict(processes.from_main(list(damaged.items())))
  with processes.together():
    if processes.is_main():
      for step in damaged:
        _set_aside(run, step)
  return Resumed(*found[-1], damaged)


def _set_aside(run: Path, step: int) -> None:
  (run / DAMAGED).mkdir(exist_ok=True)
  target, number = run / DAMAGED / str(step), 2
  while target.exists():
    target, number = run / DAMAGED / f'{step}-{number}', number + 1
  checkpoint_path(run, step).rename(target)


def restore(
  run: Path, step: int, config: ConfigDict, like: TrainState
) -> tuple[TrainState, Window]:
  """Reads the state and the window of a checkpoint of any run; its folder stays untouched.

  If the run has no moving average and `like` has one, it starts from the weights.

  Args:
    run: a run's folder.
    step: which of its checkpoints.
    config: that run's.
    like: a state of the same structure, shapes and placement.

  Raises:
    InputError: there is no such checkpoint, it is broken, or of another model.
  """
  with _reader(run, config) as manager:
    return _restore(manager, _choose(manager, run, str(step), config), config, like)


def choose(run: Path, which: str, config: ConfigDict) -> int:
  """The step that `which` stands for now; the arguments of `restore_variables`.

  Raises:
    InputError: there is no such checkpoint.
  """
  with _reader(run, config) as manager:
    return _choose(manager, run, which, config)


def read_metrics(run: Path, config: ConfigDict) -> dict[int, dict[str, float]]:
  """Validation metrics of a run's checkpoints by step, as far as they can be read."""
  with _reader(run, config) as manager:
    return _all_metrics(manager)


def on_one_device(variables: dict[str, Any]) -> dict[str, Any]:
  """Abstract variables, to be restored to the first device of this process."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), variables
  )


def restore_variables(
  run: Path, which: str, config: ConfigDict, like: dict[str, Any]
) -> tuple[dict[str, Any], int]:
  """Reads the variables that results are computed with: the average, where the run has one.

  Args:
    run: a run's folder.
    which: 'best' (by validation score; the newest where none was validated), 'last', or a step.
    config: the run's.
    like: variables of the same structure, shapes and placement.

  Returns:
    The variables, and the step they are from.

  Raises:
    InputError: there is no such checkpoint, or it cannot be read.
  """
  with _reader(run, config) as manager:
    step = _choose(manager, run, which, config)
    return _restore_variables(manager, step, config, like), step


def _reader(run: Path, config: ConfigDict) -> ocp.CheckpointManager:
  folder = run / CHECKPOINTS
  if not folder.is_dir():
    raise InputError(f'{run} has no checkpoint: its training has not come to one yet.')
  # Not Orbax's `read_only`, which warns about itself; nothing here saves or deletes. Lightweight:
  # one checkpoint's damaged metrics do not hide the others.
  options = ocp.CheckpointManagerOptions(
    best_fn=lambda metrics: metrics[TASKS[config.objective].score],
    best_mode='min',
    create=False,
    lightweight_initialize=True,
  )
  return ocp.CheckpointManager(paths.plain(folder), options=options)


def _choose(manager: ocp.CheckpointManager, run: Path, which: str, config: ConfigDict) -> int:
  steps = sorted(manager.all_steps())
  if not steps:
    raise InputError(f'{run} has no checkpoint: its training has not come to one yet.')
  if which == 'last':
    return steps[-1]
  if which == 'best':
    best = best_of(manager, TASKS[config.objective].score).step
    return steps[-1] if best is None else best
  if not is_step(which) or int(which) not in steps:
    listed = ', '.join(map(str, steps))
    raise InputError(
      f'checkpoint {which!r} is not in {run}: expected best, last, or one of {listed}.'
    )
  return int(which)


def best_of(manager: ocp.CheckpointManager, score: str) -> Best:
  """The best of the checkpoints that a manager has."""
  found = [Best(metrics[score], step) for step, metrics in _all_metrics(manager).items()]
  # Of equals the later one, as Orbax does where it chooses what stays.
  return min(found, key=lambda best: (best.value, -best.step), default=Best(np.inf, None))


def _all_metrics(manager: ocp.CheckpointManager) -> dict[int, dict[str, float]]:
  found = {}
  for step in sorted(manager.all_steps()):
    with contextlib.suppress(InputError):  # the weights beside it may be whole
      found[step] = checkpoint_items.metrics(manager, step)
  return {step: metrics for step, metrics in found.items() if metrics}


def _restore_variables(manager, step, config, like):
  checkpoint_items.check(manager, step, config)
  item = 'ema' if (checkpoint_items.checkpoint_folder(manager, step) / 'ema').is_dir() else 'model'
  return checkpoint_items.read_items(manager, step, {item: like})[item]


def _restore(manager, step, config, like):
  checkpoint_items.check(manager, step, config)
  folder = checkpoint_items.checkpoint_folder(manager, step)
  items = checkpoint_items.items(like)
  if not (folder / 'ema').is_dir():
    items.pop('ema', None)
  restored = checkpoint_items.read_items(manager, step, items)
  ema = None if like.ema is None else restored.get('ema')
  if like.ema is not None and ema is None:
    ema = jax.tree.map(jnp.copy, restored['model'])
  window = {}
  if (folder / 'window').is_dir():
    window = jax.tree.map(
      np.asarray, checkpoint_items.read_items(manager, step, {'window': None})['window']
    )
  state = TrainState(
    step=devices.place(np.asarray(step, np.int32), like.step.sharding),
    variables=restored['model'],
    ema=ema,
    opt_state=restored['optimizer'],
  )
  return state, window
