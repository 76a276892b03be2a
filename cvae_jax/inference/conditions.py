"""Conditions that a user names, as a model takes them."""

import dataclasses
import math
import numbers
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.config import Column, class_column
from cvae_jax.data import tables
from cvae_jax.data.measures import measure
from cvae_jax.data.readers import array_labels
from cvae_jax.models.conditions import Input
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError, did_you_mean

MAX_NUMBER = 1e30  # standard deviations; more is no float32
YES, NO = ('yes', 'true', '1'), ('no', 'false', '0')


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no one truth value
class Conditions:
  """Conditions of N images as a model takes them; `Model.conditions` makes them.

  Attributes:
    columns: what is known of an image; the label alone is one column. () of an unconditional model.
    values: [N] int32 labels, or float32 [N, columns] (see `config.Column`), where NaN is unknown.
  """

  columns: tuple[Column, ...]
  values: np.ndarray

  def __len__(self) -> int:
    return len(self.values)

  def __getitem__(self, rows) -> 'Conditions':
    """The conditions at `rows`, a slice or an array of indices."""
    return dataclasses.replace(self, values=self.values[rows])

  @property
  def table(self) -> np.ndarray:
    """Float [N, columns], also of labels."""
    return self.values if self.values.ndim == 2 else self.values[:, None].astype(np.float32)

  @property
  def labels(self) -> np.ndarray:
    """The classes, int32 [N]: the values of the first category, −1 where unknown; else 0."""
    return self.values if self.values.ndim == 1 else tables.labels_of(self.columns, self.values)

  def replaced(self, number: int, values) -> 'Conditions':
    """With other values in one column: a number for all, or [N]."""
    table = self.table.copy()
    table[:, number] = values
    return self.of_table(table)

  def of_table(self, table: np.ndarray) -> 'Conditions':
    """Conditions of the same kind from float [N, columns]."""
    values = table[:, 0] if self.values.ndim == 1 else table
    return dataclasses.replace(self, values=values.astype(self.values.dtype))

  def repeat(self, count: int) -> 'Conditions':
    """Each row `count` times, one after another."""
    return dataclasses.replace(self, values=np.repeat(self.values, count, axis=0))

  def in_every_class(self) -> 'Conditions':
    """Each row in all classes, one after another, [N · classes]."""
    number = class_column(self.columns)
    count = len(self.columns[number].names)
    return self.repeat(count).replaced(number, np.tile(np.arange(count), len(self)))

  def texts(self) -> tuple[str, ...]:
    """Each row in words: 'digit 3, slant 0.4'; of a label its name alone."""
    if len(self.columns) == 1 and self.columns[0].kind == 'category':
      return tuple(map(self.columns[0].text, self.table[:, 0]))
    return self.named_texts()

  def named_texts(self) -> tuple[str, ...]:
    """Each row in words, with the name of every column: 'digit 3', or 'digit unknown'."""
    columns = [
      [f'{column.name} {column.text(value)}' for value in values]
      for column, values in zip(self.columns, self.table.T, strict=True)
    ]
    return tuple(map(', '.join, zip(*columns, strict=True)))


