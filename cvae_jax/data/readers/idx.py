"""The IDX format of the original MNIST files."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from cvae_jax.runtime.errors import InputError

# The four files of MNIST, which Fashion-MNIST and others share.
FILES = {
  'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
  'test': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
}


def find(folder: Path) -> dict[str, tuple[Path, Path]] | None:
  """The four files in `folder`, `.gz` or not, or None where there is none of them.

  Raises:
    InputError: some of the four are there and some are not.
  """
  found, missing = {}, []
  for split, names in FILES.items():
    paths = []
    for name in names:
      candidates = [path for path in (folder / name, folder / f'{name}.gz') if path.is_file()]
      if candidates:
        paths.append(candidates[0])
      else:
        missing.append(name)
    found[split] = tuple(paths)
  if len(missing) == 4:
    return None
  if missing:
    raise InputError(
      f'{folder} holds some of the four IDX files, but not {", ".join(missing)} (.gz or not). '
      'Put all four there.'
    )
  return found


def read(path: Path, num_dimensions: int) -> np.ndarray:
  """One IDX file of unsigned bytes, as an array of `num_dimensions`.

  Raises:
    InputError: the file is truncated, longer than its header says, corrupt, or of another kind.
  """
  try:
    with gzip.open(path) if path.suffix == '.gz' else open(path, 'rb') as file:
      header = file.read(4 + 4 * num_dimensions)
      magic = bytes([0, 0, 8, num_dimensions])
      if header[:4] != magic[: len(header)]:
        raise InputError(
          f'{path} is no IDX file of unsigned bytes in {num_dimensions} dimension(s): it begins '
          f'with {header[:4].hex()}, expected {magic.hex()}.'
        )
      if len(header) < 4 + 4 * num_dimensions:
        raise InputError(f'{path} is truncated: it ends within its header. Fetch it again.')
      shape = struct.unpack(f'>{num_dimensions}I', header[4:])
      size = math.prod(shape)
      # One byte more than promised, read in pieces: a header that lies cannot ask for its memory.
      pieces, received = [], 0
      while received <= size and (piece := file.read(min(size + 1 - received, 1 << 24))):
        pieces.append(piece)
        received += len(piece)
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f'{path} cannot be read: {error}. Fetch it again.') from error
  if received != size:
    state = 'truncated' if received < size else 'longer than its header says'
    raise InputError(
      f'{path} is {state}: its header promises {size:,} bytes of shape {shape}, '
      f'{"it has" if received < size else "there are more than"} {min(received, size):,}. '
      'Fetch it again.'
    )
  return np.frombuffer(b''.join(pieces), np.uint8).reshape(shape)


def read_split(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
  """Images [N, H, W, 1] uint8 and labels [N] int32 of one split.

  Raises:
    InputError: a broken file, an empty one, or as many labels as images there are not.
  """
  images, labels = read(images_path, 3), read(labels_path, 1)
  if not images.size:
    raise InputError(f'{images_path} holds no images: its shape is {images.shape}.')
  if len(images) != len(labels):
    raise InputError(
      f'{images_path} holds {len(images):,} images, but {labels_path} {len(labels):,} labels. '
      'Fetch both again.'
    )
  return images[..., None], labels.astype(np.int32)
