"""CelebA's aligned JPEGs and their attributes, as its authors or Kaggle pack them."""

import bisect
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from cvae_jax.data.readers import decoding, files, tfds
from cvae_jax.data.readers.sources import DATASETS, Source, Split, in_random_order
from cvae_jax.runtime.errors import InputError, did_you_mean

SPLITS = ('train', 'validation', 'test')  # numbered 0, 1 and 2 by the partition file
LAST_NUMBERS = (162_770, 182_637, 202_599)  # of each published split
DOWNLOAD_URL = 'https://drive.google.com'
RAW_FILES = 'img_align_celeba/ and list_attr_celeba.txt'
PICTURE_NAME = re.compile(r'[0-9]{1,9}\.jpg')
MAX_BYTES = 1 << 28  # of a text file; the largest original has 27 million


class CelebaFiles(NamedTuple):
  """Where the pictures and lists of CelebA are."""

  pictures: Path  # the folder that holds 000001.jpg, ...
  attributes: Path
  partition: Path | None


@DATASETS.register('celeba', mirrored=True)
def source(data) -> Source:
  """CelebA: 202,599 faces, RGB 178×218, in two classes by `data.label_attribute`."""
  attribute = data.label_attribute

  def label(columns):
    _check_attribute(attribute, sorted(columns['attributes']))
    return columns['attributes'][attribute]

  def fit(images):
    # Crops and shrinks only: `load` crops again, and would cut into an enlarged picture.
    geometry = decoding.Geometry.of(data)
    sides, most = images.shape[1:3], data.crop_size or max(images.shape)
    height, width = (min(*pair, most) for pair in zip(geometry[:2], sides, strict=True))
    width, height = geometry.largest(width, height)
    return decoding.fit(images, geometry._replace(height=height, width=width))

  def read_raw(found):
    return in_random_order(read(found, attribute))

  options = {'splits': SPLITS, 'label': label, 'fit': fit}
  splits = tfds.load(data, find, read_raw, RAW_FILES, DOWNLOAD_URL, **options)
  return Source(splits, (f'not {attribute}', attribute), is_mixed=True)


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
  """Lists the pictures of 'train', 'validation' and 'test', with one attribute as label.

  Without a partition file the published ranges of the file numbers are the splits.

  Returns:
    Paths in order of the file numbers, and labels int32 [N]: 1 where a picture has the attribute.

  Raises:
    InputError: an unknown attribute, a broken list, or pictures and lists that differ.
  """
  try:
    names = os.listdir(found.pictures)
  except OSError as error:
    raise InputError(f'{found.pictures} cannot be read: {error}.') from error
  # Without hidden files: macOS leaves a ._000001.jpg beside each picture.
  pictures = {n for n in names if n.lower().endswith('.jpg') and not n.startswith('.')}
  labels = _read_attribute(found.attributes, attribute)
  numbers = {name: int(name.removesuffix('.jpg')) for name in labels}
  _check_same((pictures, found.pictures), (labels, found.attributes))
  if found.partition:
    partition = _read_partition(found.partition)
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
    splits[split] = Split(paths, np.array([labels[name] for name in names], np.int32))
  return splits


def _check_attribute(attribute, attributes, prefix=''):
  if attribute not in attributes:
    raise InputError(
      f'{prefix}data.label_attribute={attribute!r} is not one of: {", ".join(attributes)[:2000]}.'
      f'{did_you_mean(attribute, attributes)}'
    )


def _read_attribute(path: Path, attribute: str) -> dict[str, int]:
  """0 or 1 by the name of each picture."""
  rows, num_pictures = _read_rows(path), None
  number, header = next(rows)
  if path.suffix == '.csv':
    first, *attributes = header
    if first != 'image_id':
      _refuse(path, 1, f'begins with {first[:40]!r}, expected image_id and names of attributes')
  else:
    num_pictures = ' '.join(header)
    if not num_pictures.isdigit():
      _refuse(path, 1, f'is {num_pictures[:40]!r}, expected the number of pictures')
    number, attributes = next(rows, (2, ()))
  if not attributes or len(set(attributes)) < len(attributes):
    named = ', '.join(attributes)[:200] or 'none'
    _refuse(path, number, f'names the attributes {named}, expected each of them once')
  _check_attribute(attribute, attributes, f'{path}: ')
  column = attributes.index(attribute)
  values = _values(path, rows, len(attributes), ('-1', '1'))
  labels = {name: int(of_name[column] == '1') for name, of_name in values}
  if num_pictures not in (None, str(len(labels))):
    raise InputError(
      f'{path} has {len(labels):,} pictures, expected {num_pictures[:40]!r} by its line 1. '
      'Fetch it again.'
    )
  return labels


def _read_partition(path: Path) -> dict[str, int]:
  """0, 1 or 2 by the name of each picture."""
  rows = _read_rows(path)
  if path.suffix == '.csv' and (header := ','.join(next(rows)[1])) != 'image_id,partition':
    _refuse(path, 1, f'is {header[:40]!r}, expected image_id,partition')
  return {name: int(split) for name, (split,) in _values(path, rows, 1, ('0', '1', '2'))}


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
  """The number and the cells of each line of a list, without blank lines at the end."""
  try:
    text = files.read_bytes(path, MAX_BYTES).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(f'{path} is not a text file: {str(error)[-200:]}. Fetch it again.') from error
  separator = ',' if path.suffix == '.csv' else None
  lines = text.replace('\r\n', '\n').rstrip().split('\n')
  return ((number, line.split(separator)) for number, line in enumerate(lines, 1))


def _values(path, rows, num_values, allowed):
  """Yields the name and the values of each picture; refuses a line that has others."""
  seen = set()
  for number, cells in rows:
    name, *values = cells or ['']
    if len(values) != num_values:
      _refuse(path, number, f'has {len(values):,} values, expected a file name and {num_values}')
    if others := set(values) - set(allowed):
      expected = f'{", ".join(allowed[:-1])} or {allowed[-1]}'
      _refuse(path, number, f'has the value {min(others)[:40]!r}, expected {expected}')
    if not PICTURE_NAME.fullmatch(name):
      _refuse(path, number, f'begins with {name[:40]!r}, expected a file name like 000001.jpg')
    if name in seen:
      _refuse(path, number, f'names {name} a second time')
    seen.add(name)
    yield name, values


def _refuse(path: Path, line: int, problem: str) -> NoReturn:
  raise InputError(f'{path}, line {line} {problem}. Fetch it again.')


def _check_same(*lists: tuple[Collection[str], Path]) -> None:
  """Raises InputError unless two lists, each from its file or folder, name the same pictures."""
  for (names, origin), (other_names, other_origin) in (lists, lists[::-1]):
    if missing := sorted(set(names) - set(other_names)):
      shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
      raise InputError(
        f'{origin} has {len(missing):,} picture(s) that {other_origin} has not: {shown}. '
        'Fetch both again, or remove what only one has.'
      )
