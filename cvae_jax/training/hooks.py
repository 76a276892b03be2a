"""What happens between two chunks of steps: `HOOKS`, in this order, each with one task.

Only where a line of the log, a checkpoint or a stop is due does the host wait for the device.
"""

import dataclasses

import jax
import numpy as np

from cvae_jax import config as config_lib
from cvae_jax.plots import grids
from cvae_jax.runtime import devices, keys, processes
from cvae_jax.runtime.errors import StoppedError, survived
from cvae_jax.tasks.task import Terms
from cvae_jax.training import nonfinite, run_folder, stopping
from cvae_jax.training.logging import windows
from cvae_jax.training.logging.windows import Window
from cvae_jax.training.program import Program
from cvae_jax.training.restoring import Best
from cvae_jax.training.state import TrainState
from cvae_jax.training.step import is_usable, term_names
from cvae_jax.training.stopping import Cause


@dataclasses.dataclass
class Event:
  """A chunk of steps that has been dispatched; hooks add what they learn from it."""

  begin: int
  end: int
  state: TrainState  # after it, perhaps still being computed
  terms: Terms  # of each step, [n], likewise
  epoch: int  # epochs that are complete
  ends_epoch: bool
  is_over: bool  # the run ends here
  logs: bool  # a line of the log is due
  saves: bool  # a checkpoint is due
  stop: Cause | None  # what asks for an end
  lines: list[tuple[int, dict[str, float]]] = dataclasses.field(default_factory=list)
  window: Window = dataclasses.field(default_factory=dict)  # terms of the steps after the last line
  images_per_second: float = 0.0
  validation: dict[str, float] | None = None

  @property
  def is_due(self) -> bool:
    """Whether the run pauses here: a line, a checkpoint or an end is due."""
    return self.logs or self.saves


def event_of(
  program: Program, begin: int, end: int, state: TrainState, terms: Terms, stop: Cause | None
) -> Event:
  """An event, with what is due at its end.

  Args:
    program: the run's.
    begin: the step at which the chunk began.
    end: the step after it.
    state: after the chunk.
    terms: of each step.
    stop: what asks this process for an end; all agree on one.
  """
  config, epoch = program.config, end // program.steps_per_epoch
  ends_epoch, is_over = end % program.steps_per_epoch == 0, end == program.total_steps
  logs = ends_epoch or end // config.log_every_steps > begin // config.log_every_steps
  saves = bool(config.checkpoint_every_steps) and end % config.checkpoint_every_steps == 0
  stop = stopping.agreed(stop, is_meeting=logs or saves)
  saves |= is_over or stop is not None
  saves |= ends_epoch and epoch % config.checkpoint_every_epochs == 0
  return Event(begin, end, state, terms, epoch, ends_epoch, is_over, logs, saves, stop)


class Hook:
  """Does one thing with each `Event` of a run.

  A subclass reads and writes the attributes of `run.Run`: program, reporter, checkpoints, clock,
  best, and writers and profiler, which are None in a process that leaves the writing to another.
  """

  def __init__(self, run):
    self._run, self._program = run, run.program

  def __call__(self, event: Event) -> None:
    raise NotImplementedError


class Extra(Hook):
  """Something that a run can do without: its first failure costs one line, and is its end."""

  name: str
  _has_failed = False

  def __call__(self, event: Event) -> None:
    if self._has_failed:
      return
    self._has_failed = True
    with survived(self.name, self._run.reporter.line):
      self.add(event)
      self._has_failed = False

  def add(self, event: Event) -> None:
    raise NotImplementedError


class Profile(Extra):
  """Traces a few steps."""

  name = 'the trace is'

  def add(self, event: Event) -> None:
    if self._run.profiler:
      self._run.profiler(event.end, event.terms)


class ReadTerms(Hook):
  """Reads the terms of the steps, checks that they are finite, and averages them into lines."""

  def __init__(self, run):
    super().__init__(run)
    self._pending = [run.window] if run.window else []  # terms that no line holds yet
    self._seen = run.step  # the last step whose terms have been checked
    self._skipped = 0  # unusable steps in a row, up to there

  def __call__(self, event: Event) -> None:
    run, config = self._run, self._program.config
    if self._pending:
      # One chunk is queued at most: a second would allocate its memory early.
      jax.block_until_ready(self._pending[-1])
    self._pending.append(event.terms)
    run.clock.steps += event.end - event.begin
    run.reporter.advance(event.end)
    if not event.is_due:
      return
    names = term_names(self._program.task)
    window = windows.concatenate(jax.device_get(self._pending), names)
    usable = is_usable(window, config.max_gradient_norm, np)
    new = usable[-(event.end - self._seen) :]
    last_good = run.checkpoints.latest_path
    self._skipped = nonfinite.check_steps(window, new, event.end, self._skipped, last_good, config)
    if not new.all():
      run.reporter.line(f'{np.sum(~new)} of the {len(new)} steps up to {event.end} were skipped')
    self._seen = event.end
    event.images_per_second = run.clock.images_per_second()
    event.lines, event.window = windows.average(
      window, usable, event.end, config.log_every_steps, event.ends_epoch
    )
    self._pending = [event.window] if event.window else []


