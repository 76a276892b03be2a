"""Images that stay in their file: rows of a large array, read when they are asked for."""

import io
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.runtime.errors import InputError

MAX_IN_MEMORY = 1 << 26  # bytes of an array in a file that is read as a whole, as MNIST is
PIECE_BYTES = 1 << 22  # of images that are read at once where all are needed


class _File(io.FileIO):
  """A file that is closed, without a warning, when its last rows are collected."""

  def __del__(self):
    self.close()


class Layout(NamedTuple):
  """Where the rows of an array lie in a file."""

  file: io.FileIO
  offset: int  # bytes before the first row
  stride: int  # bytes from one row to the next
  shape: tuple[int, ...]  # of the array
  dtype: np.dtype

  @property
  def row_bytes(self) -> int:
    """Bytes of one row."""
    return math.prod(self.shape[1:]) * self.dtype.itemsize


class FileRows:
  """Rows of an array in a file, in any order.

  Indexed like an array, along its first axis alone, it reads the rows into a NumPy array. It does
  not map them to memory: the pages of a map count as memory of the process, and a file that is cut
  off would kill it.
  """

  def __init__(self, layout: Layout, rows: np.ndarray | None = None):
    """The rows with the numbers `rows`, in that order, or all rows."""
    self._layout, self._rows = layout, rows
    self.dtype = layout.dtype
    self.shape = (layout.shape[0] if rows is None else len(rows), *layout.shape[1:])

  def __len__(self) -> int:
    return self.shape[0]

  @property
  def nbytes(self) -> int:
    """Bytes of all rows."""
    return len(self) * self._layout.row_bytes

  def __getitem__(self, rows: Any) -> np.ndarray:
    """A copy of the rows at an integer, a slice or an array of integers.

    Raises:
      InputError: the file cannot be read, or is shorter than it was.
    """
    numbers = self._numbers(rows)
    content = _read(self._layout, np.ravel(numbers))
    return np.frombuffer(content, self.dtype).reshape(*np.shape(numbers), *self.shape[1:])

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return self[:].astype(dtype or self.dtype, copy=False)

  def take(self, rows: slice | np.ndarray) -> 'FileRows':
    """The rows at a slice or an array of integers; none is read yet."""
    return FileRows(self._layout, self._numbers(rows))

  def _numbers(self, rows: Any) -> np.ndarray:
    """The numbers that the rows have in the file."""
    if self._rows is not None:
      return self._rows[rows]
    if isinstance(rows, slice):
      return np.arange(*rows.indices(len(self)), dtype=np.int32)
    return np.arange(len(self), dtype=np.int32)[rows]


def take(images: np.ndarray | FileRows, rows: slice | np.ndarray) -> np.ndarray | FileRows:
  """The images at `rows`, a slice or an array of integers; those in a large file stay there."""
  images = in_file(images)
  return images.take(rows) if isinstance(images, FileRows) else images[rows]


def in_file(array: np.ndarray | FileRows) -> np.ndarray | FileRows:
  """`FileRows` of an array that is a large read-only memory map; others unchanged."""
  if isinstance(array, FileRows) or array.nbytes <= MAX_IN_MEMORY or array.flags.writeable:
    return array
  root = array
  while isinstance(root.base, np.ndarray):
    root = root.base
  if not isinstance(root, np.memmap) or not array[0].flags.c_contiguous:
    return array
  offset = root.offset + array.ctypes.data - root.ctypes.data
  layout = Layout(_File(root.filename), offset, array.strides[0], array.shape, array.dtype)
  return FileRows(layout)


def pieces(images: np.ndarray | FileRows) -> Iterator[slice]:
  """Slices that cover all images, in order, few enough in each to be held in memory."""
  size = max(1, PIECE_BYTES * len(images) // max(images.nbytes, 1))
  for first in range(0, len(images), size):
    yield slice(first, first + size)


def _read(layout: Layout, numbers: np.ndarray) -> bytearray:
  """The bytes of rows; those that lie next to each other are read at once."""
  size, stride = layout.row_bytes, layout.stride
  content = bytearray(len(numbers) * size)
  view, descriptor = memoryview(content), layout.file.fileno()
  is_begin = (np.diff(numbers, prepend=-2) != 1) | (stride != size)
  begins = np.flatnonzero(is_begin)
  ends = size * np.append(begins, len(numbers))[1:]
  offsets = layout.offset + stride * numbers[begins].astype(np.int64)
  for begin, end, offset in zip(
    (size * begins).tolist(), ends.tolist(), offsets.tolist(), strict=True
  ):
    while begin < end:
      try:
        read = os.pread(descriptor, end - begin, offset)
      except OSError as error:
        raise InputError(f'{layout.file.name} cannot be read: {error.strerror}.') from error
      if not read:
        raise InputError(
          f'{layout.file.name} has become shorter since the start. Bring back the file to resume.'
        )
      view[begin : begin + len(read)] = read
      begin, offset = begin + len(read), offset + len(read)
  return content
