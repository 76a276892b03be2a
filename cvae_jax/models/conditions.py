"""Rows of a table of conditions as the network's inputs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from cvae_jax import config as config_lib

Rows = Float[ArrayLike, '*batch columns']  # see `config.Column`; NaN is unknown


class Input(NamedTuple):
  """What the network is given of one column."""

  kind: str  # 'category', 'flag' or 'number'
  num_names: int  # of a category; else 0
  has_unknown: bool  # there is an input that says so
  is_inferred: bool  # where it is missing, q(c | x) says what it may be; see `missing`


def of_config(config) -> tuple[Input, ...]:
  """The inputs of a checked config; () where conditions are numbers of classes."""
  return tuple(_input(config, *config_lib.inputs_of(text)) for text in config.data.columns)


def _input(config, kind: str, num_names: int, has_empty: bool) -> Input:
  is_inferred = kind == 'category' and has_empty and config.classifier_weight > 0
  has_unknown = config.condition_dropout > 0 or (has_empty and not is_inferred)
  return Input(kind, num_names, has_unknown, is_inferred)


def inputs_of(columns: tuple[Input, ...], rows: Rows) -> Float[Array, '*batch inputs']:
  """The inputs of the embedding: one-hots, flags and numbers, and which of them are unknown.

  An unknown value is all zeros and, where its column has an input for that, a one.

  Args:
    columns: of the table.
    rows: their values.
  """
  inputs = []
  for number, column in enumerate(columns):
    values = rows[..., number]
    is_unknown = jnp.isnan(values)[..., None]
    if column.kind == 'category':  # one_hot of −1 is zeros
      labels = jnp.where(is_unknown[..., 0], -1, values).astype(jnp.int32)
      inputs.append(jax.nn.one_hot(labels, column.num_names))
    else:
      inputs.append(jnp.where(is_unknown, 0.0, values[..., None]))
    if column.has_unknown:
      inputs.append(is_unknown.astype(jnp.float32))
  return jnp.concatenate(inputs, axis=-1)


def embedded_of(
  columns: tuple[Input, ...], num_classes: int, conditions: Rows | Int[ArrayLike, ' batch']
) -> Float[Array, 'batch inputs']:
  """The inputs of the embedding, of rows or, without columns, of numbers of classes."""
  if not columns:
    return jax.nn.one_hot(conditions, num_classes)
  return inputs_of(columns, conditions)


def labels_of(columns: tuple[Input, ...], rows: Rows) -> Int[Array, '*batch']:
  """The class of each row, the value of the first category; 0 where there is none."""
  number = config_lib.class_column(columns)
  if number is None:
    return jnp.zeros(rows.shape[:-1], jnp.int32)
  return jnp.nan_to_num(rows[..., number]).astype(jnp.int32)


def of_classes(
  columns: tuple[Input, ...],
  labels: Int[ArrayLike, ' rows'],
  known: Rows | Int[ArrayLike, ' batch'],
) -> Float[Array, 'rows columns'] | Int[ArrayLike, ' rows']:
  """Conditions of these classes; all else is as in the rows of `known`, one after another."""
  if not columns:
    return labels
  rows = jnp.resize(jnp.asarray(known), (len(labels), len(columns)))
  own = rows_of(columns, labels)
  return jnp.where(jnp.isnan(own), rows, own)


def hide(
  conditions: Rows | Int[ArrayLike, ' batch'], hidden: Bool[ArrayLike, ' batch'] | None
) -> Rows | Int[ArrayLike, ' batch']:
  """Rows [..., B, columns] that are unknown where they are hidden; None hides none."""
  return conditions if hidden is None else jnp.where(hidden[:, None], jnp.nan, conditions)


def rows_of(columns: tuple[Input, ...], labels: Int[ArrayLike, ' batch']) -> Rows:
  """Rows of these classes; all else is unknown."""
  rows = jnp.full((len(labels), len(columns)), jnp.nan, jnp.float32)
  number = config_lib.class_column(columns)
  return rows if number is None else rows.at[:, number].set(labels)
