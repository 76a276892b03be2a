"""CelebA's aligned JPEGs and their attributes, as its authors or Kaggle pack them."""

import bisect
import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers import celeba_lists, cells, decoding, tfds
from cvae_jax.data.readers.sources import DATASETS, Source, Split, in_random_order
from cvae_jax.runtime.errors import InputError, did_you_mean

SPLITS = ('train', 'validation', 'test')  # numbered 0, 1 and 2 by the partition file
LAST_NUMBERS = (162_770, 182_637, 202_599)  # of each published split
DOWNLOAD_URL = 'https://drive.google.com'
RAW_FILES = 'img_align_celeba/ and list_attr_celeba.txt'


class CelebaFiles(NamedTuple):
  """Where the pictures and lists of CelebA are."""

  pictures: Path  # the folder that holds 000001.jpg, ...
  attributes: Path
  partition: Path | None


@DATASETS.register('celeba', mirrored=True)
def source(data) -> Source:
  """CelebA: 202,599 faces, RGB 178×218, in two classes by `data.label_attribute`.

  Attributes that `data.conditions` asks for are columns of flags instead.
  """
  attribute, kinds, others = data.label_attribute, {}, []

  def choose(attributes, prefix=''):
    kinds.update(cells.wanted(data.conditions, attributes) if data.conditions else {})
    others[:] = [name for name in attributes if name not in kinds]
    return [*kinds] or _checked(attribute, attributes, prefix)

  def label(columns):
    chosen = choose(sorted(columns['attributes']))
    return np.stack([columns['attributes'][name] for name in chosen], axis=1)

  def fit(images):
    # Crops and shrinks only: `load` crops again, and would cut into an enlarged picture.
    geometry = decoding.Geometry.of(data)
    sides, most = images.shape[1:3], data.crop_size or max(images.shape)
    height, width = (min(*pair, most) for pair in zip(geometry[:2], sides, strict=True))
    width, height = geometry.largest(width, height)
    return decoding.fit(images, geometry._replace(height=height, width=width))

  def read_raw(found):
    return in_random_order(list_pictures(found, partial(choose, prefix=f'{found.attributes}: ')))

  options = {'splits': SPLITS, 'label': label, 'fit': fit}
  splits = tfds.load(data, find, read_raw, RAW_FILES, DOWNLOAD_URL, **options)
  if not kinds:
    names = (f'not {attribute}', attribute)
    return Source(_of_one_attribute(splits), names, is_mixed=True, others=tuple(others))
  given = {
    name: {split: found.labels[:, number] == 1 for split, found in splits.items()}
    for number, name in enumerate(kinds)
  }
  columns, values = cells.read(given, kinds, lambda split, row: f'Picture {row:,} of {split}')
  splits = {
    name: Split(split.images, np.zeros(len(split.labels), np.int32), values[name])
    for name, split in splits.items()
  }
  return Source(splits, (), is_mixed=True, columns=columns, others=tuple(others))


def find(folder: Path) -> CelebaFiles | None:
  """The pictures and their lists in `folder` or `folder/celeba`, or None.

  Raises:
    InputError: only the pictures are there, or only the attributes.
  """
  incomplete = None
  for home in (folder, folder / 'celeba'):
    places = (
      home / 'img_align_celeba' / 'img_align_celeba',  # as Kaggle packs it
      home / 'img_align_celeba',
      home / 'Img' / 'img_align_celeba',
    )
    pictures = next(filter(Path.is_dir, places), None)
    attributes = _find_list(home, 'list_attr_celeba')
    if pictures and attributes:
      return CelebaFiles(pictures, attributes, _find_list(home, 'list_eval_partition'))
    if not incomplete and (given := pictures or attributes):
      missing = 'list_attr_celeba.txt (or .csv)' if pictures else 'folder img_align_celeba/'
      incomplete = InputError(
        f'{home} holds {given.relative_to(home)}, but no {missing}. '
        'CelebA needs both: put them in the same folder.'
      )
  if incomplete:
    raise incomplete
  return None


