"""A trace of a few steps, through CLU."""

from collections.abc import Callable
from pathlib import Path

import jax

from cvae_jax.runtime import paths, quiet_tensorflow
from cvae_jax.runtime.errors import survived

NUM_PROFILE_STEPS = 5


class Profiler:
  """Traces NUM_PROFILE_STEPS steps, or one chunk if that is longer, after the first chunk."""

  def __init__(self, workdir: Path, log: Callable[[str], None]):
    with quiet_tensorflow.quiet():  # CLU's module of hooks imports it
      from clu import periodic_actions
    self._new_hook = lambda first_step: periodic_actions.Profile(
      logdir=str(paths.plain(workdir)),
      first_profile=first_step,
      num_profile_steps=NUM_PROFILE_STEPS,
      profile_duration_ms=None,
      every_secs=None,
    )
    self._hook = None
    self._ends_at = None
    self._done = (
      f'profile: open {workdir}/plugins/profile/*/*.trace.json.gz at ui.perfetto.dev, or call '
      f'tensorboard --logdir {workdir} (with the plugin tensorboard-plugin-profile)'
    )
    self._log = log

  def __call__(self, step: int, outputs: jax.Array) -> None:
    """Call it after each dispatch, with the step that it ends at and its outputs."""
    if self._hook is None:  # all is compiled by now
      self._hook, self._ends_at = self._new_hook(step), step + NUM_PROFILE_STEPS
      jax.block_until_ready(outputs)
      self._hook(step)
    elif self._ends_at is not None:
      # Dispatch is asynchronous: without waiting the trace would end before the work begins.
      jax.block_until_ready(outputs)
      self._hook(step)
      if step >= self._ends_at:
        self._ends_at = None
        self._log(self._done)

  def close(self) -> None:
    """Ends a trace that is still open."""
    if self._ends_at is not None:
      with survived('the trace is', self._log):
        self._hook(self._ends_at)
        self._log(self._done)
      self._ends_at = None


def make_profiler(enabled: bool, workdir: Path, log: Callable[[str], None]) -> Profiler | None:
  """A profiler if it is enabled and TensorFlow, which CLU's profiler needs, is installed."""
  if enabled and not quiet_tensorflow.installed('tensorboard'):
    log('profile=True needs TensorFlow and TensorBoard: no trace will be written.')
    return None
  if enabled:
    with survived('the trace is', log):
      return Profiler(workdir, log)
  return None
