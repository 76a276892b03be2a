"""labels.csv or .tsv beside pictures: the file in its first column, its class in the second."""

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from cvae_jax.data.readers import tables
from cvae_jax.data.readers.classes import class_name, in_order
from cvae_jax.data.readers.decoding import FORMAT_NAMES, SUFFIXES
from cvae_jax.data.readers.entries import entries_of, walk
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

NAMES = ('labels.csv', 'labels.tsv')
SHOWN = 3


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
  every = chain(*pictures.values())
  names = {picture: picture.relative_to(path.parent).as_posix() for picture in every}
  classes, contents = classes_of(path, list(names.values())), {}
  for split, found in pictures.items():
    by_class = {}
    for picture in found:
      by_class.setdefault(classes[names[picture]], []).append(picture)
    contents[split] = {name: by_class[name] for name in in_order(by_class)}
  return contents, passed_over


def classes_of(path: Path, pictures: Sequence[str]) -> dict[str, str]:
  """The class of each picture.

  Args:
    path: a table, see `tables`. A first row whose first cell names no picture is a header.
    pictures: their paths, relative to the folder of `path`, with slashes. A row names one by this
      path, by the end of it, or without its suffix.

  Raises:
    InputError: the file is no such table, names missing files, or leaves pictures out.
  """
  rows = tables.rows_of(path)
  known = _Known(pictures)
  (_, first), shown = rows[0], printable(path)
  if not (known.find(first[0]) or first[0].lower().endswith(SUFFIXES)):
    if twice := sorted({name for name in first if first.count(name) > 1}):
      raise InputError(f'{shown} has two columns of the name {twice[0]!r}. Rename or remove one.')
    if others := first[2:]:
      ignored = ', '.join(map(repr, others[:10]))
      print(f'{shown}: classes are the column {first[1]!r}; passed over: {ignored}.')
    rows = rows[1:]
  classes, missing, differing = {}, [], []
  for line, (given, name, *_) in rows:
    found = known.find(given)
    if len(found) > 1:
      raise InputError(
        f'{shown}, line {line}: {given!r} may be {" or ".join(map(repr, found[:SHOWN]))}. Write '
        'the folder before the name.'
      )
    if not name:
      raise InputError(f'{shown}, line {line}: {given!r} has no class. Give each picture one.')
    if not found:
      missing.append(given)
    elif classes.setdefault(found[0], class_name(name)) != class_name(name):
      differing.append(given)
  if differing:
    raise InputError(
      f'{shown} gives {len(differing):,} picture(s) different classes in different rows: '
      f'{_listed(differing)}. Leave one row for each.'
    )
  left_out = [picture for picture in pictures if picture not in classes]
  problems = []
  if missing:
    problems.append(f'names {len(missing):,} file(s) that are not there ({_listed(missing)})')
  if left_out:
    problems.append(f'leaves out {len(left_out):,} of {len(pictures):,} pictures '
                    f'({_listed(map(printable, left_out))})')  # fmt: skip
  if problems:
    raise InputError(
      f'{shown} {" and ".join(problems)}. Expected a row for each picture, the file in the first '
      'column and the class in the second.'
    )
  return classes


class _Known:
  """Pictures by the names that rows may give them."""

  def __init__(self, pictures):
    self._found = {}
    for picture in pictures:
      path = PurePosixPath(_composed(picture))
      for name in {path.name, path.stem}:
        self._found.setdefault(name, []).append((path, picture))

  def find(self, given):
    """The pictures that `given` may be."""
    path = PurePosixPath(posixpath.normpath(_composed(given.replace('\\', '/'))))
    found = self._found.get(path.name, [])
    exact = [picture for known, picture in found if path in (known, known.with_suffix(''))]
    return exact or [picture for known, picture in found if _ends_alike(path.parts, known.parts)]


def _ends_alike(one, other):
  """Whether the folders of one path are the last of the other."""
  count = min(len(one), len(other)) - 1
  return count == 0 or one[-1 - count : -1] == other[-1 - count : -1]


def _composed(name):
  return unicodedata.normalize('NFC', name)


def _listed(names):
  names = list(names)
  return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
