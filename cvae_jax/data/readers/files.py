"""Finding the files of a data set, and reading no more of one than its kind can have."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

# What systems, network drives and tools leave beside the user's files, in lower case.
_LEFT = frozenset((
  '__macosx', 'icon\r', 'network trash folder', 'temporary items',  # macOS
  'thumbs.db', 'ehthumbs.db', 'desktop.ini', '$recycle.bin', 'recycler',  # Windows
  'system volume information', 'lost+found', '__pycache__',
  '@eadir', '#recycle', '#snapshot', '@recycle', '@recently-snapshot',  # Synology, QNAP
))  # fmt: skip


def is_left_by_system(name: str) -> bool:
  """Whether the name is hidden, or one that systems and tools give: __MACOSX, Thumbs.db, ..."""
  return name.startswith('.') or name.lower() in _LEFT


def data_folder(data) -> Path:
  """The folder of `data.dir`, else of $TFDS_DATA_DIR, else ~/tensorflow_datasets.

  Raises:
    InputError: it is a file.
  """
  folder = paths.from_user(data.dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets')
  if folder.exists() and not folder.is_dir():
    raise InputError(f'data.dir={str(folder)!r} is a file, expected a folder.')
  return folder


def find_all(
  folders: Iterable[Path],
  *alternatives: Sequence[str],
  spellings: Callable[[str], Sequence[str]] = lambda name: (name,),
) -> list[Path] | None:
  """The files of a data set in the first folder that holds all of them, or None if none has any.

  Args:
    folders: where to look.
    *alternatives: the names of all files, in each form of the data set.
    spellings: the paths in a folder that a name may stand for; the first that exists counts.

  Raises:
    InputError: some files are there, but in no folder all.
  """
  incomplete = None
  for folder, names in itertools.product(folders, alternatives):
    found = {}
    for name in names:
      paths = (folder / spelling for spelling in spellings(name))
      if path := next(filter(Path.is_file, paths), None):
        found[name] = path
    missing = [name for name in names if name not in found]
    if not missing:
      return list(found.values())
    if found and not incomplete:
      *_, last = spellings(missing[0])
      other = f' (or {last})' if last != missing[0] else ''
      incomplete = InputError(
        f'{folder} holds {", ".join(found)}, but not {", ".join(missing)}{other}. '
        f'Put all {len(names)} files there.'
      )
  if incomplete:
    raise incomplete
  return None


def not_found(folder: Path, name: str, raw_files: str) -> InputError:
  """The error for a data set that is not in `folder` and cannot be downloaded."""
  return InputError(
    f'{str(folder)!r} holds no {name!r}, and cvae_jax cannot download it: put {raw_files} there or '
    f'in {name}/ in it, or name another folder with --config.data.dir.'
  )


def read_bytes(path: Path, limit: int) -> bytes:
  """The content of a file of at most `limit` bytes.

  Raises:
    InputError: the file cannot be read, or is larger.
  """
  try:
    with open(path, 'rb') as file:
      content = file.read(limit + 1)
  except OSError as error:
    raise InputError(f'{path} cannot be read: {error.strerror}.') from error
  if len(content) > limit:
    raise InputError(f'{path} has more than {limit:,} bytes, expected fewer. Fetch it again.')
  return content
