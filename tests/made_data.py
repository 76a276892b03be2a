"""The smallest data sets that the shipped configs can train on, in the files that users have."""

import struct
import zlib

import numpy as np
from PIL import Image

import idx_files
from tiny import tiny_config


def config_of(name, folder, **changes):
  """The config of a run on a few images of 8×8 of `data.name`; see `tiny_config`."""
  fields = {'data__validation_examples': 2, 'data__max_examples': 0, 'batch_size': 2}
  return tiny_config(data__name=name, data__dir=str(folder), **(fields | changes))


def make(name, folder):
  """Writes the data set `data.name` into `folder`; returns the flags that a run on it needs."""
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.RandomState(0)
  flags = [f'--config.data.dir={folder}']
  if name in ('mnist', 'fashion_mnist'):
    images, labels = rng.randint(0, 256, (5200, 28, 28), np.uint8), np.arange(5200) % 10
    idx_files.write(folder / name, images, labels.astype(np.uint8))
  elif name == 'cifar10':
    write_cifar10(folder / 'cifar-10-batches-bin', rng)
  elif name == 'binarized_mnist':
    splits = {
      split: rng.randint(0, 256, (150, 98), np.uint8) for split in ('train', 'valid', 'test')
    }
    np.savez(folder / 'binarized_mnist.npz', **splits)
  elif name == 'celeba':
    write_celeba(folder, rng)
  elif name == 'arrays':
    images, labels = rng.randint(0, 256, (180, 28, 28), np.uint8), np.arange(180) % 3
    np.savez(folder / 'mine.npz', images=images, labels=labels)
    flags = [f'--config.data.dir={folder / "mine.npz"}']
  elif name == 'folder':
    write_pictures(folder, rng)
    flags.append('--config.data.validation_examples=20')
  return flags


def write_cifar10(folder, rng, labels=tuple(range(10)) * 104):
  folder.mkdir(parents=True)
  for name in [f'data_batch_{number}' for number in range(1, 6)] + ['test_batch']:
    table = rng.randint(0, 256, (len(labels), 3073), np.uint8)
    table[:, 0] = labels
    (folder / f'{name}.bin').write_bytes(table.tobytes())


def write_celeba(folder, rng):
  """140 training, 5 validation and 5 test pictures of 218×178."""
  pictures = folder / 'img_align_celeba'
  pictures.mkdir()
  attributes, partition = ['150', 'Smiling Young'], []
  for number in range(1, 151):
    name = f'{number:06d}.jpg'
    Image.fromarray(rng.randint(0, 256, (218, 178, 3), np.uint8)).save(pictures / name)
    attributes.append(f'{name} {1 if number % 3 else -1} 1')
    partition.append(f'{name} {(number > 140) + (number > 145)}')
  (folder / 'list_attr_celeba.txt').write_text('\n'.join(attributes) + '\n')
  (folder / 'list_eval_partition.txt').write_text('\n'.join(partition) + '\n')


def write_pictures(folder, rng, classes=10, count=16):
  """`count` pictures of each class in training/, two in testing/, grey and RGB, in many sizes."""
  for split, number in (('training', count), ('testing', 2)):
    for label in range(classes):
      place = folder / split / f'{label}'
      place.mkdir(parents=True)
      for row in range(number):
        shape = (20 + row, 30, 3) if row % 2 else (28, 28)
        Image.fromarray(rng.randint(0, 256, shape, np.uint8)).save(place / f'{row}.png')


def make_empty(root, *names):
  """Makes empty files, and folders where a name ends in a slash."""
  for name in names:
    path = root / name
    if name.endswith('/'):
      path.mkdir(parents=True, exist_ok=True)
    else:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()


def names_in(root, paths):
  return [str(path.relative_to(root)) for path in paths]


def save_picture(path, array, **options):
  """Saves a uint8 or uint16 array in the format that the suffix names; returns the path."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path, **options)
  return path


def write_png(path, width, height, bits, colour_type, lines, *chunks):
  """Writes a PNG that Pillow cannot write; returns the path."""

  def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

  path.write_bytes(
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', struct.pack('>2I5B', width, height, bits, colour_type, 0, 0, 0))
    + b''.join(chunk(*pair) for pair in chunks)
    + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + line for line in lines)))
    + chunk(b'IEND', b'')
  )
  return path
