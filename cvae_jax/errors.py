"""What can go wrong by the user's hand, and the words to say it in."""

import difflib
import numbers
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
  """Something the user gave cannot be used.

  The message names what was given, what was expected and what to do; the commands print it as one
  line and exit with status 2.
  """


class OccupiedError(InputError):
  """A workdir holds something else; `free_workdir` is a folder that would do."""

  def __init__(self, message: str, free_workdir: Path):
    super().__init__(message)
    self.free_workdir = free_workdir


class NonFiniteError(RuntimeError):
  """Training met a loss or a gradient that is not a finite number."""


class StoppedError(Exception):
  """Training was asked to end early, and has done so; `status` is that of the process."""

  def __init__(self, message: str, status: int):
    super().__init__(message)
    self.status = status


class LostProcessError(RuntimeError):
  """Another process of the same run has gone, and this one cannot go on without it."""


def check_integer(name: str, value, low: int, high: int | None = None) -> None:
  """Raises InputError where the argument `name` is no integer from `low` to `high`."""
  is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not (is_integer and low <= value and (high is None or value <= high)):
    expected = f', {low} or more' if high is None else f' from {low} to {high}'
    raise InputError(f'{name}={value!r} is not an integer{expected}.')


def did_you_mean(given: str, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'?" for the nearest of `choices`, or '' where none is near."""
  matches = difflib.get_close_matches(str(given), [str(choice) for choice in choices], n=1)
  return f' Did you mean {matches[0]!r}?' if matches else ''
