"""What can go wrong by the user's hand, and the words to say it in."""

import difflib
import errno
import numbers
import os
import textwrap
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


def is_out_of_memory(error: Exception) -> bool:
  """Whether XLA had too little memory, and a smaller program might have run."""
  return 'RESOURCE_EXHAUSTED' in str(error)


class FailedRunsError(Exception):
  """Runs of a sweep did not come to their end; the message names them."""


class WriteError(RuntimeError):
  """A run's folder cannot be written to any more; what was complete in it still is."""


class StoppedError(Exception):
  """Training was asked to end early, and has done so; `status` is that of the process."""

  def __init__(self, message: str, status: int):
    super().__init__(message)
    self.status = status


class LostProcessError(RuntimeError):
  """Another process of the same run has gone, and this one cannot go on without it."""


# Why a file cannot be written, in the words of the system.
_SYSTEM_REASONS = [
  os.strerror(number)
  for number in (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
  )
]


def reason(error: BaseException) -> str:
  """Why something failed, in few words: the system's, where a library's text has them in it."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = ' '.join(str(error).split())
  found = [known for known in _SYSTEM_REASONS if known in text]
  if found:
    return found[0]
  return f'{type(error).__name__}: {textwrap.shorten(text, 120, placeholder=" ...")}'


def check_integer(name: str, value, low: int, high: int | None = None) -> None:
  """Raises InputError where the argument `name` is no integer from `low` to `high`."""
  is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not (is_integer and low <= value and (high is None or value <= high)):
    expected = f', {low} or more' if high is None else f' from {low} to {high}'
    raise InputError(f'{name}={value!r} is not an integer{expected}.')


def did_you_mean(given: str, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'?" for the nearest of `choices`, or '' where none is near."""
  if str(given).lstrip('-').isdecimal():  # a number is no slip of the finger
    return ''
  matches = difflib.get_close_matches(str(given), [str(choice) for choice in choices], n=1)
  return f' Did you mean {matches[0]!r}?' if matches else ''
