"""Finding the files of a data set, and reading no more of one than its kind can have."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

Found = TypeVar('Found')


def data_folder(data) -> Path:
  """The folder of `data.dir`, else of $TFDS_DATA_DIR, else ~/tensorflow_datasets.

  Raises:
    InputError: it is a file.
  """
  folder = paths.from_user(data.dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets')
  if folder.exists() and not folder.is_dir():
    raise InputError(f'data.dir={str(folder)!r} is a file, expected a folder.')
  return folder


def first_complete(
  folders: Iterable[Path], *finders: Callable[[Path], Found | None]
) -> Found | None:
  """The result of the first of `finders` that finds a whole data set in one of `folders`, or None.

  Raises:
    InputError: of the first finder that found some files but not all, where none found all.
  """
  incomplete = None
  for folder in folders:
    for find in finders:
      try:
        if found := find(folder):
          return found
      except InputError as error:
        incomplete = incomplete or error
  if incomplete:
    raise incomplete
  return None


def find_all(folder: Path, *names: str, suffixes: tuple[str, ...] = ('',)) -> list[Path] | None:
  """The files `names` in `folder`, each with one of `suffixes`, or None where there are none.

  Raises:
    InputError: some of the files are missing.
  """
  found = {}
  for name in names:
    candidates = (folder / f'{name}{suffix}' for suffix in suffixes)
    if path := next((path for path in candidates if path.is_file()), None):
      found[name] = path
  missing = [name for name in names if name not in found]
  if found and missing:
    ends = f' (with or without {suffixes[-1]})' if len(suffixes) > 1 else ''
    raise InputError(
      f'{folder} holds {", ".join(found)}, but not {", ".join(missing)}{ends}. '
      f'Put all {len(names)} files there.'
    )
  return list(found.values()) or None


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
