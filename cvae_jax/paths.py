"""Paths as people type them."""

from pathlib import Path

from cvae_jax.errors import InputError


def from_user(text: str | Path) -> Path:
  """`text` as a path, with ~ expanded.

  Raises:
    InputError: no file system could have it: too long, a loop of links, an unknown ~user.
  """
  try:
    path = Path(text).expanduser()
    path.resolve()
    path.exists()
  except (OSError, RuntimeError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or str(error).split(':')[0]
    shown = str(text) if len(str(text)) < 100 else f'{str(text)[:60]}...'
    raise InputError(f'{shown!r} cannot be a path: {reason}.') from error
  return path
