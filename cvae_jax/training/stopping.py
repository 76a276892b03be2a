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


# A lost connection sends SIGHUP; SLURM warns with SIGUSR1 or SIGUSR2 where `--signal` asks for it.
WARNINGS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = {
  signal.SIGINT: Cause('Ctrl-C', 128 + signal.SIGINT),
  **{number: Cause(number.name, 128 + number) for number in (signal.SIGTERM, *WARNINGS)},
}


@contextlib.contextmanager
def listening(max_seconds: float) -> Iterator[Callable[[], Cause | None]]:
  """After the first call of `asked` a signal asks the run to stop, until the end of the block.

  Before, while all is being compiled, a signal acts as outside; so does a second Ctrl-C or SIGTERM.

  Only Python's main thread can handle signals; in another one, the time limit alone ends a run.
  Signals that this process was told to ignore stay ignored, as SIGHUP under nohup.

  Args:
    max_seconds: time limit for the block, by the monotonic clock; 0 is no limit.

  Yields:
    asked(): the cause, once there is one.
  """
  began, received, before = time.monotonic(), [], {}

  def handle(number, frame):
    is_repeated = number not in WARNINGS and not set(received) <= set(WARNINGS)
    if is_repeated and callable(before[number]):
      before[number](number, frame)
    elif is_repeated:
      signal.signal(number, before[number])
      signal.raise_signal(number)
    received.append(number)

  def listen():
    with contextlib.suppress(ValueError):  # not the main thread
      for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
          before[number] = signal.signal(number, handle)

  def asked() -> Cause | None:
    if not before:
      listen()
    if received:
      return SIGNALS[received[0]]
    if max_seconds and time.monotonic() - began >= max_seconds:
      return Cause(f'max_train_seconds={max_seconds:g}', 0)
    return None

  try:
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
