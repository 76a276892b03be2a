"""A task's validation terms, averaged over a whole split."""

from collections.abc import Callable

import jax
import numpy as np
from clu import metrics
from jax import Array

from cvae_jax.data import batches
from cvae_jax.runtime import devices, keys
from cvae_jax.tasks import Task

PIECE_BYTES = 1 << 26  # of images that are brought to the device at once


def make_evaluate(task: Task, batch_size: int, mesh) -> Callable[..., dict[str, float]]:
  """Compiles the mean of `Task.evaluate` over images; each counts exactly once.

  The noise of an image depends on the key and its row alone: neither on the batch size nor on the
  order. With one key, two models are compared on the same draws.

  Args:
    task: gives the terms.
    batch_size: images at once.
    mesh: the devices over which they are split.

  Returns:
    evaluate(variables, images, conditions, key) with images uint8 [N, H, W, C]: means by name.
    Images on the device are read where they lie, those on the host (NumPy) are brought there in
    pieces.
  """
  sharding = devices.split_batch(mesh)
  means = metrics.Collection.create(
    **{name: metrics.Average.from_output(name) for name in task.validation_terms}
  )

  def evaluate_batch(constants, collected, batch):
    variables, images, conditions, first, key = constants
    rows, mask = jax.lax.with_sharding_constraint(batch, sharding)
    image_keys = keys.per_example(key, first + rows)
    terms = task.evaluate(variables, (images[rows], conditions[rows]), image_keys)
    return collected.merge(means.single_from_model_output(**terms, mask=mask))

  run = devices.compile_fold(evaluate_batch, dict(task.compiler_options))

  def evaluate(variables, images: Array, conditions: Array, key: Array) -> dict[str, float]:
    collected = means.empty()
    for first, *piece in _pieces(images, conditions, batch_size, devices.replicated(mesh)):
      padded = batches.padded(len(piece[0]), batch_size)
      collected = run((variables, *piece, np.int32(first), key), collected, padded)
    values = jax.device_get(collected.compute())
    return {name: float(values[name]) for name in task.validation_terms}

  return evaluate


def _pieces(images: Array | np.ndarray, conditions: Array | np.ndarray, batch_size: int, sharding):
  """(number of its first image, images, conditions) of pieces that lie on the device."""
  if isinstance(images, jax.Array):
    yield 0, images, conditions
    return
  # Whole batches, so that only the last one is padded.
  size = max(1, PIECE_BYTES // images[0].nbytes // batch_size) * batch_size
  for first in range(0, len(images), size):
    piece = images[first : first + size], conditions[first : first + size]
    yield first, *devices.place(piece, sharding)
