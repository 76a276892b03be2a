"""What is measured next: pieces in order of value, and what is known of each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# A waiting piece lacks data or a package.
DONE, UNFINISHED, WAITING, FAILED = 'done', 'unfinished', 'waiting', 'failed'
LEAST_SECONDS = 60.0  # that a resumable piece needs to get on
LEAST_ALLOWED_SECONDS = 120.0  # before a piece counts as one that hangs
PATIENCE = 3.0  # so does one that takes this many times its estimate
# A piece that was cut off after n seconds is begun again only with this many times n.
GROWTH = 1.3


class Piece(NamedTuple):
  """One measurement, made by a process of its own."""

  name: str
  seconds: float  # rough cost, with start and compiling
  # The seconds that it is given -> the arguments of Python.
  command: Callable[[float], Sequence[str]]
  # What the process left behind. Raises OSError, KeyError or ValueError where that is not there;
  # `finished` is False where the process has more to do when it is called again.
  read: Callable[[], dict[str, Any]]
  environment: Mapping[str, str] = {}
  folder: Path | None = None  # where it runs; the root of the repository, if not given
  is_resumable: bool = False


def seconds_needed(piece: Piece, record: Mapping[str, Any]) -> float:
  """The seconds that must be left for a piece to be begun."""
  seconds = max(piece.seconds, GROWTH * record.get('cut_off_after', 0.0))
  return min(seconds, LEAST_SECONDS) if piece.is_resumable else seconds


def choose(
  pieces: Sequence[Piece], records: Mapping[str, Mapping[str, Any]], seconds_left: float
) -> Piece | None:
  """The first piece that is not done and fits into the time left; those that failed come last.

  Args:
    pieces: in order of value.
    records: what is known of pieces by their names; see `after`.
    seconds_left: the time.

  Returns:
    The piece, or None if nothing fits.
  """
  fitting = [
    piece
    for piece in pieces
    if (record := records.get(piece.name, {})).get('status') != DONE
    and seconds_needed(piece, record) <= seconds_left
  ]
  return min(fitting, key=lambda one: records.get(one.name, {}).get('failures', 0), default=None)


def seconds_allowed(piece: Piece, record: Mapping[str, Any], seconds_left: float) -> float:
  """After how many seconds a piece is ended; one that failed before may take all there are."""
  if piece.is_resumable or record.get('failures'):
    return seconds_left
  return min(seconds_left, max(LEAST_ALLOWED_SECONDS, PATIENCE * seconds_needed(piece, record)))


def after(
  record: Mapping[str, Any],
  seconds: float,
  result: Mapping[str, Any] | None,
  error: str,
  status: str = FAILED,
) -> dict[str, Any]:
  """The record of a piece after one more run of it.

  Args:
    record: the one before; {} at first.
    seconds: how long the process ran.
    result: what it left behind; None if that is nothing.
    error: the reason in one line, if it did not get on.
    status: if it did not get on: FAILED; or, which is no failure of its own, WAITING, or
      UNFINISHED where the end of the call cut it off.

  Returns:
    status, seconds of all runs, failures, result, and error or cut_off_after where there is one.
  """
  before = record.get('result')
  new = {
    'status': status,
    'seconds': record.get('seconds', 0.0) + seconds,
    'failures': record.get('failures', 0),
    'result': before if result is None else dict(result),
  }
  if result is not None and result.get('finished', True):
    return new | {'status': DONE}
  if result is not None and result.get('step') != (before or {}).get('step'):
    return new | {'status': UNFINISHED}
  if status == UNFINISHED:
    return new | ({'cut_off_after': seconds} if result is None else {})
  return new | {'failures': new['failures'] + (status == FAILED), 'error': error}
