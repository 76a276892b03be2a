"""How far a long piece of work is: a bar on a terminal, a few lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINES = 4  # where there is no terminal


def say(text: str) -> None:
  """Prints a line at once; one that nobody reads any more (`| head`) does not end the work."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def shown(title: str) -> Iterator[Callable[[float], None]]:
  """Gives advance(share), which is to be told of the share that is done, 0 to 1."""
  console = Console(file=sys.stdout, highlight=False)
  if not console.is_terminal:
    yield _line_printer(title)
    return
  bar = Progress(
    TextColumn(title),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn('time left'),
    TimeRemainingColumn(),
    console=console,
    transient=True,
  )
  with bar:
    task = bar.add_task('', total=1.0)
    yield lambda share: bar.update(task, completed=share)


def _line_printer(title):
  say(f'{title} ...')
  began, said = time.perf_counter(), 0

  def advance(share):
    nonlocal said
    if int(share * LINES) > said:
      said = int(share * LINES)
      say(f'  {title}: {share:.0%}, {time.perf_counter() - began:.0f} s')

  return advance
