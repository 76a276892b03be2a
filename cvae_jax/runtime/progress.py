"""Progress of long work: a bar on a terminal, a few plain lines elsewhere."""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rich.console import Console

NUM_LINES = 4  # without a terminal, for the whole work
QUIET_SECONDS = 1.0  # quick work gets its heading alone
FORECAST_SECONDS = 5.0  # of work, after the first piece, that tell how long the rest takes
WORTH_A_FORECAST = 30.0  # seconds
NOTEBOOK_SECONDS = 0.25  # between two drawings of a bar


def log(text: str) -> None:
  """Prints a line at once, above a bar if there is one; that nobody can read it is no error."""
  with contextlib.suppress(OSError):
    print(text, flush=True)


def screen() -> 'Console | None':
  """The terminal or notebook that standard output is, if a bar can be drawn on it.

  FORCE_COLOR, which continuous integration sets, makes no terminal of a file or a pipe.
  """
  from rich.console import Console  # late: a command that only draws needs no bar

  console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
  if console.is_jupyter:
    return console if importlib.util.find_spec('ipywidgets') else None
  usable = sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal
  return console if usable else None


@contextlib.contextmanager
def shown(
  title: str, total: int | None = None, unit: str = '', lines: bool = True, transient: bool = True
) -> Iterator[Callable[..., None]]:
  """Shows how much of the work in a `with` block is done.

  It gives advance(completed, status=None, title=None). `completed` is what is done so far: a count
  if there is a total, otherwise a fraction. `status` is a short text beside the bar; it and the
  title stay until they are replaced.

  Args:
    title: what is being done.
    total: how many `unit` there are; None: show a percentage.
    unit: what is counted, e.g. 'pictures'.
    lines: print plain lines if there is no terminal.
    transient: remove the bar in the end.
  """
  from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # late, as above

  if (console := screen()) is None:
    yield _line_printer(title, total, unit) if lines else lambda *_, **__: None
    return
  count = '{task.completed:,.0f}/{task.total:,.0f} ' + unit
  bar = Progress(
    TextColumn('{task.description}', markup=False),
    TextColumn(count if total else '{task.percentage:>3.0f}%'),
    BarColumn(),
    TextColumn('{task.fields[status]}', markup=False),
    TextColumn('time left'),
    TimeRemainingColumn(),
    console=console,
    transient=transient,
    # In a notebook a thread that draws the bar would swallow lines that are printed meanwhile.
    auto_refresh=not console.is_jupyter,
  )
  task, drawn = bar.add_task(title, total=total or 1.0, status=''), 0.0

  def advance(completed, status=None, title=None):
    nonlocal drawn
    fields = {} if status is None else {'status': status}
    is_due = console.is_jupyter and time.monotonic() - drawn > NOTEBOOK_SECONDS
    drawn = time.monotonic() if is_due else drawn
    bar.update(task, completed=completed, description=title, refresh=is_due, **fields)

  with bar:
    yield advance
    bar.refresh()


def _line_printer(title, total, unit):
  log(f'{title} {total:,} {unit} ...' if total else f'{title} ...')
  began, num_lines, first, is_forecast = time.perf_counter(), 0, None, False

  def advance(completed, **_):
    nonlocal num_lines, first, is_forecast
    fraction, seconds = completed / (total or 1.0), time.perf_counter() - began
    first = first or (fraction, seconds)  # which may have been compiled
    if int(fraction * NUM_LINES) > num_lines and seconds >= QUIET_SECONDS:
      num_lines = int(fraction * NUM_LINES)
      log(f'  {title}: {fraction:.0%}, {seconds:.0f} s')
    elif not (is_forecast or num_lines) and seconds >= first[1] + FORECAST_SECONDS:
      is_forecast = True
      left = (seconds - first[1]) * (1 - fraction) / max(fraction - first[0], 1e-9)
      if left > WORTH_A_FORECAST:
        log(f'  {title}: about {left:.0f} s to go')

  return advance
