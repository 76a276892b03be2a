"""A name becomes a set: which there are, where they are looked for, what each comes as."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers import binarized_mnist, celeba, cifar, folder, idx, pictures, tfds
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

DIGITS = tuple('0123456789')
# Of the sets whose classes are known beforehand.
CLASS_NAMES = {
  'digits': DIGITS,
  'mnist': DIGITS,
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
  'cifar10': (
    'airplane',
    'automobile',
    'bird',
    'cat',
    'deer',
    'dog',
    'frog',
    'horse',
    'ship',
    'truck',
  ),
  'binarized_mnist': (),
}
NUM_TEST_DIGITS = 300

# The files, other than those of TensorFlow Datasets, that a set is read from.
RAW_FORMS = {
  'mnist': 'the four IDX files (train-images-idx3-ubyte.gz, ...)',
  'fashion_mnist': 'the four IDX files (train-images-idx3-ubyte.gz, ...)',
  'cifar10': 'the python or binary batches (cifar-10-batches-py/ or cifar-10-batches-bin/)',
  'celeba': 'img_align_celeba/ and list_attr_celeba.txt',
  'binarized_mnist': (
    'binarized_mnist_train.amat, ..._valid.amat and ..._test.amat, or binarized_mnist.npz'
  ),
}


class Part(NamedTuple):
  """One split as its source has it."""

  images: np.ndarray | list[Path]  # uint8 [N, H, W, C], or picture files yet to be decoded
  labels: np.ndarray  # int32 [N]


class Source(NamedTuple):
  """A data set as it was found."""

  parts: dict[str, Part]  # 'train', and 'validation' and 'test' where the set has them
  class_names: tuple[str, ...]
  stratify: bool = False  # so small that a random split would miss some classes' share


def read(data) -> Source:
  """The set that a config's `data` names.

  Raises:
    InputError: its files are missing or broken.
  """
  if data.name == 'digits':
    return _digits()
  if data.name == 'folder':
    return _folder(data)
  parts = _files(data)
  if data.name == 'celeba':
    attribute = data.label_attribute
    return Source(parts, (f'not {attribute}', attribute))
  return Source(parts, CLASS_NAMES[data.name])


def _digits() -> Source:
  """scikit-learn's 1,797 digits: 8×8, 16 grey levels; 300 of them, stratified, are the test set."""
  from sklearn import datasets, model_selection

  digits = datasets.load_digits()
  images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = digits.target.astype(np.int32)
  # The set has no test split of its own; this one is the same for every split_seed.
  train, test = model_selection.train_test_split(
    np.arange(len(labels)), test_size=NUM_TEST_DIGITS, random_state=0, stratify=labels
  )
  parts = {name: Part(images[r], labels[r]) for name, r in (('train', train), ('test', test))}
  return Source(parts, CLASS_NAMES['digits'], stratify=True)


def _folder(data) -> Source:
  """The user's own pictures, a folder for each class."""
  if not data.dir:
    raise InputError(
      "data.name='folder' needs a folder of pictures: name it with --config.data.dir=DIR, which "
      'holds train/<class>/*.png, or <class>/*.png.'
    )
  listing = folder.read(paths.from_user(data.dir))
  if listing.num_others:
    print(f'Left out of {data.dir}: {listing.num_others:,} file(s) that are no pictures by name.')
  return Source(_mixed(listing.splits), listing.class_names)


def _mixed(splits) -> dict[str, Part]:
  """Listed pictures in a fixed random order, for the first N of any split to be a fair sample."""
  parts = {}
  for name, (files, labels) in splits.items():
    order = np.random.RandomState(0).permutation(len(files))
    parts[name] = Part([files[row] for row in order], labels[order])
  return parts


def _files(data) -> dict[str, Part]:
  """TensorFlow Datasets' folder, else the raw files, else a download."""
  named = data.dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  place = paths.from_user(named)
  if place.exists() and not place.is_dir():
    raise InputError(f'data.dir={str(place)!r} is a file, expected a folder.')
  prepared = _prepared(place, data.name)
  if not (prepared and tfds.readable()) and (raw := _raw(place, data)):
    return raw
  form = RAW_FORMS[data.name]
  if not prepared:
    if data.name not in tfds.DOWNLOAD_URLS:
      raise InputError(
        f'{str(place)!r} holds no {data.name!r}, which is not downloaded: put {form} there or in '
        f'{data.name}/ in it, or name the folder with --config.data.dir.'
      )
    _check_free_for_download(place, data.name)
    prepared = tfds.download(place, data.name, form)
  return _read_prepared(prepared, data)


