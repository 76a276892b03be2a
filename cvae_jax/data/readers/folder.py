"""A folder of one's own pictures, one sub-folder per class: which files there are, not decoded."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.runtime.errors import InputError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
SPLITS = {
  'train': ('train', 'training'),
  'validation': ('validation', 'val', 'valid'),
  'test': ('test', 'testing'),
}


class Listing(NamedTuple):
  """The pictures of a folder, by split."""

  splits: dict[str, tuple[list[Path], np.ndarray]]  # paths, and their labels int32 [N]
  class_names: tuple[str, ...]
  num_others: int  # entries that are no pictures by their name, or lie outside the class folders


def read(folder: Path) -> Listing:
  """Lists `folder/train/<class>/*`, with validation/ and test/ where they are.

  A folder without folders of splits, `folder/<class>/*`, is listed as the split 'train' alone.
  Hidden entries are ignored; the names of splits and suffixes may be in any case.

  Returns:
    The paths sorted by class and file name. Classes that are all numbers sort as numbers.

  Raises:
    InputError: the folder is missing or laid out in another way; the message says how.
  """
  if not os.path.isdir(folder):
    state = 'is a file' if os.path.exists(folder) else 'cannot be found'
    raise InputError(f'{folder} {state}, expected a folder of pictures. {_layout(folder)}')
  folders, files = _entries(folder)
  spellings = [spelling for names in SPLITS.values() for spelling in names]
  if impostors := sorted(name for name in files if name.lower() in spellings):
    raise InputError(
      f'{folder / impostors[0]} is named like a split, but is no folder. Remove it, or mend it if '
      'it is a link.'
    )
  split_folders = _split_folders(folder, folders)
  if not split_folders:
    split_folders, files = {'train': folder}, []
  listed, num_others = {}, len(files)
  for split, split_folder in split_folders.items():
    listed[split], num_outside = _classes(split_folder)
    num_others += num_outside
  class_names = _in_order(listed['train'])
  splits = {}
  for split, classes in listed.items():
    if unknown := _in_order(set(classes) - set(class_names)):
      raise InputError(
        f'{split_folders[split] / unknown[0]} is a class that {split_folders["train"]} does not '
        f'have: {", ".join(class_names[:10])}{", ..." if len(class_names) > 10 else ""}. '
        'Rename the folder, remove it, or add pictures of it to the training set.'
      )
    paths, labels = [], []
    for label, name in enumerate(class_names):
      class_folder = split_folders[split] / name
      pictures = []
      if name in classes:
        pictures, num_left_out = _pictures(class_folder)
        num_others += num_left_out
      paths.extend(Path(f'{class_folder}{os.sep}{picture}') for picture in pictures)
      labels.extend([label] * len(pictures))
    splits[split] = (paths, np.array(labels, np.int32))
  return Listing(splits, class_names, num_others)


def _layout(folder):
  return (
    f'Put the pictures ({", ".join(SUFFIXES)}) in {folder / "train" / "<class>"}, with '
    f'validation/<class> and test/<class> beside it if you have them, or in {folder / "<class>"}.'
  )


def _entries(folder):
  """The names of the folders and of all else in `folder`, without hidden ones."""
  folders, others = [], []
  try:
    with os.scandir(folder) as entries:
      for entry in entries:
        if not entry.name.startswith('.'):
          (folders if _is_folder(entry) else others).append(entry.name)
  except OSError as error:
    raise InputError(
      f'{folder} cannot be listed: {error.strerror}. Make it readable, or name another folder.'
    ) from error
  return folders, others


def _is_folder(entry):
  try:
    return entry.is_dir()
  except OSError:  # a link that leads round in a circle
    return False


def _split_folders(folder, names):
  """The folder of each split there is, or {} where `names` are classes."""
  found = {}
  for split, spellings in SPLITS.items():
    same = sorted(name for name in names if name.lower() in spellings)
    if len(same) > 1:
      raise InputError(
        f'{folder} holds both {same[0]}/ and {same[1]}/. Expected one folder for the {split} '
        'split: put all of its pictures into one of them, and remove the other.'
      )
    if same:
      found[split] = folder / same[0]
  if not found:
    return {}
  split_names = {path.name for path in found.values()}
  if others := sorted(set(names) - split_names):
    raise InputError(
      f'{folder} holds folders of splits ({", ".join(sorted(split_names))}) and others '
      f'({", ".join(others[:5])}{", ..." if len(others) > 5 else ""}). Expected either splits '
      f'or classes: move {folder / others[0]} away, or into a split. A class that is named '
      'like a split must be renamed.'
    )
  if 'train' not in found:
    raise InputError(
      f'{folder} holds {" and ".join(f"{name}/" for name in sorted(split_names))}, but no train/. '
      f'Put the training pictures in {folder / "train" / "<class>"}.'
    )
  return found


def _classes(folder):
  """The names of the class folders in `folder`, and how many entries are something else."""
  folders, others = _entries(folder)
  if not folders:
    pictures = [name for name in others if _is_picture(name)]
    state = f'{len(pictures):,} pictures, but no class folder' if pictures else 'no class folder'
    raise InputError(
      f'{folder} holds {state}. Put the pictures in one folder per class: '
      f'{folder / "<class>" / "*.png"} (or {", ".join(SUFFIXES[1:])}).'
    )
  return folders, len(others)


def _pictures(folder):
  """The sorted names of the pictures in a class folder, and how many entries are none."""
  folders, files = _entries(folder)
  pictures = sorted(name for name in files if _is_picture(name))
  if not pictures:
    advice = 'Put pictures there, or remove the folder.'
    if folders:
      advice += (
        f' It holds folders ({", ".join(sorted(folders)[:3])}, ...): if those are the classes or '
        f'splits, name {folder} itself.'
      )
    raise InputError(
      f'{folder} is a class without a picture ({", ".join(SUFFIXES)}; {len(files):,} other '
      f'files). {advice}'
    )
  return pictures, len(folders) + len(files) - len(pictures)


def _is_picture(name):
  return name.lower().endswith(SUFFIXES)


def _in_order(names):
  if all(name.isdecimal() for name in names):
    return tuple(sorted(names, key=lambda name: (int(name), name)))
  return tuple(sorted(names))
