"""Small IDX files to read."""

import gzip
import struct

import numpy as np

from cvae_jax.data.readers import mnist


def encode(array):
  header = struct.pack('>HBB', 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape)
  return header + array.tobytes()


IMAGES = np.random.RandomState(0).randint(0, 256, (7, 5, 4), np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def write(folder, images=IMAGES, labels=LABELS, compress=True):
  folder.mkdir(exist_ok=True)
  for image_name, label_name in mnist.FILES.values():
    for name, array in ((image_name, images), (label_name, labels)):
      content = encode(array)
      if compress:
        (folder / f'{name}.gz').write_bytes(gzip.compress(content))
      else:
        (folder / name).write_bytes(content)
