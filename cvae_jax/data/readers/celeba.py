"""CelebA's aligned JPEGs and their attributes, as its authors or Kaggle pack them; only listed."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers.files import read_bytes
from cvae_jax.runtime.errors import InputError, did_you_mean

SPLITS = ('train', 'validation', 'test')  # in the order of the partition's 0, 1 and 2
LAST_NUMBERS = (162_770, 182_637, 202_599)  # of each split, as published

PICTURE_NAME = re.compile(r'[0-9]{1,9}\.jpg')
MAX_BYTES = 1 << 28  # of a text file; the largest original has 27 million


class CelebaFiles(NamedTuple):
  """Where the parts of CelebA are."""

  pictures: Path  # the folder that holds 000001.jpg, ...
  attributes: Path
  partition: Path | None


def find(folder: Path) -> CelebaFiles | None:
  """The pictures and their lists in `folder` or `folder/celeba`, or None where there is neither.

  Raises:
    InputError: only the pictures are there, or only the attributes.
  """
  incomplete = None
  for place in (folder, folder / 'celeba'):
    pictures = _first(
      Path.is_dir,
      place / 'img_align_celeba' / 'img_align_celeba',  # as Kaggle packs it
      place / 'img_align_celeba',
      place / 'Img' / 'img_align_celeba',
    )
    attributes = _find_list(place, 'list_attr_celeba')
    if pictures and attributes:
      return CelebaFiles(pictures, attributes, _find_list(place, 'list_eval_partition'))
    if (pictures or attributes) and not incomplete:
      missing = 'list_attr_celeba.txt (or .csv)' if pictures else 'folder img_align_celeba/'
      incomplete = InputError(
        f'{place} holds {(pictures or attributes).relative_to(place)}, but no {missing}. '
        'CelebA needs both: put them in the same folder.'
      )
  if incomplete:
    raise incomplete
  return None


def read(files: CelebaFiles, attribute: str) -> dict[str, tuple[list[Path], np.ndarray]]:
  """The pictures of 'train', 'validation' and 'test', with one attribute as label.

  Without a partition file the published ranges of the file numbers are the splits.

  Returns:
    For each split the paths, by file number, and labels [N] int32: 1 where a picture has the
    attribute, 0 where it has not.

  Raises:
    InputError: an unknown attribute, a broken list, or pictures and lists that do not agree.
  """
  labels = _read_attribute(files.attributes, attribute)
  _check_same(_list_pictures(files.pictures), labels, files.pictures, files.attributes)
  if files.partition:
    partition = _read_partition(files.partition)
    _check_same(labels, partition, files.attributes, files.partition)
  else:
    partition = {name: _published_split(files, name) for name in labels}
  names = {split: [] for split in SPLITS}
  for name in sorted(labels, key=lambda name: (int(name.removesuffix('.jpg')), name)):
    names[SPLITS[partition[name]]].append(name)
  for split in SPLITS:
    if not names[split]:
      given = files.partition or 'the published ranges, for there is no list_eval_partition file'
      raise InputError(
        f'{files.pictures} holds no picture of split {split!r} (by {given}). Expected some of each.'
      )
  return {
    split: (
      [files.pictures / name for name in names[split]],
      np.array([labels[name] for name in names[split]], np.int32),
    )
    for split in SPLITS
  }


def check_attribute(attribute: str, attributes: Sequence[str]) -> None:
  """Raises InputError where `attribute` is not one of `attributes`."""
  if attribute not in attributes:
    raise InputError(
      f'data.label_attribute={attribute!r} is not one of: {", ".join(attributes)[:2000]}.'
      f'{did_you_mean(attribute, attributes)}'
    )


def _first(is_there, *paths):
  return next((path for path in paths if is_there(path)), None)


def _find_list(place, name):
  folders = (place, place / 'Anno', place / 'Eval')
  return _first(
    Path.is_file, *(path / f'{name}{end}' for path in folders for end in ('.txt', '.csv'))
  )


def _list_pictures(folder: Path) -> set[str]:
  try:
    names = os.listdir(folder)
  except OSError as error:
    raise InputError(f'{folder} cannot be read: {error}.') from error
  # Systems and tools leave files of their own; those that begin with a dot end with .jpg too.
  return {name for name in names if name.lower().endswith('.jpg') and not name.startswith('.')}


def _read_attribute(path: Path, attribute: str) -> dict[str, int]:
  """0 or 1 for each picture's name."""
  lines, separator = _read_lines(path)
  if separator == ',':
    num_promised, line_number = None, 1
    first, *attributes = next(lines).split(separator)
    if first != 'image_id':
      raise InputError(
        f'{path}, line 1 begins with {first[:40]!r}, expected image_id and the names of the '
        'attributes. Fetch it again.'
      )
  else:
    num_promised, line_number = next(lines).strip(), 2
    if not num_promised.isdigit():
      raise InputError(
        f'{path}, line 1 is {num_promised[:40]!r}, expected the number of pictures. Fetch it again.'
      )
    attributes = next(lines, '').split()
  if not attributes or len(set(attributes)) < len(attributes):
    raise InputError(
      f'{path}, line {line_number} should name the attributes, each once, but has '
      f'{", ".join(attributes)[:200] or "none"}. Fetch it again.'
    )
  try:
    check_attribute(attribute, attributes)
  except InputError as error:
    raise InputError(f'{path}: {error}') from error
  column = attributes.index(attribute)
  labels = {}
  for number, line in enumerate(lines, line_number + 1):
    name, *values = line.split(separator) or ['']
    if len(values) != len(attributes):
      raise InputError(
        f'{path}, line {number} has {len(values):,} values, expected a file name and '
        f'{len(attributes)}. Fetch it again.'
      )
    if others := set(values) - {'-1', '1'}:
      raise InputError(
        f'{path}, line {number} has the value {min(others)[:40]!r}, expected -1 or 1. '
        'Fetch it again.'
      )
    _check_name(path, number, name, labels)
    labels[name] = int(values[column] == '1')
  if num_promised is not None and num_promised != str(len(labels)):
    raise InputError(
      f'{path} has {len(labels):,} pictures, but its line 1 promises {num_promised[:40]!r}. '
      'Fetch it again.'
    )
  return labels


