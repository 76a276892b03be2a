"""Files of data read whole, but never more of them than their kind can have."""

from pathlib import Path

from cvae_jax.runtime.errors import InputError


def read_bytes(path: Path, limit: int) -> bytes:
  """The content of a file of at most `limit` bytes.

  Raises:
    InputError: it cannot be read, or is larger.
  """
  try:
    with open(path, 'rb') as file:
      content = file.read(limit + 1)
  except OSError as error:
    raise InputError(f'{path} cannot be read: {error.strerror}.') from error
  if len(content) > limit:
    raise InputError(f'{path} has more than {limit:,} bytes, expected fewer. Fetch it again.')
  return content
