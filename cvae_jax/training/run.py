"""One run under way: its folder, its state, and the calls of its hooks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
from clu import parameter_overview

from cvae_jax import config as config_lib
from cvae_jax.runtime import devices, processes
from cvae_jax.runtime.errors import WriteError, reason
from cvae_jax.training import (
  feed,
  first_stage,
  hooks,
  restoring,
  run_folder,
  start,
  stopping,
  training_table,
)
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.finish import finish
from cvae_jax.training.logging import metrics_file
from cvae_jax.training.logging.profiler import make_profiler
from cvae_jax.training.logging.reporter import Clock, Reporter
from cvae_jax.training.logging.trackers import Writers
from cvae_jax.training.logging.windows import Window
from cvae_jax.training.program import Program
from cvae_jax.training.restoring import Best
from cvae_jax.training.state import TrainState
from cvae_jax.training.stopping import Cause


@contextlib.contextmanager
def writing_to(workdir: Path) -> Iterator[None]:
  """Raises WriteError, with advice, where the block meets a folder that cannot be written."""
  try:
    yield
  except (OSError, WriteError) as error:
    why = str(error) if isinstance(error, WriteError) else reason(error)
    raise WriteError(
      f'{workdir} cannot be written to: {why}. Once that is mended, the same command resumes from '
      'the newest whole checkpoint.'
    ) from error


class Run:
  """A run between two chunks of steps; made by `opened`."""

  def __init__(
    self,
    program: Program,
    workdir: Path,
    state: TrainState,
    window: Window,
    checkpoints: Checkpoints,
    reporter: Reporter,
  ):
    """Stands at `state`, with the terms of the steps that no line of the log holds yet."""
    self.program, self.workdir, self.state, self.window = program, workdir, state, window
    self.checkpoints, self.reporter = checkpoints, reporter
    self.best = Best(*processes.from_main(checkpoints.best))
    self._held = contextlib.ExitStack()

  @property
  def step(self) -> int:
    """Steps taken."""
    return int(self.state.step)

  def is_complete(self) -> bool:
    """Whether no step is left to be taken."""
    return self.step >= self.program.total_steps or self.is_stagnant(self.step)

  def is_stagnant(self, step: int) -> bool:
    """Whether at `step` the validation has not improved for `early_stopping_epochs`."""
    program = self.program
    patience = program.config.early_stopping_epochs * program.steps_per_epoch
    return stopping.is_stagnant(step, self.best.step, program.task.warmup_steps, patience)

  def bounds(self) -> Iterator[tuple[int, int]]:
    """Where the chunks that are left begin and end."""
    return feed.bounds(
      self.step,
      self.program.total_steps,
      self.program.steps_per_epoch,
      self.program.config.checkpoint_every_steps,
      self.program.feed.longest,
    )

  def begin(self) -> None:
    """Introduces the run, opens its logs where they stand, and makes its hooks."""
    program, log = self.program, self.reporter.line
    self._introduce()
    columns, seconds = metrics_file.columns(program.task), 0.0
    self.writers = self.profiler = None
    if processes.is_main():
      seconds = metrics_file.forget_after(self.workdir, self.step, columns, log)
      self.writers = Writers(self.workdir, program.config, columns, log)
      self._held.callback(self.writers.close)
      self.profiler = make_profiler(program.config.profile, self.workdir, log)
      if self.profiler:
        self._held.callback(self.profiler.close)
    self.clock = Clock(program.config.batch_size, seconds)
    self._hooks = [hook(self) for hook in hooks.HOOKS]
    self.reporter.start(self.step)

  def after_chunk(self, begin: int, end: int, state: TrainState, terms, stop: Cause | None) -> bool:
    """Calls the hooks after a chunk of steps.

    Args:
      begin: where it began.
      end: the step after it.
      state: the run's, dispatched if not computed.
      terms: of each step.
      stop: what asks for an end.

    Returns:
      Whether the run has ended.

    Raises:
      NonFiniteError: a number of the chunk is not finite.
      StoppedError: it was asked to end, and has a checkpoint.
    """
    self.state = state
    event = hooks.event_of(self.program, begin, end, state, terms, stop)
    for hook in self._hooks:
      hook(event)
    return event.is_over

  def close(self) -> None:
    """Closes the logs, however the run ended."""
    self._held.close()

  def finish(self) -> None:
    """Writes what a complete run leaves behind, and shows the result."""
    finish(self.program, self.workdir, self.state, self.reporter)

  def _introduce(self) -> None:
    program, reporter, step = self.program, self.reporter, self.step
    params = devices.own_copy(self.state.variables['params'])
    streams = ', images streamed from the host' if program.feed.placement == 'stream' else ''
    reporter.line(
      f'{program.config.name}: {parameter_overview.count_parameters(params):,} parameters, '
      f'{len(program.train.labels):,} training and {len(program.validation.labels):,} validation '
      f'images of {program.config.data.name}, {program.steps_per_epoch} steps an epoch on '
      f'{program.mesh.size} {jax.default_backend()} device(s){streams}, in {self.workdir}'
    )
    for line in program.counts:
      reporter.line(line)
    if program.task.note:
      reporter.line(program.task.note)
    if step:
      reporter.line(f'resuming at step {step} (epoch {step / program.steps_per_epoch:.2f})')
    reporter.note('\n' + parameter_overview.get_parameter_overview(params))


@contextlib.contextmanager
def opened(program: Program, workdir: Path, name: str = '') -> Iterator[Run]:
  """Takes the folder of a run, and the state it stands at; begins it where there is none.

  Args:
    program: the run's.
    workdir: its folder.
    name: what its lines on the screen begin with, where several runs share the screen.

  Raises:
    InputError: the folder cannot be used.
    WriteError: it cannot be written to.
  """
  config = program.config
  resumes = processes.from_main(run_folder.has_checkpoint(workdir))
  state, window = program.fresh_state() if resumes else start.initial_state(program), {}
  with contextlib.ExitStack() as held:
    with processes.together():
      if processes.is_main():
        held.enter_context(run_folder.lock(workdir))
        run_folder.check_usable(workdir, config)  # again: another process may have been faster
        start.check_same_data(workdir, program.saved)
        if program.first_stage:
          first_stage.check(workdir, program.first_stage)
        config_lib.save(workdir, program.saved)  # first: with it, the folder is that of a run
        if program.first_stage:
          first_stage.save(workdir, program.first_stage)
        training_table.save(workdir, program.train)
    log_path = workdir / 'train.log' if processes.is_main() else None
    reporter = Reporter(log_path, config.num_epochs, program.steps_per_epoch, name)
    held.callback(reporter.close)
    if resumes:
      state, window, damaged = restoring.resume(workdir, config, state)
      for step, fault in damaged.items():
        reporter.line(
          f'checkpoint {step} is damaged ({fault}) and was moved to {workdir / restoring.DAMAGED}'
        )
    elif processes.is_main() and (
      kept := metrics_file.keep_copy(workdir, workdir / restoring.DAMAGED)
    ):
      # Where there was a validation there was a checkpoint, or one was being written.
      reporter.line(f'{workdir} has no checkpoint: it begins anew, and its log is kept as {kept}')
    checkpoints = Checkpoints(workdir, config.keep_checkpoints, config)
    held.callback(checkpoints.close)
    yield Run(program, workdir, state, window, checkpoints, reporter)