def _read_partition(path: Path) -> dict[str, int]:
  """0, 1 or 2 for each picture's name."""
  lines, separator = _read_lines(path)
  first_number = 1
  if separator == ',':
    first_number = 2
    header = next(lines)
    if header != 'image_id,partition':
      raise InputError(
        f'{path}, line 1 is {header[:40]!r}, expected image_id,partition. Fetch it again.'
      )
  partition = {}
  for number, line in enumerate(lines, first_number):
    fields = line.split(separator)
    if len(fields) != 2 or fields[1] not in ('0', '1', '2'):
      raise InputError(
        f'{path}, line {number} is {line[:40]!r}, expected a file name and 0, 1 or 2. '
        'Fetch it again.'
      )
    _check_name(path, number, fields[0], partition)
    partition[fields[0]] = int(fields[1])
  return partition


def _published_split(files, name):
  number = int(name.removesuffix('.jpg'))
  if not 1 <= number <= LAST_NUMBERS[-1]:
    raise InputError(
      f'{files.attributes} names {name}, which is in none of the published splits: expected '
      f'000001.jpg to {LAST_NUMBERS[-1]}.jpg, or a list_eval_partition.txt (or .csv) beside it.'
    )
  return sum(number > last for last in LAST_NUMBERS)


def _read_lines(path: Path) -> tuple[Iterator[str], str | None]:
  """The lines of a list, at least one, without the blank ones at its end; what str.split takes."""
  try:
    text = read_bytes(path, MAX_BYTES).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(f'{path} is no text: {str(error)[-200:]}. Fetch it again.') from error
  lines = text.replace('\r\n', '\n').rstrip().split('\n')
  return iter(lines), ',' if path.suffix == '.csv' else None


def _check_name(path, number, name, names_before):
  if not PICTURE_NAME.fullmatch(name):
    raise InputError(
      f'{path}, line {number} begins with {name[:40]!r}, expected a file name like 000001.jpg. '
      'Fetch it again.'
    )
  if name in names_before:
    raise InputError(f'{path}, line {number} names {name} a second time. Fetch it again.')


def _check_same(names, other_names, place, other_place):
  """That two sets of file names agree, each named after the place it comes from."""
  for here, there, where, elsewhere in (
    (names, other_names, place, other_place),
    (other_names, names, other_place, place),
  ):
    if missing := sorted(set(here) - set(there)):
      shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
      raise InputError(
        f'{where} has {len(missing):,} picture(s) that {elsewhere} has not: {shown}. '
        'Fetch both again, or remove what only one has.'
      )
