"""Writes the checkpoints of a run with Orbax, in the background; keeps the newest and the best."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers as policies

from cvae_jax.runtime import paths, processes
from cvae_jax.runtime.errors import InputError, WriteError, reason
from cvae_jax.tasks import TASKS
from cvae_jax.training import checkpoint_items
from cvae_jax.training.logging.windows import Window
from cvae_jax.training.restoring import Best, best_of
from cvae_jax.training.run_folder import CHECKPOINTS
from cvae_jax.training.state import TrainState

YEARS = 10**9  # seconds
# Orbax moves old checkpoints there. Where it cannot delete one itself, as on a network drive while
# another process has a file of it open, it would end the run.
DELETED = 'deleted'


class Checkpoints:
  """The checkpoints of one run folder, `<workdir>/checkpoints/<step>/`.

  Each holds separate items, so that a reader of the weights need not read the rest: 'model' (the
  variables), 'ema' (their average, if any), 'optimizer', and 'window' (the terms of the steps
  since the last line of the log). 'config' is the run's, and 'digests' has a hash of each item and
  of the metrics, since Orbax does not promise to notice that a file has changed. Artifacts of the
  task lie beside them (`finish`). A folder without its step number is unfinished and never read.
  """

  def __init__(self, workdir: Path, keep: int, config: ConfigDict):
    """Creates the folder if it is missing, and deletes unfinished checkpoints.

    Args:
      workdir: the run's folder.
      keep: how many of the newest checkpoints stay.
      config: what the run is trained with.
    """
    self._config = config.to_dict()
    self._score = TASKS[config.objective].score
    newest_and_best = policies.AnyPreservationPolicy(
      [
        policies.LatestN(keep),
        policies.BestN(
          get_metric_fn=lambda metrics: -metrics[self._score],
          n=1,
          keep_checkpoints_without_metrics=False,
        ),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      best_fn=lambda metrics: metrics[self._score],
      best_mode='min',
      preservation_policy=newest_and_best,
      async_options=_async_options(),
      cleanup_tmp_directories=True,
      todelete_subdir=DELETED,
    )
    self._folder = workdir / CHECKPOINTS
    self._folder.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(paths.plain(self._folder), options=options)
    # The step of the last one saved and the shapes of its items, until it has been checked.
    self._unread: tuple[int, dict[str, Any]] | None = None
    self._has_read_one = False

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
  def best(self) -> Best:
    """The best of the checkpoints on disk."""
    return best_of(self._manager, self._score)

  def save(
    self,
    state: TrainState,
    step: int,
    window: Window,
    validation: dict[str, float] | None,
  ) -> None:
    """Copies the state to the host, and writes it in the background; waits for the first.

    The first one and, in `wait`, the last one are read back; of those between, the files are looked
    for before the next is written. So a run that reports success has checkpoints that can be read.

    Args:
      state: the run after `step` steps.
      step: the checkpoint's name.
      window: the terms of the steps that no line of the log holds yet, [n] each.
      validation: what a validation at this step gave, if there was one.

    Raises:
      WriteError: this one, or the one before, cannot be written or read back.
    """
    if self._unread:
      self._check(checkpoint_items.check_files)
    items = checkpoint_items.items(state)
    if window:
      items['window'] = window
    digests = {
      name: checkpoint_items.digest(item)
      for name, item in (items | {'metrics': validation}).items()
    }
    digests['step'] = str(step)  # a folder may be renamed
    with self._writing():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          config=ocp.args.JsonSave(self._config),
          digests=ocp.args.JsonSave(digests),
          **{name: ocp.args.StandardSave(item) for name, item in items.items()},
        ),
        metrics=validation,
      )
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), items)
    self._unread = step, shapes
    if not self._has_read_one:
      self.wait()

  def wait(self) -> None:
    """Returns when all checkpoints are on disk, and the last one has been read back.

    Raises:
      WriteError: they cannot be.
    """
    self._check(checkpoint_items.read_back)
    self._has_read_one = True

  def _check(self, check: Callable[..., None]) -> None:
    """Checks the last checkpoint, once it is on disk, unless that has been done."""
    with self._writing():
      self._manager.wait_until_finished()
    self._clear_deleted()
    if not self._unread:
      return
    (step, items), self._unread = self._unread, None
    try:
      check(self._manager, step, items)
    except InputError as error:
      why = reason(error.__cause__ or error)
      raise WriteError(f'checkpoint {step} cannot be read back ({why})') from error

  def close(self) -> None:
    """Waits for what is being written, and lets go of the folder.

    Raises:
      WriteError: it cannot be written.
    """
    with self._writing():
      self._manager.close()
    self._clear_deleted()

  def _clear_deleted(self) -> None:
    """Frees the space of old checkpoints, as far as their files can be deleted."""
    if processes.is_main():
      shutil.rmtree(self._folder / DELETED, ignore_errors=True)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # Orbax and TensorStore share no base class of errors.
      if processes.is_of_connection(error) or isinstance(error, MemoryError):
        raise
      raise WriteError(reason(error)) from error


def _async_options() -> ocp.AsyncOptions:
  """Turns off Orbax's time limit for a write, except where several processes wait for each other.

  It uses the wall clock: a clock that is set, or a computer that slept, would exceed the limit.
  """
  if jax.process_count() > 1:
    return ocp.AsyncOptions()
  return ocp.AsyncOptions(timeout_secs=YEARS, create_directories_asynchronously=False)
