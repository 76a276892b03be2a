"""What a person sees while a run trains, and finds in train.log afterwards."""

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from cvae_jax.runtime import progress


def terms_text(terms: Mapping[str, float]) -> str:
  """Terms by name, as one line shows them."""
  return '  '.join(f'{name} {value:z#.5g}' for name, value in terms.items())


class Reporter:
  """A progress bar on a terminal, plain lines elsewhere; the plain lines go to train.log too.

  A run that shares the screen with others shows only its main lines, under its name.
  """

  def __init__(self, log_path: Path | None, num_epochs: int, steps_per_epoch: int, name: str = ''):
    """Opens `log_path` for append; where it is None, nothing is logged."""
    self._name, self._num_epochs, self._steps_per_epoch = name, num_epochs, steps_per_epoch
    self._has_bar = progress.screen() is not None and not name
    self._advance = lambda *_, **__: None
    self._held = contextlib.ExitStack()
    # Not one by name, which runs would share: the screen and train.log are all it serves.
    self._logger = logging.Logger('cvae_jax', logging.INFO)
    handler = logging.NullHandler()
    if log_path is not None:
      handler = logging.FileHandler(log_path, encoding='utf-8', errors='backslashreplace')
      # A full disk ends the run elsewhere, in one line; logging would print pages before that.
      handler.handleError = lambda record: None
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s'))
    self._logger.addHandler(handler)
    self._held.callback(handler.close)

  def line(self, text: str) -> None:
    """One line, for the screen and the log."""
    self._logger.info(text)
    progress.log(f'{self._name}: {text}' if self._name else text)

  def note(self, text: str) -> None:
    """Lines for the log alone."""
    self._logger.info(text)

  def start(self, step: int) -> None:
    """Shows the bar: the first step is about to run."""
    if self._has_bar:
      total = self._num_epochs * self._steps_per_epoch
      bar = progress.shown(self._title(step), total, lines=False, transient=False)
      self._advance = self._held.enter_context(bar)
      self._advance(step, status='compiling')

  def advance(self, step: int) -> None:
    """Moves the bar: steps have been dispatched up to `step`."""
    self._advance(step, title=self._title(step))

  def _title(self, step: int) -> str:
    epoch = min(step // self._steps_per_epoch + 1, self._num_epochs)
    return f'epoch {epoch}/{self._num_epochs}  step'

  def terms(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
    """The averages since the last call."""
    pace = f'{images_per_second:,.0f} images/s'
    self._advance(step, status=f'loss {terms["loss"]:.2f}  {pace}')
    text = f'step {step:6d}  {terms_text(terms)}  {pace}'
    if self._has_bar or self._name:
      self.note(text)
    else:
      self.line(text)

  def validation(self, epoch: int, values: Mapping[str, float], seconds: float) -> None:
    """What the validation after `epoch` epochs gave, and how long the epoch took with it."""
    self.line(
      f'epoch {epoch:3d}/{self._num_epochs}  validation  {terms_text(values)}  {seconds:.1f} s'
    )

  def close(self) -> None:
    """Removes the bar and closes train.log."""
    self._held.close()


class Clock:
  """Seconds of the run, pauses left out, and of the epoch; the pace of the training steps alone."""

  def __init__(self, batch_size: int, seconds: float):
    """Starts at `seconds`, which the run had taken before it was resumed."""
    self._batch_size = batch_size
    self._epoch_began = time.perf_counter()
    self._began = self._epoch_began - seconds
    self.restart()

  def restart(self) -> None:
    """Steps begin again, after logging and validation."""
    self.steps, self._since = 0, time.perf_counter()

  def next_epoch(self) -> None:
    """An epoch begins."""
    self._epoch_began = time.perf_counter()

  def images_per_second(self) -> float:
    """Of the steps since `restart`."""
    return self.steps * self._batch_size / (time.perf_counter() - self._since)

  def epoch_seconds(self) -> float:
    """Since the epoch began."""
    return time.perf_counter() - self._epoch_began

  def seconds(self) -> float:
    """Of the whole run."""
    return time.perf_counter() - self._began
