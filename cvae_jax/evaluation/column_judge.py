"""The judge of conditions that are no class: one network that reads every column off an image."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from cvae_jax.config import Column
from cvae_jax.data import batches, datasets
from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import classifier
from cvae_jax.evaluation.classifier import Images

RECIPE = 1  # to be increased whenever the same images would give another judge


class Head(NamedTuple):
  """The outputs of the network that are of one column."""

  column: Column
  outputs: slice  # logits of names, log-odds of a flag, or a standardized number


@dataclasses.dataclass(frozen=True)
class ColumnJudge:
  """A trained network, which judges each image independently of the others."""

  variables: dict
  columns: tuple[Column, ...]

  def read(self, images: Images) -> dict[str, Float[np.ndarray, ' images']]:
    """By column: the number of the likeliest name, the log-odds of a flag, or the number."""
    heads = _heads(self.columns)
    apply = functools.partial(classifier.outputs, heads[-1].outputs.stop, self.variables)
    _, outputs = batches.map_rows(apply, classifier.EVALUATION_BATCH, images)
    return {head.column.name: _read(head, outputs) for head in heads}


def _heads(columns: tuple[Column, ...]) -> list[Head]:
  heads, start = [], 0
  for column in columns:
    stop = start + (len(column.names) if column.kind == 'category' else 1)
    heads.append(Head(column, slice(start, stop)))
    start = stop
  return heads


def _read(head: Head, outputs: Float[np.ndarray, 'images outputs']) -> np.ndarray:
  column, own = head.column, outputs[:, head.outputs]
  if column.kind == 'category':
    return own.argmax(axis=1).astype(np.float32)
  return own[:, 0] if column.kind == 'flag' else column.in_units(own[:, 0])


def _loss(
  columns: tuple[Column, ...],
  outputs: Float[Array, 'batch outputs'],
  values: Float[Array, 'batch columns'],
) -> Float[Array, '']:
  """Cross-entropies, and squared errors of standardized numbers, where a cell is not empty.

  Each is a mean over images, and they are summed over columns.
  """
  total = jnp.zeros(())
  for number, head in enumerate(_heads(columns)):
    own, target = outputs[:, head.outputs], values[:, number]
    is_known, target = ~jnp.isnan(target), jnp.nan_to_num(target)
    if head.column.kind == 'category':
      targets = classifier.smoothed(target.astype(jnp.int32), len(head.column.names))
      loss = optax.softmax_cross_entropy(own, targets)
    elif head.column.kind == 'flag':
      loss = optax.sigmoid_binary_cross_entropy(own[:, 0], target)
    else:
      loss = jnp.square(own[:, 0] - target)
    total += jnp.sum(jnp.where(is_known, loss, 0.0)) / jnp.maximum(jnp.sum(is_known), 1)
  return total


def reference(data, training: Dataset, numbers: list[int]) -> ColumnJudge:
  """The judge of some columns of a dataset: from the user's cache, or trained and stored there.

  Images are not augmented where a number is among the columns: turned or mirrored they may have
  another one.

  Args:
    data: `config.data`.
    training: the images to train it on.
    numbers: of the columns.
  """
  columns = tuple(training.columns[number] for number in numbers)
  table = training.table._replace(columns=columns, values=training.table.values[:, numbers])
  mirrored = DATASETS.trait(data.name, 'mirrored', False)
  options = {}
  if all(column.kind != 'number' for column in columns):
    options['changed'] = functools.partial(classifier.augment, mirrored=mirrored)
  recipe = f'columns-{datasets.fingerprint(training._replace(table=table))}-{mirrored}-{RECIPE}'
  num_outputs = _heads(columns)[-1].outputs.stop
  initialize = classifier.initializer(num_outputs, training.images.shape)

  def train(advance):
    images = np.asarray(training.images)  # they may lie in a file
    loss = functools.partial(_loss, columns)
    fitted = classifier.fit(images, table.values, num_outputs, loss, advance=advance, **options)
    return ColumnJudge(fitted, columns)

  return classifier.cached(
    recipe,
    jax.eval_shape(initialize, jax.random.key(0)),
    functools.partial(ColumnJudge, columns=columns),
    f'training a judge of the conditions of {data.name}, once',
    train,
  )
