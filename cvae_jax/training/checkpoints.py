"""Checkpoints of a run: Orbax, asynchronous, the newest few and the best."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from cvae_jax import devices, processes, weights
from cvae_jax.errors import InputError
from cvae_jax.training.run_folder import CHECKPOINTS, checkpoint_path, is_step
from cvae_jax.training.state import TrainState
from cvae_jax.training.terms import Window

# What is best: the validation ELBO at β = 1, whatever the run was trained with.
RANKING = 'negative_elbo'
DAMAGED = 'damaged'  # where a run's folder keeps checkpoints that cannot be read


class Checkpoints:
  """The checkpoints of one run folder, `<workdir>/checkpoints/<step>/`.

  Each holds separate items, so that a reader of the weights need not read the rest: 'model' (the
  variables), 'ema' (their average, if any), 'optimizer', and 'window' (the terms of the steps
  since the last line of the log). 'digests' has a hash of each, and of the metrics, since Orbax
  does not promise to notice that a file has changed. Beside them lies the prior that was fitted
  when training ended (`fitted_prior`). Writing happens in the background; a folder without its
  step number is unfinished and never read.
  """

  def __init__(self, workdir: Path, keep: int):
    newest_and_best = policies.AnyPreservationPolicy(
      [
        policies.LatestN(keep),
        policies.BestN(
          get_metric_fn=lambda metrics: -metrics[RANKING],
          n=1,
          keep_checkpoints_without_metrics=False,
        ),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      best_fn=lambda metrics: metrics[RANKING],
      best_mode='min',
      preservation_policy=newest_and_best,
      cleanup_tmp_directories=True,
    )
    self._folder = workdir / CHECKPOINTS
    self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)

  @property
  def latest_step(self) -> int | None:
    """The newest complete checkpoint."""
    return self._manager.latest_step()

  @property
  def latest_path(self) -> Path | None:
    """The folder of the newest checkpoint, complete or about to be."""
    step = self.latest_step
    return None if step is None else self._folder / str(step)

  @property
  def best_value(self) -> float:
    """The lowest validated negative ELBO of the checkpoints kept; infinity where there is none."""
    scores = _scores(self._manager)
    return min(scores.values(), default=float('inf'))

  def save(
    self,
    state: TrainState,
    step: int,
    window: Window,
    validation: dict[str, float] | None,
  ) -> None:
    """Copies the state to the host, and writes it in the background.

    Args:
      state: the run after `step` steps.
      step: the checkpoint's name.
      window: the terms of the steps that no line of the log holds yet, [n] each.
      validation: what a validation at this step gave, if there was one.
    """
    items = _items(state)
    if window:
      items['window'] = window
    digests = {name: _digest(item) for name, item in (items | {'metrics': validation}).items()}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        digests=ocp.args.JsonSave(digests),
        **{name: ocp.args.StandardSave(item) for name, item in items.items()},
      ),
      metrics=validation,
    )

  def wait(self) -> None:
    """Returns when all checkpoints are on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for what is being written, and lets go of the folder."""
    self._manager.close()


class Resumed(NamedTuple):
  """Where a run stands."""

  state: TrainState
  window: Window
  damaged: dict[int, str]  # what is wrong with checkpoints that had to be set aside, by their step


def resume(run: Path, like: TrainState) -> Resumed:
  """Reads the newest checkpoint that is whole; those that are not are moved to `damaged/`.

  To be called before `Checkpoints` are made, which need metrics that can be read.

  Args:
    run: a run's folder, which has checkpoints.
    like: a state of the same run, for structure, shapes and placement.

  Raises:
    InputError: no checkpoint can be read; nothing has been moved.
  """
  damaged: dict[int, str] = {}
  with _reader(run) as manager:
    steps = processes.from_main(sorted(manager.all_steps(), reverse=True))
    for step in steps:
      fault, found = '', None
      try:
        found = _restore(manager, step, like)
        _metrics(manager, step)
      except InputError as error:
        fault = _short(error.__cause__)
      faults = [fault for fault in processes.gather(fault) if fault]
      if not faults:
        break
      damaged[step] = faults[0]
    else:
      raise InputError(
        f'None of the {len(steps)} checkpoints of {run} can be read, and all are left as they are. '
        f'Of the newest: {damaged[steps[0]]}. Name another --workdir to begin anew.'
      )
    # Orbax reads the metrics of all.
    for step in steps[len(damaged) + 1 :]:
      try:
        _metrics(manager, step)
      except InputError as error:
        damaged[step] = _short(error.__cause__)
  damaged = dict(processes.from_main(list(damaged.items())))
  with processes.together():
    if processes.is_main():
      for step in damaged:
        _set_aside(run, step)
  return Resumed(*found, damaged)


def _set_aside(run: Path, step: int) -> None:
  (run / DAMAGED).mkdir(exist_ok=True)
  target, number = run / DAMAGED / str(step), 2
  while target.exists():
    target, number = run / DAMAGED / f'{step}-{number}', number + 1
  checkpoint_path(run, step).rename(target)


def restore(run: Path, step: int, like: TrainState) -> tuple[TrainState, Window]:
  """Reads the state and the window of a checkpoint of any run, whose folder stays untouched.

  A run without a moving average lends its weights to begin one.

  Args:
    run: a run's folder.
    step: which of its checkpoints.
    like: a state of the same structure, shapes and placement.

  Raises:
    InputError: there is no such checkpoint, it is broken, or of another model.
  """
  with _reader(run) as manager:
    return _restore(manager, _choose(manager, run, str(step)), like)


def choose(run: Path, which: str) -> int:
  """The step that `which` stands for now: see `restore_variables`.

  Raises:
    InputError: there is no such checkpoint.
  """
  with _reader(run) as manager:
    return _choose(manager, run, which)


def restore_variables(run: Path, which: str, like: dict[str, Any]) -> tuple[dict[str, Any], int]:
  """Reads the variables that results are computed with: the average, where the run has one.

  Args:
    run: a run's folder.
    which: 'best' (by validation ELBO at β = 1; the newest where none was validated), 'last', or a
      step.
    like: variables of the same structure, shapes and placement.

  Returns:
    The variables, and the step they are from.

  Raises:
    InputError: there is no such checkpoint, or it cannot be read.
  """
  with _reader(run) as manager:
    step = _choose(manager, run, which)
    item = 'ema' if (run / CHECKPOINTS / str(step) / 'ema').is_dir() else 'model'
    restored = _read_items(manager, step, {item: like})
    return restored[item], step


def _reader(run: Path) -> ocp.CheckpointManager:
  folder = (run / CHECKPOINTS).absolute()
  if not folder.is_dir():
    raise InputError(f'{run} has no checkpoint: its training has not come to one yet.')
  # Not Orbax's `read_only`, which warns about itself; nothing here saves or deletes. Lightweight:
  # one checkpoint's damaged metrics do not hide the others.
  options = ocp.CheckpointManagerOptions(
    best_fn=lambda metrics: metrics[RANKING],
    best_mode='min',
    create=False,
    lightweight_initialize=True,
  )
  return ocp.CheckpointManager(folder, options=options)


def _choose(manager: ocp.CheckpointManager, run: Path, which: str) -> int:
  steps = sorted(manager.all_steps())
  if not steps:
    raise InputError(f'{run} has no checkpoint: its training has not come to one yet.')
  if which == 'last':
    return steps[-1]
  if which == 'best':
    scores = _scores(manager)
    return min(scores, key=scores.get) if scores else steps[-1]
  if not is_step(which) or int(which) not in steps:
    listed = ', '.join(map(str, steps))
    raise InputError(
      f'checkpoint {which!r} is not in {run}: expected best, last, or one of {listed}.'
    )
  return int(which)


def _scores(manager: ocp.CheckpointManager) -> dict[int, float]:
  scores = {}
  for step in sorted(manager.all_steps()):
    try:
      metrics = _metrics(manager, step)
    except InputError:  # the weights beside it may be whole
      continue
    if metrics:
      scores[step] = metrics[RANKING]
  return scores


def _metrics(manager: ocp.CheckpointManager, step: int) -> dict[str, float] | None:
  """What the validation at a checkpoint gave; None where there was none."""
  digests = _digests(manager, step)
  try:
    metrics = manager.metrics(step)
  except ValueError as error:
    raise _unreadable(manager, step, error) from error
  _check_digest(manager, step, digests, 'metrics', metrics)
  return metrics


def _digest(item) -> str:
  """A hash of names and numbers; of the numbers as this process has them."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(devices.own_copy(item)))
  return weights.digest({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves})


