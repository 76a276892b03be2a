"""labels.csv or .tsv beside pictures: the file in its first column, its class in the second."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from cvae_jax.data.readers.cells import CLASS
from cvae_jax.data.readers.classes import class_name, in_order
from cvae_jax.data.readers.decoding import FORMAT_NAMES
from cvae_jax.data.readers.entries import entries_of, walk
from cvae_jax.data.readers.picture_rows import PictureRows
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

NAMES = ('labels.csv', 'labels.tsv')


def find(folder: Path) -> Path | None:
  """The file of labels in a folder, or None.

  Raises:
    InputError: there are two.
  """
  found = [name for name in entries_of(folder).others if name.lower() in NAMES]
  if len(found) > 1:
    raise InputError(f'{printable(folder)} holds {" and ".join(found)}. Remove one.')
  return folder / found[0] if found else None


def read(
  path: Path, folders: Mapping[str, Path]
) -> tuple[dict[str, dict[str, list[Path]]], Counter]:
  """The pictures of each class in the folders of splits, which are in that of `path`, or that.

  Returns:
    For each split, the paths of each class, classes in order, paths by their names; and what was
    passed over.

  Raises:
    InputError: as `classes_of`; or a folder holds no picture.
  """
  pictures, passed_over = pictures_in(path, folders)
  names = names_of(path, pictures)
  classes, contents = classes_of(path, list(names.values())), {}
  for split, found in pictures.items():
    by_class = {}
    for picture in found:
      by_class.setdefault(classes[names[picture]], []).append(picture)
    contents[split] = {name: by_class[name] for name in in_order(by_class)}
  return contents, passed_over


def pictures_in(path: Path, folders: Mapping[str, Path]) -> tuple[dict[str, list[Path]], Counter]:
  """The pictures in the folders of splits, by their names, and what else but `path` is there.

  Raises:
    InputError: a folder holds no picture.
  """
  pictures, passed_over = {}, Counter()
  for split, folder in folders.items():
    pictures[split] = []
    for parent, entries in walk(folder):
      others = [name for name in entries.others if parent / name != path]
      passed_over += entries._replace(others=others).passed_over()
      pictures[split] += [Path(f'{parent}/{name}') for name in entries.pictures]
    if not pictures[split]:
      raise InputError(f'{printable(folder)} holds no picture ({FORMAT_NAMES}).')
    pictures[split].sort(key=os.fsencode)
  return pictures, passed_over


def names_of(path: Path, pictures: Mapping[str, list[Path]]) -> dict[Path, str]:
  """The name of each picture for `PictureRows`: relative to the folder of `path`."""
  every = chain(*pictures.values())
  return {picture: picture.relative_to(path.parent).as_posix() for picture in every}


def classes_of(path: Path, pictures: Sequence[str]) -> dict[str, str]:
  """The class of each picture.

  Args:
    path: a table; see `PictureRows`.
    pictures: as there.

  Raises:
    InputError: as `PictureRows` and its `match`; or a class is missing.
  """

  shown, table = printable(path), PictureRows(path, pictures)
  column, *others = table.columns

  def class_of(line, given, name, *_):
    if not name:
      raise InputError(
        f'{shown}, line {line}: {given!r} has no class. Give each picture one, or train with '
        f'missing ones: --config.data.conditions={column or CLASS}.'
      )
    return class_name(name)

  if any(others):
    print(
      f'{shown}: classes are the column {column!r}; passed over: '
      f'{", ".join(map(repr, others[:10]))}. --config.data.conditions=all takes all columns.'
    )
  return {picture: name for picture, (_, name) in table.match(class_of).items()}
