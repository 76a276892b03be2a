"""A folder of the user's own pictures, one folder per class: lists the files, decodes none."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers import files
from cvae_jax.data.readers.decoding import FORMAT_NAMES, SUFFIXES
from cvae_jax.data.readers.sources import DATASETS, Source, Split
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SPLITS = {  # in order, by the names that their folders may have
  **dict.fromkeys(('train', 'training'), 'train'),
  **dict.fromkeys(('validation', 'val', 'valid'), 'validation'),
  **dict.fromkeys(('test', 'testing'), 'test'),
}
NO_CLASS = ''  # stands for the class of pictures that lie in no class folder
SHOWN_KINDS = 8


class Entries(NamedTuple):
  """The names in a folder."""

  folders: list[str]
  pictures: list[str]
  others: list[str]  # files that are no pictures by name
  left: list[str]  # files and folders that the system left there

  @classmethod
  def of(cls, folders: Sequence[str], names: Sequence[str]) -> 'Entries':
    """Sorts the names of the folders and of the files in a folder into these kinds."""
    left = list(filter(files.is_left_by_system, [*folders, *names]))
    names = sorted(set(names) - set(left), key=os.fsencode)  # the same order in every locale
    pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
    others = [name for name in names if not name.lower().endswith(SUFFIXES)]
    return cls(sorted(set(folders) - set(left), key=os.fsencode), pictures, others, left)

  def passed_over(self) -> Counter:
    """How many files of each suffix are no pictures, and how often the system left what."""
    kinds = [Path(name).suffix.lower() or 'without suffix' for name in self.others]
    kinds += ['._*' if name.startswith('._') else name for name in self.left]
    return Counter(map(printable, kinds))


class Listing(NamedTuple):
  """The pictures of a folder, by split."""

  splits: dict[str, Split]
  class_names: tuple[str, ...]  # () where there are no class folders
  passed_over: Counter  # what else is there, by its kind


@DATASETS.register('folder', own_test_split=False)
def source(data) -> Source:
  """The pictures in `data.dir`."""
  if not data.dir:
    raise InputError(
      "data.name='folder' needs a folder of pictures: name it with --config.data.dir=DIR, which "
      'holds train/<class>/*.png, or <class>/*.png; without classes, train/*.png, or *.png.'
    )
  folder = paths.from_user(data.dir)
  listing = read(folder)
  if listing.passed_over:
    print(f'Passed over in {printable(folder)}: {counted(listing.passed_over)}.')
  return Source(listing.splits, listing.class_names)


def read(folder: Path) -> Listing:
  """Lists `folder/train/<class>/*`, with validation/ and test/ where they are.

  A folder without folders of splits, `folder/<class>/*`, becomes the split 'train' alone. Pictures
  without class folders, `folder/train/*` or `folder/*`, have no labels. Hidden files and what the
  system left are passed over; the names of splits and suffixes may be in any case.

  Returns:
    The paths sorted by class and file name. Classes that are all numbers sort as numbers.

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
  entries = _entries(folder)
  if impostors := [name for name in entries.others if name.lower() in SPLITS]:
    raise InputError(
      f'{shown}/{impostors[0]} has the name of a split, but is no folder. Remove it, or repair it '
      'if it is a link.'
    )
  passed_over = Counter()
  if split_folders := _split_folders(folder, entries.folders):
    passed_over += entries.passed_over() + _stray(entries.pictures)
  else:
    split_folders = {'train': folder}
  contents = {}
  for split, split_folder in split_folders.items():
    contents[split], others = _classes(split_folder)
    passed_over += others
  _check_same_classes(split_folders, contents)
  names, splits = tuple(contents['train']), {}
  for split, classes in contents.items():
    rows = [(label, path) for label, name in enumerate(names) for path in classes.get(name, ())]
    labels = np.array([label for label, _ in rows], np.int32)
    splits[split] = Split([path for _, path in rows], labels)
  return Listing(splits, () if names == (NO_CLASS,) else names, passed_over)


def class_name(folder_name: str) -> str:
  """The name of a class, from that of its folder: printable, and in Unicode's composed form (NFC).

  macOS may write an accent as a character of its own where others write one letter.
  """
  return unicodedata.normalize('NFC', printable(folder_name))