def _digests(manager, step) -> dict[str, str]:
  """What `Checkpoints.save` knew of each item; of a checkpoint of before nothing."""
  if not (Path(manager.directory) / str(step) / 'digests').is_dir():
    return {}
  try:
    args = ocp.args.Composite(digests=ocp.args.JsonRestore())
    return dict(manager.restore(step, args=args)['digests'])
  except Exception as error:
    raise _unreadable(manager, step, error) from error


def _check_digest(manager, step, digests, name, item) -> None:
  if digests and digests.get(name) != _digest(item):
    error = ValueError(f'{name} is not what was written')
    raise _unreadable(manager, step, error) from error


def _items(state: TrainState) -> dict[str, Any]:
  items = {'model': state.variables, 'optimizer': state.opt_state}
  return items if state.ema is None else items | {'ema': state.ema}


def _restore(manager, step, like):
  folder = Path(manager.directory) / str(step)
  items = _items(like)
  if not (folder / 'ema').is_dir():
    items.pop('ema', None)
  restored = _read_items(manager, step, items)
  ema = None if like.ema is None else restored.get('ema')
  if like.ema is not None and ema is None:
    ema = jax.tree.map(jnp.copy, restored['model'])
  window = {}
  if (folder / 'window').is_dir():
    window = jax.tree.map(np.asarray, _read_items(manager, step, {'window': None})['window'])
  state = TrainState(
    step=devices.place(np.asarray(step, np.int32), like.step.sharding),
    variables=restored['model'],
    ema=ema,
    opt_state=restored['optimizer'],
  )
  return state, window


def _read_items(manager, step, items) -> dict[str, Any]:
  """Items of a checkpoint by their names, like those given; whatever it is, where that is None."""
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, items)
  args = ocp.args.Composite(
    **{name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
  )
  digests = _digests(manager, step)
  try:
    restored = dict(manager.restore(step, args=args).items())
  except Exception as error:  # Orbax and TensorStore share no base class of errors.
    if processes.is_of_connection(error) or isinstance(error, MemoryError):
      raise
    raise _unreadable(manager, step, error) from error
  for name, item in restored.items():
    _check_digest(manager, step, digests, name, item)
  return restored


def _unreadable(manager, step, error: Exception) -> InputError:
  return InputError(
    f'Checkpoint {Path(manager.directory) / str(step)} cannot be read: it is damaged, or of '
    f'another model ({_short(error)}). Name another one.'
  )


def _short(error: BaseException) -> str:
  return f'{type(error).__name__}: {" ".join(str(error).split())[:100]}'
