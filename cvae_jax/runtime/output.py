"""Standard output and error whose loss is not the end of a command."""

import contextlib
import io
import os
import sys

from cvae_jax.runtime import paths


def tolerate_loss() -> None:
  """From now on this process goes on where its output is closed, full, or lacks a character.

  A descriptor that the process was started without is opened on /dev/null: else the next file that
  is opened would get its number, and all that is printed.
  """
  for descriptor in (0, 1, 2):
    try:
      os.fstat(descriptor)
    except OSError:  # closed, as by `>&-`
      os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
  sys.stdout, sys.stderr = _tolerant(sys.stdout, 1), _tolerant(sys.stderr, 2)


class _Lossy(io.FileIO):
  """Drops what cannot be written."""

  def write(self, content) -> int:
    with contextlib.suppress(OSError):
      return super().write(content)
    return len(content)


def _tolerant(stream, descriptor: int) -> io.TextIOWrapper:
  if stream is not None:  # it is where Python found the descriptor closed
    with contextlib.suppress(OSError):
      stream.flush()
  return io.TextIOWrapper(
    io.BufferedWriter(_Lossy(descriptor, 'w', closefd=False)),
    encoding=getattr(stream, 'encoding', 'utf-8'),
    errors=paths.SHOWN,
    line_buffering=getattr(stream, 'line_buffering', False),
    write_through=getattr(stream, 'write_through', False),
  )
