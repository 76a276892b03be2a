"""What may end a run before its last step: a signal, its time being up, no more progress."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from cvae_jax.runtime import processes


class Cause(NamedTuple):
  """Why a run ends early."""

  name: str
  status: int  # that the process ends with


SIGNALS = {
  signal.SIGINT: Cause('Ctrl-C', 128 + signal.SIGINT),
  signal.SIGTERM: Cause('SIGTERM', 128 + signal.SIGTERM),
}


@contextlib.contextmanager
def listening(max_seconds: float) -> Iterator[Callable[[], Cause | None]]:
  """Inside the block a signal asks for an end, and a second one is served as before the block.

  Only Python's main thread may listen for signals; in another one, time alone ends a run.

  Args:
    max_seconds: what the block is given, in seconds of a clock that nobody sets; 0 is no limit.

  Yields:
    asked(): the cause, once there is one.
  """
  began, came = time.monotonic(), []

  def handle(number, frame):
    if came and callable(before[number]):
      before[number](number, frame)
    elif came:
      signal.signal(number, before[number])
      signal.raise_signal(number)
    came.append(SIGNALS[number])

  def asked() -> Cause | None:
    if came:
      return came[0]
    if max_seconds and time.monotonic() - began >= max_seconds:
      return Cause(f'max_train_seconds={max_seconds:g}', 0)
    return None

  before = {}
  try:
    with contextlib.suppress(ValueError):  # not the main thread
      for number in SIGNALS:
        before[number] = signal.signal(number, handle)
    yield asked
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def is_stagnant(now: int, best: int | None, warmup_steps: int, patience: int) -> bool:
  """Whether the best validation lies `patience` steps back, as many of them after the warm-up.

  While β rises the bound at β = 1 is not what is trained on: what it does then says nothing.

  Args:
    now: steps taken.
    best: the step of the best validation, None without any.
    warmup_steps: after so many steps β is what it is to be.
    patience: in steps; 0 waits forever.
  """
  return bool(patience) and best is not None and now - max(best, warmup_steps) >= patience


def agreed(cause: Cause | None, is_meeting: bool) -> Cause | None:
  """The cause of any process; to be called by all.

  Args:
    cause: what asks this one to end.
    is_meeting: whether all wait for each other here anyway; several agree at such steps alone.
  """
  if jax.process_count() == 1:
    return cause
  causes = [given for given in processes.gather(cause) if given] if is_meeting else []
  return Cause(*causes[0]) if causes else None
