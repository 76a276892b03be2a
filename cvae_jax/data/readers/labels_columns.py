"""labels.csv or .tsv beside pictures: each column after the first is one of conditions."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.config import Column
from cvae_jax.data.readers import cells, labels_file
from cvae_jax.data.readers.classes import class_name
from cvae_jax.data.readers.picture_rows import PictureRows
from cvae_jax.data.readers.sources import Split
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


class Labelled(NamedTuple):
  """Pictures with their conditions."""

  splits: dict[str, Split]  # pictures by their names
  columns: tuple[Column, ...]
  others: tuple[str, ...]  # names of columns that were not asked for
  passed_over: Counter


def read(tables: Mapping[Path, Mapping[str, Path]], conditions: str) -> Labelled:
  """The pictures in the folders of splits, with the columns that `data.conditions` asks for.

  Args:
    tables: the files, each with the folders of the splits whose pictures it names.
    conditions: `data.conditions`.

  Raises:
    InputError: as `cells.read` and `PictureRows`; or a file lacks a column or its header.
  """
  names, kinds, passed_over = (), None, Counter()
  pictures, rows, places = {}, {}, {}
  for path, folders in tables.items():
    found, others = labels_file.pictures_in(path, folders)
    name_of = labels_file.names_of(path, found)
    table = PictureRows(path, list(name_of.values()))
    columns = _column_names(path, table.columns)
    if '' in columns:
      raise InputError(
        f'{printable(path)} has no name for its column {2 + columns.index("")}. Write one into its '
        'first line.'
      )
    if kinds is None:  # the first is that of the training split
      names = columns
      kinds = cells.wanted(conditions, names)
    if lacking := [name for name in kinds if name not in columns]:
      raise InputError(
        f'{printable(path)} has no column {lacking[0]!r}, but {printable(next(iter(tables)))} has. '
        'Add it, with empty cells where it is unknown, or leave it out of '
        '--config.data.conditions.'
      )
    numbers = [1 + columns.index(name) for name in kinds]
    of_picture = table.match(lambda _, *row, numbers=numbers: tuple(row[n] for n in numbers))
    for split, paths in found.items():
      pictures[split], places[split] = paths, path
      rows[split] = [of_picture[name_of[picture]] for picture in paths]
    passed_over += others
  given = {
    name: {
      split: np.array([row[number] for _, row in of_split], str) for split, of_split in rows.items()
    }
    for number, name in enumerate(kinds)
  }
  columns, values = cells.read(
    given, kinds, lambda split, row: f'{printable(places[split])}, line {rows[split][row][0]}'
  )
  splits = {
    split: Split(paths, np.zeros(len(paths), np.int32), values.get(split))
    for split, paths in pictures.items()
  }
  return Labelled(splits, columns, tuple(name for name in names if name not in kinds), passed_over)


def _column_names(path: Path, header: list[str]) -> list[str]:
  """The names of the columns after the first; '' of one that has none."""
  if any(header):
    return [class_name(name) for name in header]
  if len(header) > 1:
    raise InputError(
      f'{printable(path)} has no header, so its columns have no names. Give it a first line such '
      'as file,digit,angle.'
    )
  print(f'{printable(path)} has no header: its column is called {cells.CLASS!r}.')
  return [cells.CLASS]
