"""The table of conditions of a data set: which columns a model is given, and in which units."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvae_jax.config import Column, asked, class_column
from cvae_jax.data.measures import MEASURES, measure
from cvae_jax.data.readers import DATASETS, Source, Split
from cvae_jax.runtime.errors import InputError, did_you_mean


class Table(NamedTuple):
  """The conditions of N images."""

  columns: tuple[Column, ...]
  values: np.ndarray  # float32 [N, columns]; see `Column`. NaN is unknown

  def as_in(self, columns: tuple[Column, ...]) -> 'Table':
    """The same conditions in other columns, of a model that was trained on other images.

    Args:
      columns: of the same names in the same order; numbers may have another mean and standard
        deviation, categories other numbers for their names.

    Raises:
      InputError: a column is of another kind, or a category lacks a name.
    """
    values = self.values.copy()
    for number, (mine, other) in enumerate(zip(self.columns, columns, strict=True)):
      if mine.kind != other.kind:
        raise InputError(
          f'The column {mine.name!r} is a {mine.kind} in the data, a {other.kind} in the model.'
        )
      if unknown := [name for name in mine.names if name not in other.names]:
        raise InputError(
          f'The column {mine.name!r} of the data has the name {unknown[0]!r}, which the model does '
          f'not know: {", ".join(other.names)[:200]}.'
        )
      if mine.kind == 'number':
        values[:, number] += (mine.mean - other.mean) / mine.std
        values[:, number] *= mine.std / other.std
      elif mine.names != other.names:
        numbers = np.array([other.names.index(name) for name in mine.names], np.float32)
        known = ~np.isnan(values[:, number])
        values[known, number] = numbers[values[known, number].astype(int)]
    return Table(columns, values)

  def take(self, rows: slice | np.ndarray) -> 'Table':
    """The same columns of these rows."""
    return Table(self.columns, self.values[rows])


def choose(source: Source, data) -> Source:
  """`source` with the columns that `data.conditions` asks for, in that order.

  Cells are in the units of the data. Those to be measured are empty until `measured`. The labels
  become those of the first category, −1 where its cell is empty.

  Args:
    source: all columns of its files, or the labels alone.
    data: `config.data`; no `conditions` is the label.

  Raises:
    InputError: there is no such column, or it is of another kind.
  """
  columns, cells = source.columns, {name: split.cells for name, split in source.splits.items()}
  if not columns:
    columns, cells = _label_column(source, data)
  request = asked(data.conditions) if data.conditions else None
  if request is None:
    request = {column.name: None for column in columns}
  if not request:
    raise InputError(
      f'data.conditions={data.conditions!r}, but {data.name!r} has neither labels nor columns. '
      'Set --config.conditional=False.'
    )
  numbers = {column.name: number for number, column in enumerate(columns)}
  chosen, order = [], []
  for name, kind in request.items():
    number = numbers.get(name)
    if number is not None:
      column = columns[number]
    elif name in MEASURES:
      column = _measured_column(name)
    else:
      names = list(dict.fromkeys([*numbers, *source.others, *MEASURES]))
      kinds = ' Kinds are category, flag and number.' if ':' in name else ''
      raise InputError(
        f'data.conditions={data.conditions!r}: {data.name!r} has no column {name!r}.{kinds} It has '
        f'{", ".join(names)[:500]}.{did_you_mean(name, names)}'
      )
    if kind not in (None, column.kind):
      raise InputError(
        f'data.conditions={data.conditions!r}: {name!r} of {data.name!r} is a {column.kind}, not a '
        f'{kind}.'
      )
    chosen.append(column)
    order.append(-1 if number is None else number)
  splits = {}
  for name, split in source.splits.items():
    nothing = np.full((len(split.labels), 1), np.nan, np.float32)
    values = np.concatenate([cells[name], nothing], axis=1)[:, order]
    splits[name] = split._replace(cells=values, labels=labels_of(chosen, values))
  number = class_column(chosen)
  names = () if number is None else chosen[number].names
  return source._replace(splits=splits, class_names=names, columns=tuple(chosen))


def labels_of(columns: Sequence[Column], values: np.ndarray) -> np.ndarray:
  """The classes of rows, int32 [N]: −1 where unknown, 0 everywhere without a category."""
  number = class_column(columns)
  if number is None:
    return np.zeros(len(values), np.int32)
  return np.nan_to_num(values[:, number], nan=-1).astype(np.int32)


def _label_column(source: Source, data):
  """The labels of a source as its one column."""
  if not source.class_names:
    return (), {
      name: np.zeros((len(split.labels), 0), np.float32) for name, split in source.splits.items()
    }
  name = DATASETS.trait(data.name, 'label_column', 'label')
  column = Column(name, 'category', source.class_names)
  return (column,), {
    name: split.labels[:, None].astype(np.float32) for name, split in source.splits.items()
  }


def _measured_column(name: str) -> Column:
  return Column(name, 'number', unit=MEASURES.trait(name, 'unit', ''), measured=True)


def measured(
  splits: dict[str, Split], columns: Sequence[Column], cache: bool = True
) -> dict[str, Split]:
  """Splits of decoded images, with the numbers that are measured on these."""
  for number, column in enumerate(columns):
    for split in splits.values():
      if column.measured:
        split.cells[:, number] = measure(column.name, split.images, cache)
  return splits


def with_few_labels(split: Split, columns: Sequence[Column], count: int, seed: int) -> Split:
  """A split that keeps the classes of only `count` images, as many of each class up to one.

  Raises:
    InputError: there are no classes, too few images of one, or `count` is less than the classes.
  """
  number = class_column(columns)
  if number is None:
    raise InputError(
      f'data.num_labels={count} keeps some labels, but no column is a category. Set '
      '--config.data.num_labels=0.'
    )
  names, random = columns[number].names, np.random.RandomState(seed)
  kept = []
  for label in range(len(names)):
    rows = np.flatnonzero(split.labels == label)
    wanted = count // len(names) + (label < count % len(names))
    if not 1 <= wanted <= len(rows):
      raise InputError(
        f'data.num_labels={count} keeps {wanted} labels of the class {names[label]!r}, which has '
        f'{len(rows):,} training images: expected 1 or more of each class, up to all it has.'
      )
    kept.append(random.permutation(rows)[:wanted])
  kept = np.concatenate(kept)
  labels, cells = np.full_like(split.labels, -1), split.cells.copy()
  labels[kept] = split.labels[kept]
  cells[:, number] = np.where(labels < 0, np.nan, labels)
  return split._replace(labels=labels, cells=cells)


def standardized(splits: dict[str, Split], columns: Sequence[Column]) -> dict[str, Table]:
  """The tables of splits: numbers in standard deviations from the mean of the split 'train'.

  Args:
    splits: with cells in the units of the data.
    columns: theirs.

  Raises:
    InputError: a column has no value in the split 'train', or a number has only one.
  """
  found = []
  for number, column in enumerate(columns):
    values = splits['train'].cells[:, number].astype(np.float64)
    known = values[~np.isnan(values)]
    if not len(known):
      raise InputError(
        f'The column {column.name!r} is empty in all {len(values):,} training images. Leave it out '
        'of --config.data.conditions.'
      )
    has_empty = any(np.isnan(split.cells[:, number]).any() for split in splits.values())
    column = column._replace(has_empty=has_empty)
    is_constant = known.min() == known.max() if column.kind == 'number' else len(column.names) == 1
    if is_constant:
      raise InputError(
        f'The column {column.name!r} has one value only in the training images, '
        f'{column.names[0] if column.names else known[0]}: it tells a model nothing. Leave it out '
        'of --config.data.conditions.'
      )
    if column.kind == 'number':
      mean, std, low, high = map(float, (known.mean(), known.std(), known.min(), known.max()))
      column = column._replace(mean=mean, std=std, low=low, high=high)
    found.append(column)
  columns = tuple(found)
  mean, std = (np.array([getattr(column, name) for column in columns]) for name in ('mean', 'std'))
  return {
    name: Table(columns, ((split.cells - mean) / std).astype(np.float32))
    for name, split in splits.items()
  }