class Validate(Hook):
  """Evaluates the validation split at the ends of epochs."""

  def __call__(self, event: Event) -> None:
    every = self._program.config.eval_every_epochs
    if event.ends_epoch and (event.epoch % every == 0 or event.is_over):
      event.validation = self._program.validate(event.state)


class Log(Hook):
  """Writes lines to the screen, train.log, metrics.csv and the trackers."""

  def __call__(self, event: Event) -> None:
    run = self._run
    for step, averages in event.lines:
      run.reporter.terms(step, averages, event.images_per_second)
      row = {f'train/{name}': value for name, value in averages.items()}
      if event.validation and step == event.end:
        row |= {f'validation/{name}': value for name, value in event.validation.items()}
      row |= {
        'epoch': step / self._program.steps_per_epoch,
        'images_per_second': event.images_per_second,
        'seconds': run.clock.seconds(),
      }
      if run.writers:
        run.writers.write_scalars(step, row)
    if event.validation:
      last_good = run.checkpoints.latest_path
      nonfinite.check_values(event.validation, event.end, last_good, self._program.config)


class Draw(Extra):
  """Draws the task's pictures for the trackers, after each validation."""

  name = 'pictures for the trackers are'

  def add(self, event: Event) -> None:
    if event.validation and self._run.writers:
      pictures = task_pictures(self._program, event.state.eval_variables)
      self._run.writers.write_pictures(event.end, pictures)


class Judge(Hook):
  """Keeps the best validation; ends a run that has not improved on it for long."""

  def __call__(self, event: Event) -> None:
    if not event.validation:
      return
    score = event.validation[self._program.task.score]
    if score <= self._run.best.value:
      self._run.best = Best(score, event.end)
      event.saves = True
    if self._run.is_stagnant(event.end):
      event.saves = event.is_over = True


class Save(Hook):
  """Writes a checkpoint where one is due."""

  def __call__(self, event: Event) -> None:
    if event.saves:
      with processes.together():
        run_folder.check_present(self._run.workdir)
      self._run.checkpoints.save(event.state, event.end, event.window, event.validation)


class Report(Hook):
  """Shows the result of each validation, once it is saved."""

  def __call__(self, event: Event) -> None:
    run = self._run
    if event.validation:
      run.reporter.validation(event.epoch, event.validation, run.clock.epoch_seconds())
    if event.ends_epoch:
      run.clock.next_epoch()


class Warn(Hook):
  """Shows the task's warning once: after the first validation past its warm-up, or at the end."""

  _has_warned = False

  def __call__(self, event: Event) -> None:
    program = self._program
    before = event.end - program.config.eval_every_epochs * program.steps_per_epoch
    settled = max(program.task.warmup_steps, 1)
    is_time = settled <= event.end and (before < settled or event.is_over)
    if not (event.validation and is_time and self._run.writers) or self._has_warned:
      return
    variables = devices.own_copy(event.state.eval_variables)
    if warning := program.task.warning(variables, program.shown):
      self._run.reporter.line(warning)
      self._has_warned = True


class Stop(Hook):
  """Waits for the last checkpoint of a run that ends, and raises where it was asked to stop."""

  def __call__(self, event: Event) -> None:
    run, total_steps = self._run, self._program.total_steps
    if event.is_over or event.stop:
      run.checkpoints.wait()
    if event.is_over and event.end < total_steps:
      run.reporter.line(
        'stopped early: no better validation since epoch '
        f'{run.best.step / self._program.steps_per_epoch:.4g} '
        f'(early_stopping_epochs={self._program.config.early_stopping_epochs})'
      )
    elif event.stop and not event.is_over:
      raise StoppedError(
        f'Stopped by {event.stop.name} at step {event.end} of {total_steps}, where a checkpoint '
        'lies: the same command resumes there.',
        event.stop.status,
      )
    if event.is_due:
      run.clock.restart()


HOOKS = (Profile, ReadTerms, Validate, Log, Draw, Judge, Save, Report, Warn, Stop)


def task_pictures(program: Program, variables) -> dict[str, np.ndarray]:
  """The task's pictures, uint8 [H, W, C] each; the first is what people look at.

  Drawn by the process that asks, alone.
  """
  key = keys.of_run(program.config.seed)
  tiles = program.task.pictures(devices.own_copy(variables), program.shown, key)
  channels = config_lib.shown_channels(program.config.data)
  return {name: grids.picture(grids.shown(x, channels)) for name, x in tiles.items()}
