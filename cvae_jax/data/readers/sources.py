"""The registry of data sets, and what a reader returns."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.config import Column
from cvae_jax.data.readers import file_rows
from cvae_jax.data.readers.embedded import Embedded
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.runtime.registry import Registry

# Functions of a config's `data` that return a `Source`, and raise InputError where files are
# missing or broken. Their traits: `binary` (default False), all pixels are 0 or 255; `mirrored`
# (False), flipping an image left to right keeps its class; `own_test_split` (True), False where
# `data.split_seed` may decide which images are in the test split; `label_column` ('label'), what
# the class is called in a table of conditions.
DATASETS = Registry('data.name', 'cvae_jax.data.readers')


class Split(NamedTuple):
  """The images of one split and their labels."""

  # uint8 [N, H, W, C], in memory or in a file, or pictures to decode
  images: np.ndarray | FileRows | list[Path | Embedded]
  labels: np.ndarray  # int32 [N]; 0 where there are none, −1 where one is missing
  cells: np.ndarray | None = None  # float32 [N, columns] of `Source.columns`; see there

  def take(self, rows: slice | np.ndarray) -> 'Split':
    """The examples at `rows`, a slice or an array of indices, in that order.

    Those in a large file stay there: see `FileRows`.
    """
    cells = None if self.cells is None else self.cells[rows]
    if not isinstance(self.images, list):
      return Split(file_rows.take(self.images, rows), self.labels[rows], cells)
    images = self.images[rows] if isinstance(rows, slice) else [self.images[row] for row in rows]
    return Split(images, self.labels[rows], cells)


class Source(NamedTuple):
  """A data set as it is on disk."""

  splits: dict[str, Split]  # 'train', and 'validation' and 'test' where the data set has them
  class_names: tuple[str, ...]  # of the labels 0, 1, ...; () where there are none
  is_mixed: bool = False  # the first N images of a split are a fair sample; else they are shuffled
  # Of a table of conditions: the number of a category's name, 0 or 1 of a flag, a number in its own
  # unit; NaN is an empty cell. () of a data set that has labels alone.
  columns: tuple[Column, ...] = ()
  others: tuple[str, ...] = ()  # names of columns that were not asked for
  stratify: bool = False  # hold out the same fraction of each class, as small data sets need


def in_random_order(splits: dict[str, Split]) -> dict[str, Split]:
  """Shuffles each split, always alike."""
  return {
    name: split.take(np.random.RandomState(0).permutation(len(split.labels)))
    for name, split in splits.items()
  }


def in_order_of_content(splits: dict[str, Split]) -> dict[str, Split]:
  """Sorts images by a hash of their content: a run is the same from raw and from prepared files.

  TensorFlow Datasets shuffles what it prepares. Sorting by a hash shuffles as well, so that the
  first N images are a fair sample. JPEGs cannot be sorted so: TensorFlow and Pillow decode them to
  slightly different pixels.
  """
  return {name: split.take(_order_of_content(split)) for name, split in splits.items()}


def _order_of_content(split: Split) -> np.ndarray:
  """[N] row numbers, sorted by the hash of an image's bytes followed by those of its label."""
  images, count = file_rows.in_file(split.images), len(split.labels)
  high, low = np.empty(count, np.uint64), np.empty(count, np.uint64)
  for rows in file_rows.pieces(images):
    labels = np.ascontiguousarray(split.labels[rows])[:, None].view(np.uint8)
    content = [images[rows].reshape(len(labels), -1), labels]
    if split.cells is not None:
      content.append(np.ascontiguousarray(split.cells[rows]).view(np.uint8))
    content = np.concatenate(content, axis=1)
    digests = b''.join(hashlib.blake2b(row, digest_size=16).digest() for row in content)
    # Big-endian numbers compare as the bytes of a hash do.
    high[rows], low[rows] = np.frombuffer(digests, '>u8').reshape(-1, 2).T
  return np.lexsort((low, high)).astype(np.int32)