def _prepared(place: Path, name: str) -> Path | None:
  if name not in tfds.DOWNLOAD_URLS:
    return None
  # The second is one level too deep, but clear.
  return tfds.find(place, name) or (tfds.find(place.parent, name) if place.name == name else None)


def _check_free_for_download(place: Path, name: str) -> None:
  if not place.is_dir() or tfds.is_home(place):
    return
  names = sorted(path.name for path in place.iterdir())
  shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
  raise InputError(
    f'data.dir={str(place)!r} holds other files ({shown}), but no {name!r}: expected '
    f'{name}/<version>/ as TensorFlow Datasets prepares it, or {RAW_FORMS[name]} there or in '
    f'{name}/. An empty folder would be filled by a download.'
  )


def _read_prepared(prepared: Path, data) -> dict[str, Part]:
  form = RAW_FORMS[data.name]
  if data.name == 'celeba':
    splits = tfds.read(
      prepared,
      form,
      ('train', 'validation', 'test'),
      label=lambda columns: _attribute(columns['attributes'], data.label_attribute),
      fit=lambda images: pictures.fit(images, data.image_size, data.crop_size),
    )
    return {name: Part(*split) for name, split in splits.items()}
  return _in_order_of_content(tfds.read(prepared, form, ('train', 'test')))


def _attribute(columns, name: str):
  celeba.check_attribute(name, sorted(columns))
  return columns[name]


def _raw(place: Path, data) -> dict[str, Part] | None:
  """The set from its raw files in `place`, or None where there are none."""
  if data.name in ('mnist', 'fashion_mnist'):
    if files := _find_idx(place, data.name):
      return _in_order_of_content({name: idx.read_split(*paths) for name, paths in files.items()})
    return None
  if data.name == 'cifar10':
    if files := _find_complete(cifar.find, place, place / data.name):
      return _in_order_of_content({name: cifar.read_split(paths) for name, paths in files.items()})
    return None
  if data.name == 'celeba':
    files = celeba.find(place)
    return _mixed(celeba.read(files, data.label_attribute)) if files else None
  if files := binarized_mnist.find(place):
    images = binarized_mnist.read(files)
    _check_stays_binary(data)
    return {name: Part(x, np.zeros(len(x), np.int32)) for name, x in images.items()}
  return None


def _check_stays_binary(data) -> None:
  if data.image_size != 28 or data.crop_size not in (0, 28):
    raise InputError(
      f'data.image_size={data.image_size} and data.crop_size={data.crop_size} would resize '
      "'binarized_mnist', which is 28×28 and would not stay binary. Leave them at 28 and 0."
    )


def _in_order_of_content(splits) -> dict[str, Part]:
  """Sorts by a hash, so that a run is the same whichever form its set came in.

  Not for CelebA, whose JPEGs TensorFlow and Pillow decode to slightly different pixels.
  TensorFlow Datasets shuffles what it prepares; a hash mixes as well, so any first N of the images
  stay a fair sample.
  """
  parts = {}
  for name, (images, labels) in splits.items():
    digests = [
      hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()
      for image, label in zip(images, labels, strict=True)
    ]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    parts[name] = Part(images[order], labels[order])
  return parts


def _find_idx(place: Path, name: str):
  # The file names of MNIST and its successors are the same: only the folder tells them apart.
  if place.resolve().name in set(CLASS_NAMES) - {name}:
    raise InputError(
      f'data.dir={str(place)!r} is named after another set than data.name={name!r}. '
      f'Set --config.data.name={place.resolve().name}, or name the folder of {name!r}.'
    )
  return _find_complete(idx.find, place, place / name)


def _find_complete(find, *places: Path):
  """What `find` has to say of the first place that holds a whole set, or None.

  Raises:
    InputError: none does, and one holds a part of it.
  """
  incomplete = None
  for place in places:
    try:
      if files := find(place):
        return files
    except InputError as error:
      incomplete = incomplete or error
  if incomplete:
    raise incomplete
  return None
