"""Epochs and order: which examples make which batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Full batches in one pass; the rest of a shuffled epoch is left out, another part each time."""
  return num_examples // batch_size


def epoch_order(key: Array, epoch: Array, num_examples: int, batch_size: int) -> Array:
  """The batches of one epoch, a function of (key, epoch) alone.

  Args:
    key: of a run's stream 'order'.
    epoch: from 0.
    num_examples: how many there are.
    batch_size: how many make a batch.

  Returns:
    [steps, batch] int32 row numbers, no row twice.
  """
  key = jax.random.fold_in(key, epoch)
  steps = steps_per_epoch(num_examples, batch_size)
  order = jax.random.permutation(key, num_examples)[: steps * batch_size]
  return order.astype(jnp.int32).reshape(steps, batch_size)


def padded(num_examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Batches that hold every example exactly once, in order.

  Returns:
    Row numbers [batches, batch] int32 and a mask of the same shape, False where the last batch is
    filled up with repeats of the last row.
  """
  batches = -(-num_examples // batch_size)
  rows = np.arange(batches * batch_size, dtype=np.int32).reshape(batches, batch_size)
  return np.minimum(rows, num_examples - 1), rows < num_examples


def map_rows(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Any:
  """`function` of all rows, in pieces of at most `size`, so that memory stays bounded.

  Args:
    function: of as many arrays as are given; each row of what it returns, a pytree of arrays,
      depends on the same row of its inputs alone. It sees one shape: the last piece is filled up.
    size: rows of a piece.
    *arrays: with one length, [N, ...].

  Returns:
    The results on the host, [N, ...] each.
  """
  count = len(arrays[0])
  size = min(max(count, 1), size)
  pieces = []
  for begin in range(0, max(count, 1), size):
    rows = [array[begin : begin + size] for array in arrays]
    missing = size - len(rows[0])
    filled = [np.pad(row, [(0, missing)] + [(0, 0)] * (row.ndim - 1)) for row in rows]
    pieces.append(jax.device_get(function(*filled)))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *pieces)


def pieces(count: int, size: int) -> list[slice]:
  """Consecutive rows, `size` at a time, so that what is made of them does not matter to memory."""
  return [slice(begin, begin + size) for begin in range(0, count, size)]
