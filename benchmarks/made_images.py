"""Random images in files like MNIST's."""

from pathlib import Path

import numpy as np

BLOCK = 1 << 16  # images that are written at once


def write(folder: Path, num_images: int, num_test: int) -> None:
  """Writes different random images as the four IDX files of MNIST, block by block.

  Args:
    folder: where to.
    num_images: of the training split.
    num_test: of the test split.
  """
  block = np.random.RandomState(0).randint(0, 256, (BLOCK, 28 * 28), dtype=np.uint8)
  for split, count in (('train', num_images), ('t10k', num_test)):
    with open(folder / f'{split}-images-idx3-ubyte', 'wb') as file:
      file.write(np.array([0x803, count, 28, 28], '>i4').tobytes())
      for first in range(0, count, BLOCK):
        # The number of an image in its first pixels makes it another one.
        numbers = np.arange(first, min(first + BLOCK, count), dtype=np.int32)
        block[: len(numbers), :4] = numbers[:, None].view(np.uint8)
        file.write(block[: len(numbers)])
    header = np.array([0x801, count], '>i4').tobytes()
    labels = np.arange(count) % 10
    (folder / f'{split}-labels-idx1-ubyte').write_bytes(header + labels.astype(np.uint8).tobytes())
