"""Statically binarized MNIST (Larochelle & Murray 2011): three splits, no labels."""

import io
from pathlib import Path

import numpy as np

from cvae_jax.config import height_and_width
from cvae_jax.data.readers import files
from cvae_jax.data.readers.sources import DATASETS, Source, Split
from cvae_jax.runtime.errors import InputError

AMAT_FILES = {
  'train': 'binarized_mnist_train.amat',
  'validation': 'binarized_mnist_valid.amat',
  'test': 'binarized_mnist_test.amat',
}
NPZ_FILE = 'binarized_mnist.npz'
NPZ_NAMES = {'train': ('train',), 'validation': ('valid', 'validation'), 'test': ('test',)}
RAW_FILES = f'binarized_mnist_train.amat, ..._valid.amat and ..._test.amat, or {NPZ_FILE}'
NUM_PIXELS = 28 * 28
BLANKS = b' \t\r'

MAX_BYTES = 1 << 28  # of a file, and of an unpacked .npz; the largest original has 78 million


def _check_stays_binary(config) -> None:
  data = config.data
  if height_and_width(data) != (28, 28) or data.crop_size not in (0, 28):
    raise InputError(
      f'data.image_size={data.image_size} and data.crop_size={data.crop_size} would resize '
      "'binarized_mnist', which is 28×28 and would not stay binary. Leave them at 28 and 0."
    )


@DATASETS.register('binarized_mnist', _check_stays_binary, binary=True)
def source(data) -> Source:
  """Binarized MNIST: 50,000 training, 10,000 validation and 10,000 test images."""
  folder = files.data_folder(data)
  if not (found := find(folder)):
    raise files.not_found(folder, 'binarized_mnist', RAW_FILES)
  images = read(found)
  splits = {name: Split(x, np.zeros(len(x), np.int32)) for name, x in images.items()}
  return Source(splits, (), is_mixed=True)


def find(folder: Path) -> list[Path] | None:
  """The three .amat files, or the one .npz, in `folder` or `folder/binarized_mnist`, or None.

  Raises:
    InputError: some of the three are missing, and there is no .npz.
  """
  folders = (folder, folder / 'binarized_mnist')
  return files.find_all(folders, tuple(AMAT_FILES.values()), (NPZ_FILE,))


def read(paths: list[Path]) -> dict[str, np.ndarray]:
  """Reads what `find` found: images [N, 28, 28, 1] uint8, 0 or 255, of the three splits.

  Raises:
    InputError: a file is broken or empty, or holds values other than 0 and 1.
  """
  if len(paths) == 1:
    bits = _read_npz(paths[0])
  else:
    bits = {split: _read_amat(path) for split, path in zip(AMAT_FILES, paths, strict=True)}
  return {split: rows.reshape(-1, 28, 28, 1) * np.uint8(255) for split, rows in bits.items()}


def _read_amat(path: Path) -> np.ndarray:
  """Bits [N, 784] uint8 of a text file: an image a line, values separated by blanks."""
  content = files.read_bytes(path, MAX_BYTES)
  if not content:
    raise InputError(f'{path} is empty, expected lines of {NUM_PIXELS} values. Fetch it again.')
  printed = np.frombuffer(content, np.uint8) > ord(' ')
  touching = (printed[1:] & printed[:-1]).any()  # digits without a blank between them
  rows = []
  for number, line in enumerate(content.rstrip(BLANKS + b'\n').split(b'\n'), 1):
    values = line.translate(None, BLANKS)
    if len(values) != NUM_PIXELS:
      problem = f'has {len(values):,} values'
    elif others := values.translate(None, b'01'):
      problem = f'holds {others[:20]!r}'
    elif touching and len(line.split()) != NUM_PIXELS:
      problem = 'holds values without a blank between them'
    else:
      rows.append(values)
      continue
    raise InputError(
      f'{path}, line {number} {problem}, expected {NUM_PIXELS} of 0 and 1. Fetch it again.'
    )
  return np.frombuffer(b''.join(rows), np.uint8).reshape(-1, NUM_PIXELS) - np.uint8(ord('0'))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
  """Bits [N, 784] uint8 of the three splits, which are packed eight to a byte."""
  content, bits = files.read_bytes(path, MAX_BYTES), {}
  try:
    with np.lib.npyio.NpzFile(io.BytesIO(content), allow_pickle=False) as arrays:
      unpacked_bytes = sum(entry.file_size for entry in arrays.zip.infolist())
      if unpacked_bytes > MAX_BYTES:
        raise ValueError(f'it unpacks to {unpacked_bytes:,} bytes, expected at most {MAX_BYTES:,}')
      for split, names in NPZ_NAMES.items():
        name = next((name for name in names if name in arrays), None)
        if name is None:
          raise ValueError(f'it has no array {" or ".join(map(repr, names))}')
        packed = np.asarray(arrays[name])
        shape, row = packed.shape, NUM_PIXELS // 8
        if packed.dtype != np.uint8 or shape[1:] != (row,) or not len(packed):
          given = f'{packed.dtype} {shape}'
          raise ValueError(f'array {name!r} is {given}, expected uint8 (images, {row})')
        bits[split] = np.unpackbits(packed, axis=1)
  except Exception as error:  # The errors of zipfile, zlib and NumPy share no base class.
    reason = str(error)[:200] or type(error).__name__
    raise InputError(f'{path} cannot be read: {reason}. Fetch it again.') from error
  return bits
