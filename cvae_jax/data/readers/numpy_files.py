"""NumPy's .npy and .npz files; large arrays stay in their file, and nothing is unpickled."""

import contextlib
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

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
  if path.suffix.lower() == '.npy':
    with _refused(path), open(path, 'rb') as file:
      return _read(path, file, 0, os.fstat(file.fileno()).st_size)
  with _refused(f'{path}, array {name!r},'), zipfile.ZipFile(path) as archive:
    info = archive.getinfo(f'{name}.npy')
    is_stored = info.compress_type == zipfile.ZIP_STORED
    with archive.open(info) as member:
      return _read(path, member, _begin(path, info) if is_stored else None, info.file_size)


def _read(path, file, begin, num_bytes):
  """The array in an opened file of `num_bytes`, which begins at the byte `begin` of `path`.

  `begin` is None where the bytes are compressed there.
  """
  version = np.lib.format.read_magic(file)
  if version not in _HEADERS:
    raise ValueError(f'its format is version {version}')
  shape, is_fortran, dtype = _HEADERS[version](file)
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
