"""Which examples are in which batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Full batches of an epoch; the remaining examples, others in each epoch, are left out."""
  return num_examples // batch_size


def epoch_order(key: Array, epoch: Array, num_examples: int, batch_size: int) -> Array:
  """Shuffles the examples into the batches of an epoch, as a function of (key, epoch).

  Args:
    key: the run's stream 'order'.
    epoch: from 0.
    num_examples: of the training split.
    batch_size: examples of a batch.

  Returns:
    [steps, batch] int32 indices, each at most once.
  """
  key = jax.random.fold_in(key, epoch)
  steps = steps_per_epoch(num_examples, batch_size)
  order = jax.random.permutation(key, num_examples)[: steps * batch_size]
  return order.astype(jnp.int32).reshape(steps, batch_size)


def balanced_order(
  key: Array, epoch: Array, labels: Array, num_classes: int, batch_size: int
) -> Array:
  """As `epoch_order`, but every class is equally often in an epoch, up to one image.

  Images of rare classes are repeated; of frequent ones each epoch takes others.

  Args:
    key: the run's stream 'order'.
    epoch: from 0.
    labels: int32 [N] of the training split; every class has an image.
    num_classes: of the labels 0, 1, ...
    batch_size: examples of a batch.

  Returns:
    [steps, batch] int32 indices.
  """
  order_key, slots_key = jax.random.split(jax.random.fold_in(key, epoch))
  steps = steps_per_epoch(len(labels), batch_size)
  labels, order = jnp.asarray(labels), jax.random.permutation(order_key, len(labels))
  # Class after class, shuffled within each.
  members = order[jnp.argsort(labels[order])].astype(jnp.int32)
  counts = jnp.bincount(labels, length=num_classes)
  begins = jnp.cumsum(counts) - counts
  slots = jax.random.permutation(slots_key, steps * batch_size)
  classes, turns = slots % num_classes, slots // num_classes
  return members[begins[classes] + turns % counts[classes]].reshape(steps, batch_size)


def labelled_order(
  key: Array, epoch: Array, is_labelled: Array, num_labelled: int, batch_size: int
) -> Array:
  """As `epoch_order`, but each batch has `num_labelled` images whose class is known.

  Of the images with and without a class, each is as often in an epoch as any other, up to one.

  Args:
    key: the run's stream 'order'.
    epoch: from 0.
    is_labelled: bool [N], some of each.
    num_labelled: in a batch.
    batch_size: examples of a batch.

  Returns:
    [steps, batch] int32 indices.
  """
  key = jax.random.fold_in(key, epoch)
  steps = steps_per_epoch(len(is_labelled), batch_size)

  def turns(key, members, count):
    order_key, slots_key = jax.random.split(key)
    members = jax.random.permutation(order_key, members)
    slots = jax.random.permutation(slots_key, steps * count)
    return members[slots % len(members)].reshape(steps, count)

  labelled, others = np.flatnonzero(is_labelled), np.flatnonzero(~is_labelled)
  counts = num_labelled, batch_size - num_labelled
  groups = zip(jax.random.split(key), (labelled, others), counts, strict=True)
  return jnp.concatenate([turns(*group) for group in groups], axis=1).astype(jnp.int32)


def padded(num_examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Batches that hold every example exactly once, in order.

  Returns:
    Indices [batches, batch] int32, and a mask of the same shape: False where the last batch repeats
    the last example to be full.
  """
  batches = -(-num_examples // batch_size)
  rows = np.arange(batches * batch_size, dtype=np.int32).reshape(batches, batch_size)
  return np.minimum(rows, num_examples - 1), rows < num_examples


def map_rows(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Any:
  """Applies a function to batches of rows, so that memory stays bounded.

  Args:
    function: of the arrays' rows, returns a pytree of arrays; each row of the result depends on
      the same row of the arrays only. It sees one shape: zeros fill the last batch.
    size: rows of a batch, at most.
    *arrays: [N, ...] each.

  Returns:
    The results of all rows on the host, [N, ...] each.
  """
  count = len(arrays[0])
  size = min(max(count, 1), size)
  results = []
  for begin in range(0, max(count, 1), size):
    rows = [array[begin : begin + size] for array in arrays]
    missing = size - len(rows[0])
    filled = [np.pad(row, [(0, missing)] + [(0, 0)] * (row.ndim - 1)) for row in rows]
    results.append(jax.device_get(function(*filled)))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *results)


def pieces(count: int, size: int) -> list[slice]:
  """Slices that cover `count` rows, `size` at a time."""
  return [slice(begin, begin + size) for begin in range(0, count, size)]
