"""Columns of conditions: what they are called, what they hold, and how the network is told."""

import csv
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from cvae_jax.runtime.errors import InputError

ALL = 'all'
KINDS = ('category', 'flag', 'number')
NO_YES = ('no', 'yes')  # the names of a flag's values 0 and 1
MAX_NAMES = 10_000  # of a category


class Column(NamedTuple):
  """One column of a table of conditions.

  Values are float32: of a category the number of a name, of a flag 0 or 1, of a number its distance
  from the mean in standard deviations. NaN is unknown.
  """

  name: str
  kind: str  # one of KINDS
  names: tuple[str, ...] = ()  # of a category's values 0, 1, ...
  unit: str = ''  # of a number, as the next four
  mean: float = 0.0  # of the training split
  std: float = 1.0
  low: float = 0.0  # the range of the training split
  high: float = 0.0
  measured: bool = False  # on the images themselves; see `data.measures`
  has_empty: bool = False  # some cells of it are

  @property
  def value_names(self) -> tuple[str, ...]:
    """The names of the values 0, 1, ... of a category or a flag."""
    return NO_YES if self.kind == 'flag' else self.names

  def text(self, value: float) -> str:
    """A value as people write it: a name, or a number in its unit."""
    if math.isnan(value):
      return 'unknown'
    if self.kind != 'number':
      return self.value_names[int(value)]
    unit = f' {self.unit}' if self.unit else ''
    return f'{self.in_units(value):.4g}{unit}'

  def in_units(self, values):
    """Standardized numbers in the column's unit; values of other kinds stay as they are."""
    return self.mean + self.std * values

  def standardized(self, values):
    """The inverse of `in_units`."""
    return (values - self.mean) / self.std


class Inputs(NamedTuple):
  """What the network knows of one column; in a config, 'category:10', 'flag' or 'number?'."""

  kind: str
  num_names: int  # of a category; else 0
  has_empty: bool


def inputs_text(column: Column) -> str:
  """The inputs of a column as a config has them."""
  count = f':{len(column.names)}' if column.kind == 'category' else ''
  return f'{column.kind}{count}{"?" if column.has_empty else ""}'


def inputs_of(text: str) -> Inputs:
  """The inverse of `inputs_text`.

  Raises:
    ValueError: it is no such text.
  """
  kind, _, count = text.removesuffix('?').partition(':')
  if kind not in KINDS or (kind == 'category') != count.isdecimal() or len(count) > 5:
    raise ValueError(f'{text!r} is none of category:N, flag and number')
  return Inputs(kind, int(count or 0), text.endswith('?'))


def class_column(columns: Sequence[Any]) -> int | None:
  """The number of the first category among columns with a `kind`: the class of an image."""
  return next((n for n, column in enumerate(columns) if column.kind == 'category'), None)


def asked(text: str) -> dict[str, str | None] | None:
  """The columns that `data.conditions` names, each with its kind or None; None for all columns.

  Raises:
    InputError: it names no columns, or one twice.
  """
  if text.strip() == ALL:
    return None
  try:
    items = next(csv.reader([text], skipinitialspace=True), [])
  except csv.Error as error:
    raise InputError(
      f'data.conditions={text!r} cannot be read: {error}. Expected one line, with names that '
      'contain a comma in double quotes.'
    ) from error
  columns: dict[str, str | None] = {}
  for item in items:
    name, _, kind = item.strip().rpartition(':')
    if kind not in KINDS or not name:
      name, kind = item.strip(), None
    if not name or name in columns:
      problem = f'names {name!r} twice' if name else 'has an empty name'
      raise InputError(
        f"data.conditions={text!r} {problem}: expected 'all', or such as 'digit,angle:number'."
      )
    columns[name] = kind
  return columns


def from_plain(content: Any) -> tuple[Column, ...]:
  """Columns as JSON gave them.

  Raises:
    KeyError, TypeError, ValueError: they are none.
  """
  columns = tuple(Column(**{**column, 'names': tuple(column['names'])}) for column in content)
  for column in columns:
    texts = column.name, column.unit, *column.names
    numbers = column.mean, column.std, column.low, column.high
    if column.kind not in KINDS or not all(isinstance(text, str) for text in texts):
      raise ValueError(f'{column.name!r} is no column of conditions')
    if not all(isinstance(number, int | float) for number in numbers):
      raise TypeError(f'the column {column.name!r} lacks numbers')
  return columns
