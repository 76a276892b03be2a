"""Folders with the names of splits: train/, validation/, test/."""

from pathlib import Path

from cvae_jax.data.readers.entries import Entries
from cvae_jax.data.readers.roles import SPLITS
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


def find(folder: Path, entries: Entries) -> dict[str, Path]:
  """The folder of each split, training first, or {} where the folders in `folder` are no splits.

  Raises:
    InputError: there are splits and others, two folders of one split, or none to train on.
  """
  names = entries.folders
  if impostors := [name for name in entries.others if name.lower() in SPLITS]:
    raise InputError(
      f'{printable(folder)}/{impostors[0]} has the name of a split, but is no folder. Remove it, '
      'or repair it if it is a link.'
    )
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
