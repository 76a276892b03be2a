"""MNIST and Fashion-MNIST: the data sets that come in the four IDX files of MNIST."""

from functools import partial
from pathlib import Path

import numpy as np

from cvae_jax.data.readers import files, idx_format, tfds
from cvae_jax.data.readers.sources import DATASETS, Source, Split, in_order_of_content
from cvae_jax.runtime.errors import InputError

FILES = {
  'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
  'test': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
}
RAW_FILES = 'the four IDX files (train-images-idx3-ubyte.gz, ...)'

_names = set()  # of the data sets in such files


def register(name: str, class_names: tuple[str, ...], probe_url: str | None = None, **traits):
  """Registers a data set of four IDX files that are named like MNIST's.

  Args:
    name: the value of `data.name`. The files are looked for in the data folder and in `name`/.
    class_names: the names of the labels 0, 1, ...
    probe_url: any file on the server that TensorFlow Datasets downloads `name` from, to notice at
      once that there is no network; None if it does not offer this data set.
    **traits: see `DATASETS`.
  """
  _names.add(name)

  def read_raw(paths):
    return {split: read_split(*paths[split]) for split in FILES}

  @DATASETS.register(name, **traits)
  def source(data) -> Source:
    find_raw = partial(find, name=name)
    splits = tfds.load(data, find_raw, read_raw, RAW_FILES, probe_url)
    return Source(in_order_of_content(splits), class_names, is_mixed=True)


register(
  'mnist',
  tuple('0123456789'),
  'https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz',
  label_column='digit',
)
FASHION_CLASSES = (
  'T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag',
  'Ankle boot',
)  # fmt: skip
register(
  'fashion_mnist',
  FASHION_CLASSES,
  'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz',
  mirrored=True,
)


def find(folder: Path, name: str) -> dict[str, tuple[Path, Path]] | None:
  """The images and labels of each split in `folder` or `folder/name`, or None; see `spellings`.

  Raises:
    InputError: some of the four files are missing, or `folder` is named after another data set.
  """
  # The files of all these data sets have the same names: only the folder tells them apart.
  if (other := folder.resolve().name) in _names - {name}:
    raise InputError(
      f'data.dir={str(folder)!r} is named after another data set than data.name={name!r}. '
      f'Set --config.data.name={other}, or name the folder of {name!r}.'
    )
  names = (*FILES['train'], *FILES['test'])
  paths = files.find_all((folder, folder / name), names, spellings=spellings)
  return paths and {'train': tuple(paths[:2]), 'test': tuple(paths[2:])}


def spellings(name: str) -> list[str]:
  """Where one of the files may be: compressed or not, named as by its authors or with a dot.

  The dot is what programs make of the compressed original; Kaggle's archive also has each file in a
  folder of its name.
  """
  names = name, name.replace('-idx', '.idx')
  return [*names, *(f'{each}/{each}' for each in names), *(f'{each}.gz' for each in names)]


def read_split(images_path: Path, labels_path: Path) -> Split:
  """Reads images [N, H, W, 1] uint8 and labels [N] int32.

  Raises:
    InputError: a file is broken or empty, or images and labels differ in number.
  """
  images, labels = idx_format.read(images_path, 3), idx_format.read(labels_path, 1)
  if not images.size:
    raise InputError(f'{images_path} holds no images: its shape is {images.shape}.')
  if len(images) != len(labels):
    raise InputError(
      f'{images_path} and {labels_path} differ in number: {len(images):,} images, '
      f'{len(labels):,} labels. Fetch both again.'
    )
  return Split(images[..., None], labels.astype(np.int32))