class Conditioning(NamedTuple):
  """What a model is conditioned on, and how what a user names becomes `Conditions`."""

  columns: tuple[Column, ...]  # () of an unconditional model
  inputs: tuple[Input, ...]  # of the network, one for each column
  has_table: bool  # whether the model takes rows of a table, instead of labels
  training: np.ndarray | None = None  # float32 [rows, columns] of training images, if kept

  @property
  def names(self) -> tuple[str, ...]:
    """Of the columns."""
    return tuple(column.name for column in self.columns)

  @property
  def class_number(self) -> int | None:
    """The number of the column that is the class."""
    return class_column(self.columns)

  @property
  def class_column(self) -> Column:
    """The column that is the class, of a model that has classes."""
    return self.columns[self.class_number]

  @property
  def usual(self) -> Conditions:
    """One row: the first class, the means of numbers, and flags that are not set."""
    return self._rows(np.zeros((1, len(self.columns)), np.float32))

  def number(self, name: str) -> int:
    """The number of a column.

    Raises:
      InputError: there is no such column.
    """
    names = list(self.names)
    if not names:
      raise InputError(f'This model is unconditional: it has no column {str(name)[:40]!r}.')
    if name not in names:
      raise InputError(
        f'This model has no column {str(name)[:40]!r}: it has {", ".join(names)[:500]}.'
        f'{did_you_mean(str(name), names)}'
      )
    return names.index(name)

  def of(
    self,
    labels: Any,
    conditions: Mapping[str, Any] | Conditions | None,
    count: int | None,
    images: np.ndarray | None = None,
    seed: int = 0,
  ) -> Conditions:
    """The conditions of N images, from what a user gives; see `completed` for columns left out.

    Args:
      labels: [N] names or numbers of classes, or None.
      conditions: by the name of the column a value, or [N] of them; or what this function returned.
      count: N; None is what labels and conditions say, or 1.
      images: uint8 [N, H, W, C], whose conditions these are.
      seed: of the choice of training images.

    Raises:
      InputError: there is no such column or name, numbers of rows differ, or a column is missing.
    """
    if isinstance(conditions, Conditions):
      return self._given_before(labels, conditions, count)
    values = self.values(conditions or {})
    for number, given in values.items():
      count = _common_count(self.names[number], given, count)
    if labels is not None:
      number = self._labelled(values)
      values[number] = labels_of(self.columns[number], labels, count)
      count = len(values[number])
    return self.completed(values, 1 if count is None else count, images, seed)

  def values(self, conditions: Mapping[str, Any]) -> dict[int, np.ndarray]:
    """By the number of the column, values as the model takes them; see `values_of`."""
    order = [self.number(name) for name in conditions]
    return {
      number: values_of(self.columns[number], given)
      for number, given in zip(order, conditions.values(), strict=True)
    }

  def completed(
    self,
    values: Mapping[int, Any],
    count: int,
    images: np.ndarray | None = None,
    seed: int = 0,
  ) -> Conditions:
    """Conditions with the columns that are not given.

    Of images, they are measured or unknown. Without images they are as in a training image that
    agrees with the given categories and flags, or in any where none does.

    Args:
      values: by the number of the column one value as the model takes it, or [N].
      count: N.
      images: see `of`.
      seed: see `of`.

    Raises:
      InputError: a column is needed, and not known.
    """
    if not self.columns:
      return Conditions((), np.zeros(count, np.int32))
    table = np.full((count, len(self.columns)), np.nan, np.float32)
    for number, given in values.items():
      table[:, number] = given
    missing = [number for number in range(len(self.columns)) if number not in values]
    if images is not None:
      for number in missing:
        self._measure(images, table, number)
    elif missing and self.training is not None:
      self._draw(table, missing, seed)
    self._check_known(table, of_images=images is not None)
    return self._rows(table)

  def _given_before(self, labels: Any, conditions: Conditions, count: int | None) -> Conditions:
    if labels is not None:
      raise InputError('labels and conditions of all columns are both given: leave one out.')
    if conditions.columns != self.columns:
      raise InputError('These conditions are of another model: give them by the names of columns.')
    if count is not None and len(conditions) != count:
      raise InputError(f'conditions and examples differ in number: {len(conditions)} and {count}.')
    return conditions

  def _labelled(self, values: Mapping[int, Any]) -> int:
    """The number of the column that labels are for."""
    if not self.columns:
      raise InputError('This model is unconditional: leave out the labels.')
    if self.class_number is None:
      raise InputError(
        f'This model has no classes: give conditions, of its columns {", ".join(self.names)[:500]}.'
      )
    if self.class_number in values:
      raise InputError(
        f'labels and conditions both give {self.class_column.name!r}: leave one out.'
      )
    return self.class_number

  def _rows(self, table: np.ndarray) -> Conditions:
    """Conditions of float32 [N, columns]."""
    if self.has_table:
      return Conditions(self.columns, table)
    labels = table[:, 0] if self.columns else np.zeros(len(table))
    return Conditions(self.columns, labels.astype(np.int32))

  def _measure(self, images: np.ndarray, table: np.ndarray, number: int) -> None:
    column = self.columns[number]
    if column.measured:
      values = column.standardized(measure(column.name, images))
      # The mean for an empty image, of a model that was trained on none.
      table[:, number] = values if self.inputs[number].has_unknown else np.nan_to_num(values)

  def _draw(self, table: np.ndarray, missing: list[int], seed: int) -> None:
    rows_of = self.training[~np.isnan(self.training[:, self._needed(False)]).any(axis=1)]
    if not len(rows_of):
      return
    uniforms = np.random.RandomState(seed % 2**32).random_sample(len(table))
    decisive = [
      number
      for number, column in enumerate(self.columns)
      if number not in missing and column.kind != 'number'
    ]
    groups, own = np.unique(table[:, decisive], axis=0, return_inverse=True)
    for group, wanted in enumerate(groups):
      rows = np.flatnonzero(own.reshape(-1) == group)
      is_it = (rows_of[:, decisive] == wanted) | np.isnan(wanted)
      agree = np.flatnonzero(is_it.all(axis=1))
      agree = agree if len(agree) else np.arange(len(rows_of))
      chosen = agree[(uniforms[rows] * len(agree)).astype(int)]
      table[np.ix_(rows, missing)] = rows_of[np.ix_(chosen, missing)]

  def _needed(self, of_images: bool) -> list[int]:
    """The numbers of columns that the network cannot do without; of images it may infer classes."""
    return [
      number
      for number, each in enumerate(self.inputs)
      if not (each.has_unknown or (each.is_inferred and of_images))
    ]

  def _check_known(self, table: np.ndarray, of_images: bool) -> None:
    lacking = [n for n in self._needed(of_images) if np.isnan(table[:, n]).any()]
    if lacking and not self.has_table:
      raise InputError('Give the labels: this model is conditional, and needs all of them.')
    if lacking:
      names = ', '.join(self.names[number] for number in lacking)[:500]
      raise InputError(f'Give conditions: this model needs {names} of each image.')


