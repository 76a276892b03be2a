"""Progress of long work: a bar on a terminal, a few plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

NUM_LINES = 4  # without a terminal, for the whole work
QUIET_SECONDS = 1.0  # quick work gets its heading alone


def say(text: str) -> None:
  """Prints a line at once, above a bar if there is one; a closed pipe (`| head`) is no error."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Bar:
  """Shows how much of something is done, while its `with` block runs.

  >>> with progress.Bar('decoding', total=200, unit='pictures') as bar:
  ...   bar.update(64)
  """

  def __init__(
    self,
    title: str,
    total: int | None = None,
    unit: str = '',
    lines: bool = True,
    transient: bool = True,
  ):
    """Shows nothing yet.

    Args:
      title: what is being done.
      total: how many `unit` there are; None shows a percentage.
      unit: what is counted, in the plural.
      lines: whether to print plain lines where there is no terminal.
      transient: whether the bar disappears in the end.
    """
    self._title, self._total, self._lines = title, total or 1.0, lines
    self._heading = f'{title} {total:,} {unit}' if total else title
    self._began, self._num_lines = 0.0, 0
    self._bar = None
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if console.is_terminal:
      count = '{task.completed:,.0f}/{task.total:,.0f} ' + unit
      self._bar = Progress(
        TextColumn('{task.description}', markup=False),
        TextColumn(count if total else '{task.percentage:>3.0f}%'),
        BarColumn(),
        TextColumn('{task.fields[status]}', markup=False),
        TextColumn('time left'),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
      )
      self._task = self._bar.add_task(title, total=self._total, status='')

  def __enter__(self) -> 'Bar':
    self._began = time.perf_counter()
    if self._bar:
      self._bar.start()
    elif self._lines:
      say(f'{self._heading} ...')
    return self

  def __exit__(self, *_) -> None:
    if self._bar:
      self._bar.stop()

  def update(self, completed: float, status: str | None = None, title: str | None = None) -> None:
    """Shows that `completed` is done: a count, or a fraction where the bar has no total.

    Args:
      completed: all that is done so far.
      status: short text beside the bar; None keeps the last.
      title: replaces the title; None keeps it.
    """
    if self._bar:
      self._bar.update(self._task, completed=completed, description=title)
      if status is not None:
        self._bar.update(self._task, status=status)
    elif self._lines:
      fraction, seconds = completed / self._total, time.perf_counter() - self._began
      num_lines = int(fraction * NUM_LINES)
      if num_lines > self._num_lines and seconds >= QUIET_SECONDS:
        self._num_lines = num_lines
        say(f'  {self._title}: {fraction:.0%}, {seconds:.0f} s')


@contextlib.contextmanager
def shown(title: str) -> Iterator[Callable[[float], None]]:
  """A `Bar` as a callback, which receives the finished fraction, 0 to 1."""
  with Bar(title) as bar:
    yield bar.update