def _find_list(home, name):
  paths = (
    home / place / f'{name}{end}' for place in ('', 'Anno', 'Eval') for end in ('.txt', '.csv')
  )
  return next(filter(Path.is_file, paths), None)


def read(found: CelebaFiles, attribute: str) -> dict[str, Split]:
  """`list_pictures` with one attribute as label, int32 [N]: 1 where a picture has it."""

  def choose(attributes):
    return _checked(attribute, attributes, f'{found.attributes}: ')

  return _of_one_attribute(list_pictures(found, choose))


def _of_one_attribute(splits: dict[str, Split]) -> dict[str, Split]:
  return {name: split._replace(labels=split.labels[:, 0]) for name, split in splits.items()}


def list_pictures(found: CelebaFiles, choose: Callable[[list[str]], list[str]]) -> dict[str, Split]:
  """Lists the pictures of 'train', 'validation' and 'test', with some attributes as labels.

  Without a partition file the published ranges of the file numbers are the splits.

  Args:
    found: the files.
    choose: given the names of all attributes, those to read.

  Returns:
    Paths in order of the file numbers, and labels int32 [N, attributes]: 1 where a picture has one.

  Raises:
    InputError: a broken list, or pictures and lists that differ.
  """
  try:
    names = os.listdir(found.pictures)
  except OSError as error:
    raise InputError(f'{found.pictures} cannot be read: {error}.') from error
  # Without hidden files: macOS leaves a ._000001.jpg beside each picture.
  pictures = {n for n in names if n.lower().endswith('.jpg') and not n.startswith('.')}
  chosen, labels = celeba_lists.attributes_of(found.attributes, choose)
  numbers = {name: int(name.removesuffix('.jpg')) for name in labels}
  _check_same((pictures, found.pictures), (labels, found.attributes))
  if found.partition:
    partition = celeba_lists.partition_of(found.partition)
    _check_same((labels, found.attributes), (partition, found.partition))
  else:
    partition = {name: bisect.bisect_left(LAST_NUMBERS, numbers[name]) for name in labels}
    if outside := [name for name in labels if not 1 <= numbers[name] <= LAST_NUMBERS[-1]]:
      raise InputError(
        f'{found.attributes} names {outside[0]}, which is in none of the published splits: '
        f'expected 000001.jpg to {LAST_NUMBERS[-1]}.jpg, or a list_eval_partition.txt (or .csv) '
        'beside it.'
      )
  ordered = sorted(labels, key=lambda name: (numbers[name], name))
  splits = {}
  for number, split in enumerate(SPLITS):
    names = [name for name in ordered if partition[name] == number]
    if not names:
      given = found.partition or 'the published ranges, as there is no list_eval_partition file'
      raise InputError(
        f'{found.pictures} holds no picture of split {split!r} (by {given}). Expected some of each.'
      )
    paths = [found.pictures / name for name in names]
    flags = np.frombuffer(b''.join(labels[name] for name in names), np.uint8)
    splits[split] = Split(paths, flags.reshape(len(names), len(chosen)).astype(np.int32))
  return splits


def _checked(attribute, attributes, prefix=''):
  if attribute not in attributes:
    raise InputError(
      f'{prefix}data.label_attribute={attribute!r} is not one of: {", ".join(attributes)[:2000]}.'
      f'{did_you_mean(attribute, attributes)}'
    )
  return [attribute]


def _check_same(*lists: tuple[Collection[str], Path]) -> None:
  """Raises InputError unless two lists, each from its file or folder, name the same pictures."""
  for (names, origin), (other_names, other_origin) in (lists, lists[::-1]):
    if missing := sorted(set(names) - set(other_names)):
      shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
      raise InputError(
        f'{origin} has {len(missing):,} picture(s) that {other_origin} has not: {shown}. '
        'Fetch both again, or remove what only one has.'
      )
