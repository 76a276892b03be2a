"""What happens between two chunks of steps: each hook does one thing with an `Event`.

The hooks of a run are called in the order in which they stand here. Only where a line of the log, a
checkpoint or a stop is due does the host wait for the device.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from cvae_jax.plots import grids
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import StoppedError
from cvae_jax.tasks.task import Batch, Terms
from cvae_jax.training import nonfinite, stopping
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.logging import windows
from cvae_jax.training.logging.profiler import Profiler
from cvae_jax.training.logging.reporter import Clock, Reporter
from cvae_jax.training.logging.trackers import Writers
from cvae_jax.training.logging.windows import Window
from cvae_jax.training.program import Program
from cvae_jax.training.restoring import Best
from cvae_jax.training.state import TrainState
from cvae_jax.training.step import is_usable, term_names
from cvae_jax.training.stopping import Cause

MAX_SHOWN = 1_000  # validation images that pictures, warnings and the projector are given


@dataclasses.dataclass
class Event:
  """A chunk of steps that has been dispatched, and what the hooks before have found out of it."""

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
    """Whether anything is to be done but going on."""
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


class Profile:
  """Traces a few steps."""

  def __init__(self, profiler: Profiler):
    self._profiler = profiler

  def __call__(self, event: Event) -> None:
    self._profiler(event.end, event.terms)


class Read:
  """Reads the terms of the steps, checks that they are finite, and averages them into lines."""

  def __init__(
    self, program: Program, window: Window, step: int, saved: Checkpoints, clock: Clock, reporter
  ):
    """Begins with the terms of a window before `step`."""
    self._program, self._saved, self._clock, self._reporter = program, saved, clock, reporter
    self._pending = [window] if window else []  # of chunks that have been dispatched
    self._seen = step  # the last step whose terms have been checked
    self._skipped = 0  # unusable steps in a row, up to there

  def __call__(self, event: Event) -> None:
    if self._pending:
      # One chunk is queued at most: a second would allocate its memory early.
      jax.block_until_ready(self._pending[-1])
    self._pending.append(event.terms)
    self._clock.steps += event.end - event.begin
    self._reporter.advance(event.end)
    if not event.is_due:
      return
    config = self._program.config
    window = windows.concatenate(jax.device_get(self._pending), term_names(self._program.task))
    usable = is_usable(window, config.max_gradient_norm, np)
    new = usable[-(event.end - self._seen) :]
    self._skipped = nonfinite.check_steps(
      window, new, event.end, self._skipped, self._saved.latest_path, config
    )
    if not new.all():
      self._reporter.line(f'{np.sum(~new)} of the {len(new)} steps up to {event.end} were skipped')
    self._seen = event.end
    event.images_per_second = self._clock.images_per_second()
    event.lines, event.window = windows.average(
      window, usable, event.end, config.log_every_steps, event.ends_epoch
    )
    self._pending = [event.window] if event.window else []


class Validate:
  """Evaluates the validation split at the ends of epochs."""

  def __init__(self, program: Program):
    self._program = program

  def __call__(self, event: Event) -> None:
    every = self._program.config.eval_every_epochs
    if event.ends_epoch and (event.epoch % every == 0 or event.is_over):
      event.validation = self._program.validate(event.state)


class Log:
  """Writes lines to the screen, train.log, metrics.csv and the trackers."""

  def __init__(
    self,
    program: Program,
    writers: Writers | None,
    saved: Checkpoints,
    clock: Clock,
    reporter: Reporter,
  ):
    """`writers` is None in a process that leaves the writing to another."""
    self._steps_per_epoch = program.steps_per_epoch
    self._writers, self._saved, self._clock, self._reporter = writers, saved, clock, reporter

  def __call__(self, event: Event) -> None:
    for step, averages in event.lines:
      self._reporter.terms(step, averages, event.images_per_second)
      row = {f'train/{name}': value for name, value in averages.items()}
      if event.validation and step == event.end:
        row |= {f'validation/{name}': value for name, value in event.validation.items()}
      row |= {
        'epoch': step / self._steps_per_epoch,
        'images_per_second': event.images_per_second,
        'seconds': self._clock.seconds(),
      }
      if self._writers:
        self._writers.write_scalars(step, row)
    if event.validation:
      nonfinite.check_values(event.validation, event.end, self._saved.latest_path)


class Draw:
  """Draws the task's pictures for the trackers, after each validation."""

  def __init__(self, program: Program, writers: Writers):
    self._program, self._writers = program, writers

  def __call__(self, event: Event) -> None:
    if event.validation:
      pictures = draw(self._program, event.state.eval_variables)
      self._writers.write_pictures(event.end, pictures)


