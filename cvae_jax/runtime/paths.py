"""Paths typed by users, atomic writes, and the cache folder."""

import atexit
import codecs
import contextlib
import functools
import hashlib
import os
import re
import shlex
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cvae_jax.runtime.errors import InputError

SHIPPED = Path(__file__).parents[1] / 'shipped'  # models and classifiers that come with the package
WEIGHTS_FILE = 'weights.safetensors'  # in the folder of such a model, or of a copy of one

# Bytes that are no UTF-8 (as Python stands for them), and characters that move the cursor, end the
# line or turn the direction of the text around them.
_UNSEEN = r'\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff'
# A backslash is doubled only where it would be taken for the beginning of an escape.
_ESCAPED = re.compile(rf'[{_UNSEEN}]|\\(?=[\\xu{_UNSEEN}])')


def printable(name: str | Path) -> str:
  r"""A name from the file system, as text that can be printed, drawn and encoded as UTF-8.

  Names that are UTF-8 stay as they are. In others, bytes that are not are written as `\xe9`, and
  control characters as `\x0a` or `\u2028`. Different names stay different. The result is the same
  in every locale, but no longer addresses the file. For use once, where a name enters.
  """
  text = str(name)
  with contextlib.suppress(UnicodeEncodeError):  # a text that is no name in this locale
    text = os.fsencode(text).decode(errors='surrogateescape')
  return _ESCAPED.sub(lambda found: _escape(found.group()), text)


def _escape(character: str) -> str:
  code = ord(character)
  if code == ord('\\'):
    return '\\\\'
  if 0xDC80 <= code <= 0xDCFF:  # `surrogateescape` adds 0xDC00 to a byte
    code -= 0xDC00
  elif code >= 0x80:
    return f'\\u{code:04x}'
  return f'\\x{code:02x}'


def _shown(error: UnicodeEncodeError) -> tuple[str, int]:
  letter = error.object[error.start]
  return _escape(letter) if '\udc80' <= letter <= '\udcff' else '?', error.start + 1


# Handles what an encoding lacks: a byte of a name that is no UTF-8 becomes `\xe9`, all else '?'.
SHOWN = 'cvae_jax.shown'
codecs.register_error(SHOWN, _shown)


def from_user(text: str | Path) -> Path:
  """`text` as a path, with ~ expanded.

  Raises:
    InputError: it cannot be a path of this machine: an address such as gs://bucket/run, too long, a
      loop of links, a link that leads nowhere, an unknown ~user; or the current folder is gone.
  """
  if re.match(r'[a-z][a-z0-9+.-]*://', str(text), re.IGNORECASE):  # Path would make a folder gs:
    raise InputError(
      f'{str(text)[:100]!r} is an address, expected a path of this machine. Mount the bucket as a '
      'folder, or copy between it and a folder here.'
    )
  try:
    path = Path(text).expanduser()
    path.resolve()
    path.exists()
  except FileNotFoundError as error:
    raise InputError(
      f'{str(text)!r} is relative to the current folder, which has been deleted: change to another.'
    ) from error
  except (OSError, RuntimeError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or str(error).split(':')[0]
    shown = str(text) if len(str(text)) < 100 else f'{str(text)[:60]}...'
    raise InputError(f'{shown!r} cannot be a path: {reason}.') from error
  for link in (path, *path.parents):
    if link.is_symlink() and not link.exists():
      raise InputError(
        f'{link} is a link to {os.readlink(link)}, which does not exist. Create that, or name '
        'another path.'
      )
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
    temporary.write_bytes(content.encode(errors=SHOWN) if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, advice: str = 'Make it writable, or use another folder.') -> Iterator[None]:
  """Turns an `OSError` inside the block into an `InputError` that names `path` and the reason."""
  try:
    yield
  except OSError as error:
    raise InputError(f'Cannot write {path}: {error.strerror or error}. {advice}') from error


def quoted(word: str | Path) -> str:
  """A word of a command for a shell; bytes that are no UTF-8 and control characters as `\\xe9`."""
  if str(word).isprintable():
    return shlex.quote(str(word))
  plain = set(string.ascii_letters + string.digits + string.punctuation + ' ') - set("'\\")
  letters = [chr(x) if chr(x) in plain else f'\\x{x:02x}' for x in os.fsencode(word)]
  return f"$'{''.join(letters)}'"


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
  special = ''.join(sorted(_SPECIAL))
  problem = (
    f'{str(folder)!r} has characters that checkpoint libraries misread. Rename the folder, or set '
    f'XDG_CACHE_HOME to a writable one without {special}.'
  )
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

  A user without a home folder, as in many containers, has a temporary one until the process ends.
  """
  try:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'cvae_jax'
  except RuntimeError:
    return _temporary_cache()


@functools.cache
def _temporary_cache() -> Path:
  folder = Path(tempfile.mkdtemp(prefix='cvae_jax-'))
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  print(
    'No home folder: what is cached is lost when this process ends, unless XDG_CACHE_HOME names a '
    'folder.',
    file=sys.stderr,
  )
  return folder


def digest(*texts: str, size: int = 3) -> str:
  """A hash of texts, in `2 * size` characters, for a file name."""
  joined = '\0'.join(texts).encode(errors='surrogateescape')
  return hashlib.blake2b(joined, digest_size=size).hexdigest()
