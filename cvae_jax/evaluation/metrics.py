"""The ELBO of a whole split."""

import math
from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jax import Array

from cvae_jax.data import batches, transforms
from cvae_jax.evaluation.likelihood import observe
from cvae_jax.models import gaussians
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import devices

PIECE_BYTES = 1 << 26  # of images that are brought to the device to be evaluated


@flax.struct.dataclass
class ElboMetrics(metrics.Collection):
  """Means over images, in nats."""

  negative_elbo: metrics.Average.from_output('negative_elbo')
  reconstruction: metrics.Average.from_output('reconstruction')
  kl: metrics.Average.from_output('kl')


def make_evaluate(
  model: CVAE,
  likelihood: Likelihood,
  binarize: str,
  batch_size: int,
  mesh,
  options: dict[str, str],
  corrupt: Callable[[Array, Array], Array] | None = None,
) -> Callable[..., dict[str, float]]:
  """The negative ELBO at β = 1 of every image, one posterior draw each.

  The noise of an image depends on the key and its row alone: neither on the batch size nor on the
  order, and with one key two models are compared on the same draws.

  Of a denoising autoencoder, which has no KL, the encoder's mean of corrupted images.

  Args:
    model: the network.
    likelihood: p(x | z, c).
    binarize: `config.data.binarize`.
    batch_size: images at once.
    mesh: the devices over which they are split.
    options: from `devices.compiler_options`.
    corrupt: from `corruption.build`.

  Returns:
    evaluate(variables, images, labels, key) with images uint8 [N, H, W, C]: the means over images
    of negative ELBO, reconstruction and KL in nats. Images on the device are read where they lie,
    those on the host (NumPy) are brought there piece by piece.
  """
  sharding = devices.split_batch(mesh)

  def evaluate_batch(constants, collected, batch):
    variables, images, labels, first, key = constants
    rows, mask = jax.lax.with_sharding_constraint(batch, sharding)
    images, labels = images[rows], labels[rows]
    images, draw_keys = observe(images, first + rows, key, binarize)
    seen = jax.vmap(corrupt)(draw_keys, images) if corrupt else images
    images, seen = (transforms.to_pixel_range(x, likelihood.pixel_range) for x in (images, seen))
    draw = partial(jax.vmap(gaussians.reparameterize), draw_keys)
    if corrupt:
      draw = lambda mean, logvar: mean  # noqa: E731
    forward = model.apply(variables, seen, labels, draw=draw, train=False)
    reconstruction = -likelihood.log_prob(images, forward.outputs)
    kl = jnp.zeros_like(reconstruction) if corrupt else jnp.sum(forward.kl, axis=-1)
    return collected.merge(
      ElboMetrics.single_from_model_output(
        negative_elbo=reconstruction + kl, reconstruction=reconstruction, kl=kl, mask=mask
      )
    )

  run = devices.compile_fold(evaluate_batch, options)

  def evaluate(variables, images: Array, labels: Array, key: Array) -> dict[str, float]:
    collected = ElboMetrics.empty()
    for first, *piece in _pieces(images, labels, batch_size, devices.replicated(mesh)):
      padded = batches.padded(len(piece[0]), batch_size)
      collected = run((variables, *piece, np.int32(first), key), collected, padded)
    return {name: float(value) for name, value in jax.device_get(collected.compute()).items()}

  return evaluate


def _pieces(images: Array | np.ndarray, labels: Array | np.ndarray, batch_size: int, sharding):
  """(number of its first image, images, labels) of pieces that lie on the device."""
  if isinstance(images, jax.Array):
    yield 0, images, labels
    return
  # Whole batches, so that only the last one is padded.
  size = max(1, PIECE_BYTES // images[0].nbytes // batch_size) * batch_size
  for first in range(0, len(images), size):
    piece = images[first : first + size], labels[first : first + size]
    yield first, *devices.place(piece, sharding)


def bits_per_dimension(negative_elbo: float, image_shape: tuple[int, ...]) -> float:
  """Nats per image to bits per pixel and channel; for densities over discrete values only."""
  return negative_elbo / (math.prod(image_shape) * math.log(2))
