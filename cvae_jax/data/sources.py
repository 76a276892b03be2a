"""A name becomes uint8 arrays: which sets there are, where they are looked for, how they split."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cvae_jax import paths
from cvae_jax.data import idx, tfds
from cvae_jax.errors import InputError

CLASS_NAMES = {
  'digits': tuple('0123456789'),
  'mnist': tuple('0123456789'),
  'fashion_mnist': (
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
  ),
}
NUM_TEST_DIGITS = 300


class Dataset(NamedTuple):
  """Labelled images of one split."""

  images: np.ndarray  # uint8 [N, H, W, C]
  labels: np.ndarray  # int32 [N]
  class_names: tuple[str, ...]


class Splits(NamedTuple):
  """The three parts of a data set."""

  train: Dataset
  validation: Dataset
  test: Dataset


def load(config) -> Splits:
  """The data set that `config.data` describes.

  `validation_examples` are split off the training set by `split_seed`; `max_examples` then keeps
  the first of the training images in that order. The test set is never touched.

  Args:
    config: a checked config.

  Raises:
    InputError: the files are missing or broken, or do not fit the config.
  """
  data = config.data
  class_names = CLASS_NAMES[data.name]
  train, test = _load_digits() if data.name == 'digits' else _load_files(data)
  for images, labels in (train, test):
    _check_fits(data, images, labels)
  stratify = data.name == 'digits'  # so small that a random split would miss some classes' share
  validation_rows, train_rows = _split_off(
    train[1], data.validation_examples, data.split_seed, stratify
  )
  if data.max_examples:
    train_rows = train_rows[: data.max_examples]
  if config.batch_size > len(train_rows):
    raise InputError(
      f'batch_size={config.batch_size} is more than the {len(train_rows):,} training images. '
      f'Choose at most {len(train_rows)}.'
    )

  def dataset(images, labels):
    return Dataset(_resize(images, data.image_size), labels, class_names)

  images, labels = train
  return Splits(
    train=dataset(images[train_rows], labels[train_rows]),
    validation=dataset(images[validation_rows], labels[validation_rows]),
    test=dataset(*test),
  )


def _load_digits():
  """scikit-learn's 1,797 digits: 8×8, 16 grey levels; 300 of them, stratified, are the test set."""
  from sklearn import datasets

  digits = datasets.load_digits()
  images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = digits.target.astype(np.int32)
  # The set has no test split of its own; this one is the same for every split_seed.
  test_rows, train_rows = _split_off(labels, NUM_TEST_DIGITS, 0, stratify=True)
  return (images[train_rows], labels[train_rows]), (images[test_rows], labels[test_rows])


def _load_files(data):
  """TensorFlow Datasets' folder, else the four IDX files, else a download."""
  named = data.dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  folder = paths.from_user(named)
  if folder.exists() and not folder.is_dir():
    raise InputError(f'data.dir={str(folder)!r} is a file, expected a folder.')
  prepared = tfds.find(folder, data.name)
  if not prepared and folder.name == data.name:  # one level too deep, but clear
    prepared = tfds.find(folder.parent, data.name)
  if not (prepared and tfds.readable()) and (idx_files := _find_idx(folder, data.name)):
    splits = {split: idx.read_split(*paths) for split, paths in idx_files.items()}
    return _in_order_of_content(splits['train']), _in_order_of_content(splits['test'])
  if not prepared:
    if folder.is_dir() and not tfds.is_home(folder):
      names = sorted(path.name for path in folder.iterdir())
      shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
      raise InputError(
        f'data.dir={str(folder)!r} holds other files ({shown}), but no {data.name!r}: expected '
        f'{data.name}/<version>/ as TensorFlow Datasets prepares it, or the four IDX files '
        f'(train-images-idx3-ubyte.gz, ...) there or in {data.name}/. An empty folder would be '
        'filled by a download.'
      )
    prepared = tfds.download(folder, data.name)
  splits = tfds.read(prepared)
  return _in_order_of_content(splits['train']), _in_order_of_content(splits['test'])


def _in_order_of_content(split):
  """Sorts by a hash, so that a run is the same whichever form its set came in.

  TensorFlow Datasets shuffles what it prepares; a hash mixes as well, so any first N of the images
  stay a fair sample.
  """
  images, labels = split
  digests = [
    hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()
    for image, label in zip(images, labels, strict=True)
  ]
  order = sorted(range(len(digests)), key=digests.__getitem__)
  return images[order], labels[order]


def _find_idx(folder: Path, name: str):
  # The file names of MNIST and its successors are the same: only the folder tells them apart.
  if folder.resolve().name in set(CLASS_NAMES) - {name}:
    raise InputError(
      f'data.dir={str(folder)!r} is named after another set than data.name={name!r}. '
      f'Set --config.data.name={folder.resolve().name}, or name the folder of {name!r}.'
    )
  incomplete = None
  for place in (folder, folder / name):
    try:
      if files := idx.find(place):
        return files
    except InputError as error:
      incomplete = incomplete or error
  if incomplete:
    raise incomplete
  return None


def _check_fits(data, images, labels):
  if images.shape[-1] != data.channels:
    raise InputError(
      f'data.channels={data.channels}, but the images of {data.name!r} have {images.shape[-1]}. '
      f'Set --config.data.channels={images.shape[-1]}.'
    )
  if labels.min() < 0 or labels.max() >= data.num_classes:
    raise InputError(
      f'{data.name!r} has a label {labels[(labels < 0) | (labels >= data.num_classes)][0]}, '
      f'expected 0 to {data.num_classes - 1} (data.num_classes={data.num_classes}).'
    )


def _split_off(labels, count, seed, stratify):
  """Row numbers (of `count` examples, of the rest), shuffled by `seed`, both int arrays."""
  # A stratified split needs one image of each class on both sides.
  least = len(np.unique(labels)) if stratify else 1
  if not least <= count <= len(labels) - least:
    raise InputError(
      f'data.validation_examples={count} cannot be split off {len(labels):,} training images: '
      f'expected {least} to {len(labels) - least}.'
    )
  rows = np.arange(len(labels))
  if stratify:
    from sklearn import model_selection

    rest, chosen = model_selection.train_test_split(
      rows, test_size=count, random_state=seed, stratify=labels
    )
    return chosen, rest
  # RandomState, whose stream NumPy promises never to change: a split outlives every upgrade.
  order = np.random.RandomState(seed).permutation(len(labels))
  return order[:count], order[count:]


def _resize(images, size):
  """[N, H, W, C] uint8 to [N, size, size, C], bicubic; unchanged where the size is right."""
  if images.shape[1:3] == (size, size):
    return images
  resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
  for image, target in zip(images, resized, strict=True):
    for channel in range(images.shape[-1]):
      picture = Image.fromarray(image[..., channel])
      target[..., channel] = picture.resize((size, size), Image.Resampling.BICUBIC)
  return resized