def counted(passed_over: Counter) -> str:
  """The most frequent kinds of what was passed over, for a line of output."""
  shown = [f'{count:,} {kind}' for kind, count in passed_over.most_common(SHOWN_KINDS)]
  return ', '.join(shown) + (', ...' if len(passed_over) > SHOWN_KINDS else '')


def _stray(names):
  """Pictures outside of class folders where there are some."""
  return Counter({'stray picture(s)': len(names)} if names else {})


def _entries(folder):
  def refuse(error):
    raise InputError(
      f'{printable(folder)} cannot be listed: {error.strerror}. Make it readable, or name another '
      'folder.'
    ) from error

  _, folders, names = next(os.walk(folder, onerror=refuse))
  return Entries.of(folders, names)


def _split_folders(folder, names):
  """The folder of each split, training first, or {} where `names` are classes."""
  shown, found, others = printable(folder), {}, []
  for name in names:
    split = SPLITS.get(name.lower())
    if split in found:
      raise InputError(
        f'{shown} holds both {found[split]}/ and {name}/. Expected one folder for the {split} '
        'split: put all of its pictures into one of them, and remove the other.'
      )
    if split:
      found[split] = name
    else:
      others.append(printable(name))
  if found and others:
    raise InputError(
      f'{shown} holds folders of splits ({", ".join(found.values())}) and others '
      f'({", ".join(others[:5])}{", ..." if len(others) > 5 else ""}). Expected either splits '
      f'or classes: move {shown}/{others[0]} away, or into a split. Rename a class that has the '
      'name of a split.'
    )
  if found and 'train' not in found:
    raise InputError(
      f'{shown} holds {" and ".join(f"{name}/" for name in found.values())}, but no train/. '
      f'Put the training pictures in {shown}/train/<class>.'
    )
  return {split: folder / found[split] for split in SPLITS if split in found}


def _classes(folder):
  """The pictures of each class in a split, sorted, and what else is there."""
  entries, shown = _entries(folder), printable(folder)
  passed_over = entries.passed_over()
  if not entries.folders:
    if entries.pictures:
      return {NO_CLASS: [Path(f'{folder}/{name}') for name in entries.pictures]}, passed_over
    others = f', only {counted(passed_over)}' if passed_over else ''
    raise InputError(
      f'{shown} holds no class folder and no picture{others}. Put the pictures ({FORMAT_NAMES}) in '
      f'one folder per class, {shown}/<class>; without classes, in {shown}.'
    )
  passed_over += _stray(entries.pictures)
  classes = {}
  for name in entries.folders:
    inner = _entries(folder / name)
    if not inner.pictures:
      raise _no_picture(f'{shown}/{printable(name)}', inner)
    found = [Path(f'{folder}/{name}/{file}') for file in inner.pictures]
    classes.setdefault(class_name(name), []).extend(found)
    passed_over += inner.passed_over()
    if inner.folders:
      passed_over['folder(s) in classes'] += len(inner.folders)
  are_numbers = all(name.isdecimal() for name in classes)
  ordered = sorted(classes, key=lambda name: (int(name) if are_numbers else 0, name))
  return {name: classes[name] for name in ordered}, passed_over


def _no_picture(shown, entries):
  advice = 'Put pictures in these formats there, or remove the folder.'
  if entries.folders:
    inner = ', '.join(map(printable, entries.folders[:3]))
    advice += (
      f' It holds folders ({inner}, ...): if those are the classes or splits, name {shown} itself.'
    )
  others = entries.passed_over()
  return InputError(
    f'{shown} is a class without a picture ({FORMAT_NAMES})'
    f'{f"; it holds {counted(others)}" if others else ""}. {advice}'
  )


def _check_same_classes(split_folders, contents):
  """Raises InputError unless all classes of the other splits are classes of the training split."""
  trained = contents['train']
  for split, classes in contents.items():
    place, origin = printable(split_folders[split]), printable(split_folders['train'])
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
        f'{", ".join(known[:10])}{", ..." if len(known) > 10 else ""}. Rename the folder, remove '
        'it, or add pictures of it to the training split.'
      )