class Judge:
  """Keeps track of the best validation; ends a run that has not improved on it for long."""

  def __init__(self, program: Program, best: Best):
    self._program, self.best = program, best

  def __call__(self, event: Event) -> None:
    if not event.validation:
      return
    score = event.validation[self._program.task.score]
    if score <= self.best.value:
      self.best = Best(score, event.end)
      event.saves = True
    if self.is_stagnant(event.end):
      event.saves = event.is_over = True

  def is_stagnant(self, step: int) -> bool:
    """Whether at `step` the validation has not improved for `early_stopping_epochs`."""
    program = self._program
    patience = program.config.early_stopping_epochs * program.steps_per_epoch
    return stopping.is_stagnant(step, self.best.step, program.task.warmup_steps, patience)


class Save:
  """Writes a checkpoint where one is due."""

  def __init__(self, saved: Checkpoints):
    self._saved = saved

  def __call__(self, event: Event) -> None:
    if event.saves:
      self._saved.save(event.state, event.end, event.window, event.validation)


class Report:
  """Shows what each validation gave."""

  def __init__(self, clock: Clock, reporter: Reporter):
    self._clock, self._reporter = clock, reporter

  def __call__(self, event: Event) -> None:
    if event.validation:
      self._reporter.validation(event.epoch, event.validation, self._clock.epoch_seconds())
    if event.ends_epoch:
      self._clock.next_epoch()


class Warn:
  """Shows the task's warning once: after the first validation past its warm-up, or at the end."""

  def __init__(self, program: Program, reporter: Reporter):
    self._program, self._reporter, self._has_warned = program, reporter, False

  def __call__(self, event: Event) -> None:
    program = self._program
    before = event.end - program.config.eval_every_epochs * program.steps_per_epoch
    settled = max(program.task.warmup_steps, 1)
    is_time = settled <= event.end and (before < settled or event.is_over)
    if not event.validation or not is_time or self._has_warned:
      return
    variables = devices.own_copy(event.state.eval_variables)
    warning = program.task.warning(variables, shown_batch(program))
    if warning:
      self._reporter.line(warning)
      self._has_warned = True


class Stop:
  """Waits for the last checkpoint of a run that ends, and raises where it was asked to stop."""

  def __init__(self, program: Program, saved: Checkpoints):
    self._total_steps, self._saved = program.total_steps, saved

  def __call__(self, event: Event) -> None:
    if event.is_over or event.stop:
      self._saved.wait()
    if event.stop and not event.is_over:
      raise StoppedError(
        f'Stopped by {event.stop.name} at step {event.end} of {self._total_steps}, where a '
        'checkpoint lies: the same command resumes there.',
        event.stop.status,
      )


Hook = Callable[[Event], None]  # each of the classes above


def shown_batch(program: Program) -> Batch:
  """The first validation images uint8 [N, H, W, C] and their labels, on the host."""
  images, labels = devices.own_copy(program.validation[:2])
  return jax.device_get((images[:MAX_SHOWN], labels[:MAX_SHOWN]))


def draw(program: Program, variables) -> dict[str, np.ndarray]:
  """The task's pictures, uint8 [H, W, C] each; the first is what people look at.

  Drawn by the process that asks, alone.
  """
  key = jax.random.key(program.config.seed)
  tiles = program.task.pictures(devices.own_copy(variables), shown_batch(program), key)
  return {name: grids.picture(x) for name, x in tiles.items()}
