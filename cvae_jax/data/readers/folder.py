"""A folder of the user's own pictures, with their classes: lists the files, decodes none."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.config import Column
from cvae_jax.data.readers import class_folders, labels_columns, labels_file, split_folders
from cvae_jax.data.readers.class_folders import NO_CLASS
from cvae_jax.data.readers.decoding import FORMAT_NAMES
from cvae_jax.data.readers.entries import counted, entries_of, stray
from cvae_jax.data.readers.sources import DATASETS, Source, Split
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


class Listing(NamedTuple):
  """The pictures of a folder, by split."""

  splits: dict[str, Split]
  class_names: tuple[str, ...]  # () where there are no classes
  passed_over: Counter  # what else is there, by its kind
  labels_files: tuple[Path, ...]  # that name the classes
  columns: tuple[Column, ...] = ()  # of conditions; see `Source`
  others: tuple[str, ...] = ()


@DATASETS.register('folder', own_test_split=False)
def source(data) -> Source:
  """The pictures in `data.dir`."""
  if not data.dir:
    raise InputError(
      "data.name='folder' needs a folder of pictures: name it with --config.data.dir=DIR, which "
      'holds train/<class>/*.png, or <class>/*.png, or labels.csv; without classes, train/*.png, '
      'or *.png.'
    )
  folder = paths.from_user(data.dir)
  listing = read(folder, data.class_level, data.conditions)
  if listing.labels_files:
    what = 'Conditions' if data.conditions else 'Classes'
    print(f'{what} from {", ".join(map(printable, listing.labels_files))}.')
  if listing.passed_over:
    print(f'Passed over in {printable(folder)}: {counted(listing.passed_over)}.')
  splits, names = listing.splits, listing.class_names
  return Source(splits, names, columns=listing.columns, others=listing.others)


def read(folder: Path, class_level: int = 0, conditions: str = '') -> Listing:
  """Lists `folder/train/<class>/*`, with validation/ and test/ where they are.

  A folder without folders of splits, `folder/<class>/*`, becomes the split 'train' alone. Pictures
  without class folders, `folder/train/*` or `folder/*`, have no labels. With a labels.csv or .tsv
  in the folder, or in that of each split, pictures lie in any folders. Hidden files and what the
  system left are passed over; the names of splits and suffixes may be in any case.

  Args:
    folder: the folder.
    class_level: see `class_folders.read`. Unless 0, class folders count, and no file of labels.
    conditions: `data.conditions`. If it is given, a file of labels becomes columns of conditions.

  Returns:
    The paths sorted by class and file name, or with `conditions` by file name. Classes that are all
    numbers sort as numbers.

  Raises:
    InputError: the folder is missing or laid out in another way; the message says how.
  """
  shown = printable(folder)
  if not os.path.isdir(folder):
    state = 'is a file' if os.path.exists(folder) else 'cannot be found'
    raise InputError(
      f'{shown} {state}, expected a folder of pictures. Put the pictures ({FORMAT_NAMES}) in '
      f'{shown}/train/<class>, with validation/<class> and test/<class> beside it if you have '
      f'them, or in {shown}/<class>.'
    )
  entries = entries_of(folder)
  found = split_folders.find(folder, entries)
  folders = found or {'train': folder}
  tables = {} if class_level else _tables(folder, folders)
  passed_over, contents = Counter(), {}
  if found:
    strays = entries.passed_over() + stray(entries.pictures)
    passed_over += strays - Counter(path.suffix.lower() for path in tables if path.parent == folder)
  if tables and conditions:
    splits, columns, names, others = labels_columns.read(tables, conditions)
    return Listing(splits, (), passed_over + others, tuple(tables), columns, names)
  for path, labelled in tables.items():
    classes, others = labels_file.read(path, labelled)
    contents |= classes
    passed_over += others
  for split in folders.keys() - contents.keys():
    contents[split], others = class_folders.read(folders[split], class_level)
    passed_over += others
  contents = {split: contents[split] for split in folders}
  _check_same_classes(folders, contents)
  names, splits = tuple(contents['train']), {}
  for split, classes in contents.items():
    rows = [(label, path) for label, name in enumerate(names) for path in classes.get(name, ())]
    labels = np.array([label for label, _ in rows], np.int32)
    splits[split] = Split([path for _, path in rows], labels)
  return Listing(splits, () if names == (NO_CLASS,) else names, passed_over, tuple(tables))


def _tables(folder: Path, folders: dict[str, Path]) -> dict[Path, dict[str, Path]]:
  """The files of labels, each with the folders of the splits whose pictures it names."""
  if path := labels_file.find(folder):
    return {path: folders}
  found = {split: labels_file.find(place) for split, place in folders.items()}
  if any(found.values()) and not all(found.values()):
    without = next(split for split, path in found.items() if not path)
    raise InputError(
      f'{printable(folders[without])} has no labels.csv or labels.tsv, but another split has. '
      f'Expected one for each, or one for all in {printable(folder)}.'
    )
  return {path: {split: folders[split]} for split, path in found.items() if path}


def _check_same_classes(folders, contents):
  """Raises InputError unless all classes of the other splits are classes of the training split."""
  trained = contents['train']
  for split, classes in contents.items():
    place, origin = printable(folders[split]), printable(folders['train'])
    if (NO_CLASS in classes) != (NO_CLASS in trained):
      with_classes, without = (origin, place) if NO_CLASS in classes else (place, origin)
      raise InputError(
        f'{with_classes} holds class folders, {without} pictures without one. Expected the same of '
        'every split: move the pictures into class folders, or out of them.'
      )
    if unknown := [name for name in classes if name not in trained]:
      known = list(trained)
      raise InputError(
        f'{place}/{unknown[0]} is a class that {origin} does not have: '
        f'{", ".join(known[:10])}{", ..." if len(known) > 10 else ""}. Rename it, leave it '
        'out, or add pictures of it to the training split.'
      )
