"""Statically binarized MNIST (Larochelle & Murray 2011): three splits of its own, no labels."""

import io
import zipfile
from pathlib import Path

import numpy as np

from cvae_jax.data.readers.files import read_bytes
from cvae_jax.runtime.errors import InputError

AMAT_FILES = {
  'train': 'binarized_mnist_train.amat',
  'validation': 'binarized_mnist_valid.amat',
  'test': 'binarized_mnist_test.amat',
}
NPZ_FILE = 'binarized_mnist.npz'
NPZ_NAMES = {'train': ('train',), 'validation': ('valid', 'validation'), 'test': ('test',)}
NUM_PIXELS = 28 * 28
BLANKS = b' \t\r'

# Of one file, and of what an .npz unpacks to; the largest original has 78 million.
MAX_BYTES = 1 << 28


def find(folder: Path) -> dict[str, Path] | Path | None:
  """The three .amat files by split, or the one .npz, or None where there is neither.

  They are looked for in `folder` and in `folder/binarized_mnist`.

  Raises:
    InputError: some of the three are there and some are not, and no whole set is elsewhere.
  """
  incomplete = None
  for place in (folder, folder / 'binarized_mnist'):
    paths = {split: place / name for split, name in AMAT_FILES.items()}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if not missing:
      return paths
    if (place / NPZ_FILE).is_file():
      return place / NPZ_FILE
    if len(missing) < 3 and not incomplete:
      incomplete = InputError(
        f'{place} holds some of the three .amat files, but not {", ".join(missing)}. '
        'Put all three there.'
      )
  if incomplete:
    raise incomplete
  return None


def read(found: dict[str, Path] | Path) -> dict[str, np.ndarray]:
  """Images [N, 28, 28, 1] uint8, 0 or 255, of the splits 'train', 'validation' and 'test'.

  Args:
    found: what `find` returned.

  Raises:
    InputError: a broken file, an empty one, or values other than 0 and 1.
  """
  if isinstance(found, Path):
    splits = _read_npz(found)
  else:
    splits = {split: _read_amat(path) for split, path in found.items()}
  return {split: bits.reshape(-1, 28, 28, 1) * np.uint8(255) for split, bits in splits.items()}


def _read_amat(path: Path) -> np.ndarray:
  """Bits [N, 784] uint8: an image on a line, in ASCII, separated by blanks."""
  content = read_bytes(path, MAX_BYTES)
  # Without blanks all lines are as long as one another: a table of bytes, its last column line
  # feeds. Two digits that touch would be lost in that, and are looked for before.
  printed = np.frombuffer(content, np.uint8) > ord(' ')
  touching = (printed[1:] & printed[:-1]).any()
  lines = content.translate(None, BLANKS).rstrip(b'\n') + b'\n'
  if touching or len(lines) % (NUM_PIXELS + 1):
    raise InputError(_first_bad_line(path, content))
  table = np.frombuffer(lines, np.uint8).reshape(-1, NUM_PIXELS + 1)
  bits = table[:, :NUM_PIXELS] - np.uint8(ord('0'))
  if bits.max() > 1 or (table[:, NUM_PIXELS] != ord('\n')).any():
    raise InputError(_first_bad_line(path, content))
  return bits


def _first_bad_line(path, content):
  for number, line in enumerate(io.BytesIO(content), 1):
    values = line.translate(None, BLANKS + b'\n')
    if len(values) != NUM_PIXELS:
      problem = f'has {len(values):,} values'
    elif others := values.translate(None, b'01'):
      problem = f'holds {others[:20]!r}'
    elif len(line.split()) != NUM_PIXELS:
      problem = 'holds values that no blank separates'
    else:
      continue
    return f'{path}, line {number} {problem}, expected {NUM_PIXELS} of 0 and 1. Fetch it again.'
  return f'{path} is empty, expected lines of {NUM_PIXELS} values. Fetch it again.'


def _read_npz(path: Path) -> dict[str, np.ndarray]:
  """Bits [N, 784] uint8 of the three splits, which are packed eight to a byte."""
  content = read_bytes(path, MAX_BYTES)
  splits = {}
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    if unpacked_bytes > MAX_BYTES:
      raise ValueError(f'it unpacks to {unpacked_bytes:,} bytes, expected at most {MAX_BYTES:,}')
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
      for split, names in NPZ_NAMES.items():
        name = next((name for name in names if name in arrays), None)
        if name is None:
          raise ValueError(f'it has no array {" or ".join(map(repr, names))}')
        splits[split] = _unpack_bits(arrays[name], name)
  except Exception as error:  # What zipfile, zlib and NumPy raise shares no base class.
    reason = str(error)[:200] or type(error).__name__
    raise InputError(f'{path} cannot be read: {reason}. Fetch it again.') from error
  return splits


def _unpack_bits(packed, name):
  num_bytes = NUM_PIXELS // 8
  shape, dtype = getattr(packed, 'shape', None), getattr(packed, 'dtype', type(packed).__name__)
  if dtype != np.uint8 or len(shape) != 2 or shape[0] < 1 or shape[1] != num_bytes:
    raise ValueError(f'array {name!r} is {dtype} {shape}, expected uint8 (images, {num_bytes})')
  return np.unpackbits(packed, axis=1)
