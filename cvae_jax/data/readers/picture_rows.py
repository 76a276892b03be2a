"""Rows of a table matched with the pictures that they name."""

import posixpath
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cvae_jax.data.readers import tables
from cvae_jax.data.readers.decoding import SUFFIXES
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SHOWN = 3


class PictureRows:
  """A table whose rows name pictures in their first cell.

  A first row whose first cell names no picture is a header. A row names a picture by its path, by
  the end of that, or without its suffix.

  Args:
    path: of the table; see `tables`.
    pictures: their paths, relative to the folder of `path`, with slashes.

  Attributes:
    columns: the names of the columns after the first, '' where there is no header.

  Raises:
    InputError: the file is no table, or has two columns of one name.
  """

  def __init__(self, path: Path, pictures: Sequence[str]):
    self._pictures, self._known, self._shown = pictures, Known(pictures), printable(path)
    self._rows = tables.rows_of(path)
    _, first = self._rows[0]
    self.columns = [''] * (len(first) - 1)
    if not (self._known.find(first[0]) or first[0].lower().endswith(SUFFIXES)):
      if twice := sorted({name for name in first if name and first.count(name) > 1}):
        raise InputError(
          f'{self._shown} has two columns of the name {twice[0]!r}. Rename or remove one.'
        )
      self.columns, self._rows = first[1:], self._rows[1:]

  def match(self, read_row: Callable[..., Any]) -> dict[str, tuple[int, Any]]:
    """The number of the line of each picture, and what `read_row` gives.

    Args:
      read_row: given the number of a line and its cells, what is kept of them. It must be the same
        in all rows of a picture.

    Raises:
      InputError: rows name missing or several pictures, differ, or leave pictures out.
    """
    kept, missing, differing = {}, [], []
    for line, cells in self._rows:
      given, found = cells[0], self._known.find(cells[0])
      if len(found) > 1:
        raise InputError(
          f'{self._shown}, line {line}: {given!r} may be '
          f'{" or ".join(map(repr, found[:SHOWN]))}. Write the folder before the name.'
        )
      row = read_row(line, *cells)
      if not found:
        missing.append(given)
      elif kept.setdefault(found[0], (line, row))[1] != row:
        differing.append(given)
    if differing:
      raise InputError(
        f'{self._shown} gives {len(differing):,} picture(s) different classes or conditions in '
        f'different rows: {_listed(differing)}. Leave one row for each.'
      )
    left_out = [picture for picture in self._pictures if picture not in kept]
    problems = []
    if missing:
      problems.append(f'names {len(missing):,} file(s) that are not there ({_listed(missing)})')
    if left_out:
      problems.append(f'leaves out {len(left_out):,} of {len(self._pictures):,} pictures '
                      f'({_listed(map(printable, left_out))})')  # fmt: skip
    if problems:
      raise InputError(
        f'{self._shown} {" and ".join(problems)}. Expected a row for each picture, the file in the '
        'first column and the class or conditions after it.'
      )
    return kept


class Known:
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