def _common_count(name: str, values: np.ndarray, count: int | None) -> int | None:
  if not values.ndim:
    return count
  if count not in (None, len(values)):
    raise InputError(f'{name} and examples differ in number: {len(values)} and {count}.')
  return len(values)


def labels_of(column: Column, labels: Any, count: int | None) -> np.ndarray:
  """Labels as numbers of classes, int32 [N].

  Args:
    column: the class.
    labels: [N] numbers of classes, or names as texts.
    count: N, if it is known.

  Raises:
    InputError: they are no such labels.
  """
  if not (isinstance(labels, list | np.ndarray) and not len(labels)):
    labels = array_labels.labels_of(labels, 'labels')
  labels = np.asarray(labels)
  if labels.dtype.kind in 'Ub':
    labels = np.array([name_number(column, str(name)) for name in labels], np.int32)
  if count is not None and len(labels) != count:
    raise InputError(f'labels and examples differ in number: {len(labels)} and {count}.')
  known = len(column.names)
  if labels.size and not (labels.min() >= 0 and labels.max() < known):
    wrong = labels[(labels < 0) | (labels >= known)][0]
    raise InputError(
      f'label {wrong} is not the number of a class of this model: expected 0 to {known - 1}, or '
      f'the names as texts: {", ".join(column.names)[:100]}.'
    )
  return labels.astype(np.int32)


def values_of(column: Column, given: Any) -> np.ndarray:
  """Values of a column, [N] or [] float32, from what a user writes.

  Args:
    column: theirs.
    given: one value or [N]: names or numbers of a category; yes or no, or a bool; numbers in the
      column's unit. None and NaN are unknown.

  Raises:
    InputError: the column holds no such value.
  """
  array_labels.refuse_masked(given, column.name)
  try:
    array = np.asarray(given, object)
  except ValueError as error:
    raise InputError(f'{column.name} is not one array: rows differ in length.') from error
  if array.ndim > 1 and array.shape[1:] == (1,):
    array = array[:, 0]
  if array.ndim > 1:
    raise InputError(f'{column.name} has shape {array.shape}, expected [N].')
  values = np.array([value_of(column, value) for value in array.reshape(-1).tolist()], np.float32)
  if column.kind == 'number':
    _warn_outside(column, values)
  return values.reshape(array.shape)


def value_of(column: Column, given: Any) -> float:
  """One value of a column; see `values_of`."""
  if given is None or (isinstance(given, numbers.Real) and math.isnan(given)):
    return math.nan
  if column.kind == 'category':
    return float(name_number(column, given))
  if column.kind == 'flag':
    text = str(given).strip().lower().removesuffix('.0')
    if text not in (*YES, *NO):
      raise InputError(f'{column.name}={str(given)[:40]!r} is neither yes nor no.')
    return float(text in YES)
  try:
    value = column.standardized(float(given))
  except (TypeError, ValueError, OverflowError):
    value = math.inf
  if not abs(value) < MAX_NUMBER:
    unit = f' of {column.unit}' if column.unit else ''
    raise InputError(f'{column.name}={str(given)[:40]!r} is not a number{unit}.')
  return value


def name_number(column: Column, given: Any) -> int:
  """The number of a category's name, from the name in any case or from the number.

  Raises:
    InputError: there is no such name.
  """
  if isinstance(given, float | np.floating) and given.is_integer():
    given = int(given)
  text = unicodedata.normalize('NFC', str(given))  # as the names are
  if text not in column.names:
    text = paths.printable(text)  # typed as the bytes of a folder's name
  if text in column.names:
    return column.names.index(text)
  names = [name.lower() for name in column.names]
  if text.lower() in names:
    return names.index(text.lower())
  is_number = text.isascii() and text.isdecimal()
  if is_number and len(text) < 10 and int(text) < len(names):
    return int(text)
  known = ', '.join(
    name if name == str(number) else f'{number} ({name})'
    for number, name in enumerate(column.names)
  )
  suggestion = '' if is_number else did_you_mean(text, column.names)
  raise InputError(
    f'{text[:40]!r} is not a {column.name} of this model, which has {known[:500]}.{suggestion}'
  )


def _warn_outside(column: Column, values: np.ndarray) -> None:
  """Prints a line where numbers lie outside of what the model was trained on."""
  given = column.in_units(values.astype(np.float64))
  slack = 1e-5 * (column.high - column.low)
  outside = given[(given < column.low - slack) | (given > column.high + slack)]
  if len(outside):
    unit = f' {column.unit}' if column.unit else ''
    print(
      f'Warning: {column.name}={outside[0]:.4g} lies outside of the trained range, '
      f'{column.low:.4g} to {column.high:.4g}{unit}. Expect little of it.'
    )
