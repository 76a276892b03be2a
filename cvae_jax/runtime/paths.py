"""Paths typed by users, atomic writes, and the cache folder."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from cvae_jax.runtime.errors import InputError


def from_user(text: str | Path) -> Path:
  """`text` as a path, with ~ expanded.

  Raises:
    InputError: it cannot be a path: too long, a loop of links, an unknown ~user.
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


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
  """Gives a temporary path, which is renamed to `path` if the block succeeds."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    yield temporary
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
  """Writes `content` to `path`, text as UTF-8, whole or not at all."""
  with whole(path) as temporary:
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, advice: str = 'Make it writable, or use another folder.') -> Iterator[None]:
  """Turns an `OSError` inside the block into an `InputError` that names `path` and the reason."""
  try:
    yield
  except OSError as error:
    raise InputError(f'Cannot write {path}: {error.strerror or error}. {advice}') from error


# Patterns, escapes and schemes to libraries that take paths for more than names.
_SPECIAL = frozenset('*?[]\\:')


def plain(folder: Path) -> Path:
  """The absolute path of a folder, or of a link to it where a library might misread its characters.

  The link lies in the cache folder, named by a hash: all processes of a user get the same one.

  Args:
    folder: an existing folder.

  Raises:
    InputError: the link cannot be made.
  """
  folder = folder.absolute()
  if _is_plain(folder):
    return folder
  link = cache_folder() / 'links' / digest(str(folder), size=16)
  advice = f'Rename the folder, or set XDG_CACHE_HOME to a writable one without {"".join(_SPECIAL)}'
  problem = f'{str(folder)!r} has characters that checkpoint libraries misread. {advice}.'
  if not _is_plain(link):
    raise InputError(problem)
  with writing(link, problem):
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():  # another process may be making it
      with contextlib.suppress(FileExistsError):
        link.symlink_to(folder, target_is_directory=True)
  return link


def _is_plain(path: Path) -> bool:
  return str(path).isprintable() and _SPECIAL.isdisjoint(str(path))


def cache_folder() -> Path:
  """The user's cache folder: `cvae_jax` in $XDG_CACHE_HOME or ~/.cache.

  Raises:
    InputError: the user has no home folder.
  """
  try:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'cvae_jax'
  except RuntimeError as error:
    raise InputError('No home folder for the cache: set XDG_CACHE_HOME to a folder.') from error


def digest(*texts: str, size: int = 3) -> str:
  """A hash of texts, in `2 * size` characters, for a file name."""
  joined = '\0'.join(texts).encode(errors='surrogateescape')
  return hashlib.blake2b(joined, digest_size=size).hexdigest()
