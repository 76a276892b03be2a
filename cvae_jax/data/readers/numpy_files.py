"""NumPy's .npy and .npz files; large arrays stay in their file, and nothing is unpickled."""

import contextlib
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from cvae_jax.data.readers import file_rows
from cvae_jax.runtime.errors import InputError, reason

SUFFIXES = ('.npy', '.npz')
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
_LOCAL_HEADER = struct.Struct('<26xHH')  # of a zip's member: bytes of its name and extra field


def names(path: Path) -> list[str]:
  """The names of the arrays in a .npz; of a .npy, its stem.

  Raises:
    InputError: the file cannot be read, or holds no array.
  """
  if path.suffix.lower() == '.npy':
    return [path.stem]
  with _refused(path), zipfile.ZipFile(path) as archive:
    found = [name[: -len('.npy')] for name in archive.namelist() if name.endswith('.npy')]
    if not found:
      raise ValueError('it holds no array')
  return found


def read(path: Path, name: str) -> np.ndarray:
  """The array `name` of a file; a read-only memory map of a large one without compression.

  Raises:
    InputError: the file is damaged or cut off, or the array holds Python objects.
  """
  with _opened(path, name) as (file, begin, num_bytes):
    shape, is_fortran, dtype = _header(file)
    if dtype.hasobject:
      raise ValueError(
        'it holds Python objects, which are never unpickled: save an array of numbers or texts'
      )
    header_bytes, array_bytes = file.tell(), math.prod(shape) * dtype.itemsize
    if header_bytes + array_bytes != num_bytes:
      raise ValueError(
        f'it has {num_bytes - header_bytes:,} bytes, expected {array_bytes:,} of {dtype} {shape}'
      )
    if begin is not None and array_bytes > file_rows.MAX_IN_MEMORY:
      order = 'F' if is_fortran else 'C'
      return np.memmap(path, dtype, 'r', begin + header_bytes, shape, order)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def shape_of(path: Path, name: str) -> tuple[int, ...]:
  """The shape of the array `name` of a file.

  Raises:
    InputError: the file is damaged or cut off.
  """
  with _opened(path, name) as (file, _, _):
    return _header(file)[0]


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[IO[bytes], int | None, int]]:
  """The file of an array, where its bytes begin in `path`, and how many they are.

  The beginning is None where the bytes are compressed.
  """
  if path.suffix.lower() == '.npy':
    with _refused(path), open(path, 'rb') as file:
      yield file, 0, os.fstat(file.fileno()).st_size
    return
  with _refused(f'{path}, array {name!r},'), zipfile.ZipFile(path) as archive:
    info = archive.getinfo(f'{name}.npy')
    is_stored = info.compress_type == zipfile.ZIP_STORED
    with archive.open(info) as member:
      yield member, _begin(path, info) if is_stored else None, info.file_size


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
  """The shape of an array, whether it is in Fortran's order, and its type."""
  version = np.lib.format.read_magic(file)
  if version not in _HEADERS:
    raise ValueError(f'its format is version {version}')
  return _HEADERS[version](file)


def _begin(path: Path, info: zipfile.ZipInfo) -> int:
  """Where the bytes of a member begin in a .npz."""
  with open(path, 'rb') as file:
    file.seek(info.header_offset)
    return (
      info.header_offset
      + _LOCAL_HEADER.size
      + sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
    )


@contextlib.contextmanager
def _refused(shown) -> Iterator[None]:
  try:
    yield
  except zipfile.BadZipFile as error:
    raise InputError(
      f'{shown} is cut off or damaged, or no .npz ({str(error)[:80]}). Fetch or save it again.'
    ) from error
  except Exception as error:  # The errors of zipfile, zlib and NumPy share no base class.
    text = str(error)[:200] if isinstance(error, ValueError) else reason(error)
    raise InputError(f'{shown} cannot be read: {text}. Fetch or save it again.') from error
