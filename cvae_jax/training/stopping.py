"""What may end a run before its last step: a signal, a time limit, no more progress."""

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
  status: int  # exit status of the process


SIGNALS = {
  signal.SIGINT: Cause('Ctrl-C', 128 + signal.SIGINT),
  signal.SIGTERM: Cause('SIGTERM', 128 + signal.SIGTERM),
}


@contextlib.contextmanager
def listening(max_seconds: float) -> Iterator[Callable[[], Cause | None]]:
  """Inside the block a first signal asks the run to stop; a second one acts as outside of it.

  Only Python's main thread can handle signals; in another one, the time limit alone ends a run.

  Args:
    max_seconds: time limit for the block, by the monotonic clock; 0 is no limit.

  Yields:
    asked(): the cause, once there is one.
  """
  began, received = time.monotonic(), []

  def handle(number, frame):
    if received and callable(before[number]):
      before[number](number, frame)
    elif received:
      signal.signal(number, before[number])
      signal.raise_signal(number)
    received.append(SIGNALS[number])

  def asked() -> Cause | None:
    if received:
      return received[0]
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
  """Whether the best validation lies at least `patience` steps back, counted after the warm-up.

  During the warm-up the score is not what is trained on: it may rise or fall.

  Args:
    now: steps taken.
    best: the step of the best validation; None without any.
    warmup_steps: see `Task.warmup_steps`.
    patience: in steps; 0 waits forever.
  """
  return bool(patience) and best is not None and now - max(best, warmup_steps) >= patience


def agreed(cause: Cause | None, is_meeting: bool) -> Cause | None:
  """The cause that any process has; all processes must call this.

  Args:
    cause: what asks this process to end.
    is_meeting: whether all processes wait for each other here anyway. They agree only there.
  """
  if jax.process_count() == 1:
    return cause
  causes = [given for given in processes.gather(cause) if given] if is_meeting else []
  return Cause(*causes[0]) if causes else None
