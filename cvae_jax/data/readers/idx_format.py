"""The IDX format: arrays of numbers behind a short header, compressed or not."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cvae_jax.data.readers import file_rows
from cvae_jax.runtime.errors import InputError

TYPES = {8: 'u1', 9: 'i1', 11: '>i2', 12: '>i4', 13: '>f4', 14: '>f8'}  # by the third byte
MAX_DIMENSIONS = 4
_GZIP = b'\x1f\x8b'


def read(path: Path, num_dimensions: int) -> np.ndarray:
  """Reads an IDX file of unsigned bytes.

  Returns:
    uint8, with `num_dimensions` axes; a read-only memory map of a large file without compression.

  Raises:
    InputError: the file is truncated, longer than its header says, corrupt, or of another kind.
  """
  return _read(path, f'of unsigned bytes in {num_dimensions} dimension(s)', {8}, {num_dimensions})


def read_any(path: Path) -> np.ndarray:
  """Reads an IDX file of any type, with 1 to 4 axes; otherwise as `read`."""
  return _read(path, 'that NumPy has a type for', TYPES, range(1, MAX_DIMENSIONS + 1))


def is_idx(path: Path) -> bool:
  """Whether a file begins as an IDX file does, compressed or not."""
  try:
    with _opened(path) as file:
      magic = file.read(4)
  except (OSError, EOFError, zlib.error):
    return False
  return len(magic) == 4 and magic[:2] == bytes(2) and magic[2] in TYPES and 0 < magic[3] <= 4


def _opened(path: Path) -> BinaryIO:
  with open(path, 'rb') as file:
    is_compressed = file.read(2) == _GZIP
  return gzip.open(path) if is_compressed else open(path, 'rb')


def _read(path, kind, types, num_dimensions):
  try:
    with _opened(path) as file:
      magic = file.read(4)
      allowed = ({0}, {0}, types, num_dimensions)
      wrong = any(value not in rule for value, rule in zip(magic, allowed, strict=False))
      if wrong:
        example = bytes([0, 0, min(types), min(num_dimensions)]).hex()
        raise InputError(
          f'{path} is no IDX file {kind}: it begins with {magic.hex()}, expected {example}.'
        )
      header = file.read(4 * magic[3]) if len(magic) == 4 else b''
      if len(magic) < 4 or len(header) < 4 * magic[3]:
        raise InputError(f'{path} is truncated: it ends within its header. Fetch it again.')
      shape, dtype = struct.unpack(f'>{magic[3]}I', header), np.dtype(TYPES[magic[2]])
      size = math.prod(shape) * dtype.itemsize
      is_plain = not isinstance(file, gzip.GzipFile)
      if is_plain and file_rows.MAX_IN_MEMORY < size == _bytes_left(file):
        return np.memmap(path, dtype, 'r', file.tell(), shape)
      # Read in chunks, to one byte past the end: a false header cannot claim memory.
      content = bytearray()
      while len(content) <= size and (chunk := file.read(min(size + 1 - len(content), 1 << 24))):
        content += chunk
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f'{path} cannot be read: {error}. Fetch it again.') from error
  if len(content) != size:
    is_short = len(content) < size
    problem = f'truncated: {len(content):,}' if is_short else f'too long: more than {size:,}'
    raise InputError(
      f'{path} is {problem} bytes of content, expected {size:,} by its header, shape {shape}. '
      'Fetch it again.'
    )
  return np.frombuffer(content, dtype).reshape(shape)


def _bytes_left(file: BinaryIO) -> int:
  return os.fstat(file.fileno()).st_size - file.tell()
