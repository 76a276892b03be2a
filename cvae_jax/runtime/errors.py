"""Errors that a user can cause, and helpers for their messages."""

import contextlib
import difflib
import numbers
import os
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from errno import EACCES, EDQUOT, EFBIG, EIO, ENOSPC, EPERM, EROFS
from pathlib import Path


class InputError(ValueError):
  """An input of the user cannot be used.

  The message names what was given, what was expected and what to do. The commands print it as one
  line and exit with status 2.
  """


class OccupiedError(InputError):
  """A workdir holds other files or another run; `free_workdir` is a folder that can be used.

  `resume_from` is the run to continue there, if that is what the user seems to want.
  """

  def __init__(self, message: str, free_workdir: Path, resume_from: Path | None = None):
    super().__init__(message)
    self.free_workdir, self.resume_from = free_workdir, resume_from


class NonFiniteError(RuntimeError):
  """A loss or gradient of training is not finite."""


def is_of_backend(error: Exception) -> bool:
  """Whether JAX could not start one of its backends."""
  return _origin(error) == 'xla_bridge.py'


def is_of_jax_settings(error: Exception) -> bool:
  """Whether JAX refused the value of a JAX_* variable of the environment."""
  return isinstance(error, ValueError) and _origin(error, 3) == 'jax/_src/config.py'


def _origin(error: Exception, num_parts: int = 1) -> str:
  """The end of the path of the file that raised an error."""
  frames = traceback.extract_tb(error.__traceback__)
  return '/'.join(Path(frames[-1].filename).parts[-num_parts:]) if frames else ''


def is_out_of_memory(error: Exception) -> bool:
  """Whether XLA ran out of memory."""
  return 'RESOURCE_EXHAUSTED' in str(error)


class FailedRunsError(Exception):
  """Some runs of a sweep failed; the message names them."""


class WriteError(RuntimeError):
  """A run's folder can no longer be written to; its complete files stay usable."""


class StoppedError(Exception):
  """Training stopped early, as asked; `status` is the exit status of the process."""

  def __init__(self, message: str, status: int):
    super().__init__(message)
    self.status = status


class LostProcessError(RuntimeError):
  """Another process of the same run is gone; this one cannot continue without it."""


# The system's messages for files that cannot be written.
_SYSTEM_REASONS = list(map(os.strerror, (ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, EIO)))


def reason(error: BaseException) -> str:
  """Why something failed, in a few words: the system's, if a library's message quotes them."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = ' '.join(str(error).split())
  shortened = f'{type(error).__name__}: {textwrap.shorten(text, 120, placeholder=" ...")}'
  return next((known for known in _SYSTEM_REASONS if known in text), shortened)


@contextlib.contextmanager
def survived(what: str, log: Callable[[str], None]) -> Iterator[None]:
  """Logs a failure of the block in one line: for pictures and the like, which cost no numbers."""
  try:
    yield
  except Exception as error:  # whatever models, drawing libraries and disks raise
    log(f'{what} left out: {reason(error)}')


def check_integer(name: str, value, low: int, high: int | None = None) -> None:
  """Raises InputError unless the argument `name` is an integer from `low` to `high`."""
  is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not (is_integer and low <= value and (high is None or value <= high)):
    expected = f', {low} or more' if high is None else f' from {low} to {high}'
    raise InputError(f'{name}={value!r} is not an integer{expected}.')


def is_number(value) -> bool:
  """Whether an argument is a real number, which a truth value is not."""
  return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_number(name: str, value, low: float, high: float) -> None:
  """Raises InputError unless the argument `name` is a number from `low` to `high`."""
  if not (is_number(value) and low <= value <= high):
    raise InputError(f'{name}={value!r} is not a number from {low:g} to {high:g}.')


def did_you_mean(given: str, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'?" for the nearest of `choices`, or '' if none is near."""
  if str(given).lstrip('-').isdecimal():  # a number is not a typing mistake
    return ''
  matches = difflib.get_close_matches(str(given), [str(choice) for choice in choices], n=1)
  return f' Did you mean {matches[0]!r}?' if matches else ''
