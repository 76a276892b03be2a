"""A folder of the user's own pictures, one folder per class: lists the files, decodes none."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers.sources import DATASETS, Source, Split
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
SPLITS = {  # in order, by the names that their folders may have
  **dict.fromkeys(('train', 'training'), 'train'),
  **dict.fromkeys(('validation', 'val', 'valid'), 'validation'),
  **dict.fromkeys(('test', 'testing'), 'test'),
}


class Listing(NamedTuple):
  """The pictures of a folder, by split."""

  splits: dict[str, Split]
  class_names: tuple[str, ...]
  num_others: int  # files that are no pictures by name, or lie outside the class folders


@DATASETS.register('folder', own_test_split=False)
def source(data) -> Source:
  """The pictures in `data.dir`."""
  if not data.dir:
    raise InputError(
      "data.name='folder' needs a folder of pictures: name it with --config.data.dir=DIR, which "
      'holds train/<class>/*.png, or <class>/*.png.'
    )
  listing = read(paths.from_user(data.dir))
  if listing.num_others:
    print(f'Ignored in {data.dir}: {listing.num_others:,} file(s) that are no pictures by name.')
  return Source(listing.splits, listing.class_names)


def read(folder: Path) -> Listing:
  """Lists `folder/train/<class>/*`, with validation/ and test/ where they are.

  A folder without folders of splits, `folder/<class>/*`, becomes the split 'train' alone. Hidden
  files are ignored; the names of splits and suffixes may be in any case.

  Returns:
    The paths sorted by class and file name. Classes that are all numbers sort as numbers.

  Raises:
    InputError: the folder is missing or laid out in another way; the message says how.
  """
  if not os.path.isdir(folder):
    state = 'is a file' if os.path.exists(folder) else 'cannot be found'
    raise InputError(
      f'{folder} {state}, expected a folder of pictures. Put the pictures ({", ".join(SUFFIXES)}) '
      f'in {folder / "train" / "<class>"}, with validation/<class> and test/<class> beside it if '
      f'you have them, or in {folder / "<class>"}.'
    )
  folders, others = _entries(folder)
  if impostors := sorted(name for name in others if name.lower() in SPLITS):
    raise InputError(
      f'{folder / impostors[0]} has the name of a split, but is no folder. Remove it, or repair it '
      'if it is a link.'
    )
  num_others = len(others)
  if not (split_folders := _split_folders(folder, folders)):
    split_folders, num_others = {'train': folder}, 0
  class_names, splits = (), {}
  for split, split_folder in split_folders.items():
    pictures, num_ignored = _pictures(split_folder)
    num_others += num_ignored
    if split == 'train':
      class_names = tuple(pictures)
    if unknown := [name for name in pictures if name not in class_names]:
      raise InputError(
        f'{split_folder / unknown[0]} is a class that {split_folders["train"]} does not '
        f'have: {", ".join(class_names[:10])}{", ..." if len(class_names) > 10 else ""}. '
        'Rename the folder, remove it, or add pictures of it to the training split.'
      )
    files, labels = [], []
    for label, name in enumerate(class_names):
      files += [Path(f'{split_folder}/{name}/{file}') for file in pictures.get(name, ())]
      labels += [label] * (len(files) - len(labels))
    splits[split] = Split(files, np.array(labels, np.int32))
  return Listing(splits, class_names, num_others)


def _entries(folder):
  """The names of the folders and of all else in `folder`, without hidden ones."""

  def refuse(error):
    raise InputError(
      f'{folder} cannot be listed: {error.strerror}. Make it readable, or name another folder.'
    ) from error

  _, *entries = next(os.walk(folder, onerror=refuse))
  return [[name for name in names if not name.startswith('.')] for names in entries]


def _split_folders(folder, names):
  """The folder of each split, training first, or {} where `names` are classes."""
  found, others = {}, []
  for name in sorted(names):
    split = SPLITS.get(name.lower())
    if split in found:
      raise InputError(
        f'{folder} holds both {found[split]}/ and {name}/. Expected one folder for the {split} '
        'split: put all of its pictures into one of them, and remove the other.'
      )
    if split:
      found[split] = name
    else:
      others.append(name)
  if found and others:
    raise InputError(
      f'{folder} holds folders of splits ({", ".join(found.values())}) and others '
      f'({", ".join(others[:5])}{", ..." if len(others) > 5 else ""}). Expected either splits '
      f'or classes: move {folder / others[0]} away, or into a split. Rename a class that has the '
      'name of a split.'
    )
  if found and 'train' not in found:
    raise InputError(
      f'{folder} holds {" and ".join(f"{name}/" for name in found.values())}, but no train/. '
      f'Put the training pictures in {folder / "train" / "<class>"}.'
    )
  return {split: folder / found[split] for split in SPLITS if split in found}


def _pictures(folder):
  """The sorted names of the pictures of each class, and how many other files there are."""
  folders, others = _entries(folder)
  if not folders:
    count = sum(map(_is_picture, others))
    state = f'{count:,} pictures, but no class folder' if count else 'no class folder'
    raise InputError(
      f'{folder} holds {state}. Put the pictures in one folder per class: '
      f'{folder / "<class>" / "*.png"} (or {", ".join(SUFFIXES[1:])}).'
    )
  pictures, num_others = {}, len(others)
  are_numbers = all(name.isdecimal() for name in folders)
  for name in sorted(folders, key=lambda name: (int(name) if are_numbers else 0, name)):
    inner_folders, names = _entries(folder / name)
    pictures[name] = sorted(filter(_is_picture, names))
    if not pictures[name]:
      advice = 'Put pictures there, or remove the folder.'
      if inner_folders:
        advice += (
          f' It holds folders ({", ".join(sorted(inner_folders)[:3])}, ...): if those are the '
          f'classes or splits, name {folder / name} itself.'
        )
      raise InputError(
        f'{folder / name} is a class without a picture ({", ".join(SUFFIXES)}; {len(names):,} '
        f'other files). {advice}'
      )
    num_others += len(inner_folders) + len(names) - len(pictures[name])
  return pictures, num_others


def _is_picture(name):
  return name.lower().endswith(SUFFIXES)
