"""Checkpoints of a run: Orbax, asynchronous, the newest few and the best."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from cvae_jax import devices, processes
from cvae_jax.errors import InputError
from cvae_jax.training.run_folder import CHECKPOINTS, is_step
from cvae_jax.training.state import TrainState
from cvae_jax.training.terms import Window

# What is best: the validation ELBO at β = 1, whatever the run was trained with.
RANKING = 'negative_elbo'


class Checkpoints:
  """The checkpoints of one run folder, `<workdir>/checkpoints/<step>/`.

  Each holds separate items, so that a reader of the weights need not read the rest: 'model' (the
  variables), 'ema' (their average, if any), 'optimizer', and 'window' (the terms of the steps
  since the last line of the log). Beside them lies the prior that was fitted when training ended
  (`fitted_prior`). Writing happens in the background; a folder without its step
  number is unfinished and never read.
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
    try:
      self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
    except ValueError as error:
      raise InputError(
        f'A checkpoint in {self._folder} is damaged ({error}). Find it with sample.py '
        '--checkpoint STEP, and remove its folder to go on from the others.'
      ) from error

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
    self._manager.save(
      step,
      args=ocp.args.Composite(
        **{name: ocp.args.StandardSave(item) for name, item in items.items()}
      ),
      metrics=validation,
    )

  def restore(self, step: int, like: TrainState) -> tuple[TrainState, Window]:
    """Reads the state and the window of one checkpoint.

    Args:
      step: which.
      like: a state of the same run, for structure, shapes and placement.

    Raises:
      InputError: the checkpoint is broken, or of another model.
    """
    return _restore(self._manager, step, like)

  def wait(self) -> None:
    """Returns when all checkpoints are on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for what is being written, and lets go of the folder."""
    self._manager.close()


def restore_elsewhere(run: Path, step: int, like: TrainState) -> tuple[TrainState, Window]:
  """Like `Checkpoints.restore`, from any run's folder, which stays untouched.

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
      metrics = manager.metrics(step)
    except ValueError:  # a damaged file; the weights beside it may be whole
      continue
    if metrics:
      scores[step] = metrics[RANKING]
  return scores


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
    window = manager.restore(step, args=ocp.args.Composite(window=ocp.args.StandardRestore()))
    window = jax.tree.map(np.asarray, window['window'])
  state = TrainState(
    step=devices.place(np.asarray(step, np.int32), like.step.sharding),
    variables=restored['model'],
    ema=ema,
    opt_state=restored['optimizer'],
  )
  return state, window


def _read_items(manager, step, items):
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, items)
  args = ocp.args.Composite(
    **{name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
  )
  try:
    return dict(manager.restore(step, args=args).items())
  except Exception as error:  # Orbax and TensorStore share no base class of errors.
    if processes.is_of_connection(error):
      raise
    path = Path(manager.directory) / str(step)
    raise InputError(
      f'Checkpoint {path} cannot be read: it is damaged, or of another model. Name another one '
      f'({type(error).__name__}: {" ".join(str(error).split())[:100]}...).'
    ) from error
