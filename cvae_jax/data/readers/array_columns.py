"""Arrays beside images and labels that are columns of conditions."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax.config import Column, asked
from cvae_jax.data.readers import cells, numpy_files, roles
from cvae_jax.data.readers.array_labels import array_of, shown
from cvae_jax.runtime.errors import InputError

Columns = Mapping[str, Mapping[str, Any]]  # for each column, something for each split


def asked_names(conditions: str, names: Collection[str]) -> set[str]:
  """Those names of arrays whose column `data.conditions` names, whatever else they may mean."""
  request = asked(conditions) if conditions else None
  return {name for name in names if roles.column_of(name)[1] in (request or ())}


def find(
  places: Mapping[str, tuple[Path, str]], asked_for: Collection[str], num_images: Mapping[str, int]
) -> dict[str, dict[str, str]]:
  """The name of the array of each column and split.

  Args:
    places: the file and the name in it, by the names of arrays that are no images or labels.
    asked_for: those that are columns in any case; others must have one cell for each image.
    num_images: of each split.

  Raises:
    InputError: two arrays are the same column of a split.
  """
  found = {}
  for name, place in places.items():
    split, column = roles.column_of(name)
    fits = num_images.get(split), numpy_files.shape_of(*place)
    if name not in asked_for and fits[1] not in ((fits[0],), (fits[0], 1)):
      continue
    if other := found.setdefault(column, {}).get(split):
      raise InputError(
        f'{place[0]}: {other} and {name} are both the column {column!r} of the {split} split. '
        'Rename one.'
      )
    found[column][split] = name
  return found


def columns_of(
  given: Columns, conditions: str, num_images: Mapping[str, int]
) -> tuple[tuple[Column, ...], dict[str, np.ndarray], tuple[str, ...]]:
  """The columns that `data.conditions` asks for, their cells in each split, and other columns.

  Args:
    given: cells [N] or [N, 1] as in `cell_values.known_of`. The column of classes comes first.
    conditions: `data.conditions`.
    num_images: of each split.

  Raises:
    InputError: as `cells.read`; or a split lacks a column, or cells differ in number from images.
  """
  names = sorted(given, key=lambda name: name != cells.CLASS)
  kinds = cells.wanted(conditions, names)
  checked = {
    name: {
      split: _cells_of(given[name].get(split), name, split, count)
      for split, count in num_images.items()
    }
    for name in kinds
  }
  columns, values = cells.read(
    checked, kinds, lambda split, row: f'Row {row:,} of the {split} arrays'
  )
  return columns, values, tuple(name for name in names if name not in kinds)


def _cells_of(given, column, split, num_images):
  if given is None:
    raise InputError(
      f'The {split} images have no {column!r}, but those of another split have. Give it of every '
      'split, with empty cells (NaN) where it is unknown, or leave it out.'
    )
  found = array_of(given, f'{split} cells of {column!r}')
  if found.ndim == 2 and found.shape[1] == 1:
    found = found[:, 0]
  if found.ndim != 1 or len(found) != num_images:
    raise InputError(
      f'The {split} cells of {column!r} have shape {shown(found.shape)}, expected '
      f'[{num_images:,}], one for each image.'
    )
  return found
