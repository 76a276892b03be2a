"""The ELBO of a whole split."""

import math
from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics
from jax import Array

from cvae_jax import devices, keys
from cvae_jax.data import batches, transforms
from cvae_jax.models.cvae import CVAE
from cvae_jax.objectives import bounds
from cvae_jax.objectives.likelihoods import Likelihood


@flax.struct.dataclass
class ElboMetrics(metrics.Collection):
  """Means over images, in nats."""

  negative_elbo: metrics.Average.from_output('negative_elbo')
  reconstruction: metrics.Average.from_output('reconstruction')
  kl: metrics.Average.from_output('kl')


def make_evaluate(
  model: CVAE, likelihood: Likelihood, binarize: str, batch_size: int, mesh
) -> Callable[..., dict[str, float]]:
  """The negative ELBO at β = 1 of every image, one posterior draw each.

  The noise of an image depends on the key and its row alone: neither on the batch size nor on the
  order, and with one key two models are compared on the same draws.

  Returns:
    evaluate(variables, images, labels, key) with images uint8 [N, H, W, C] on the device: the
    means over images of negative ELBO, reconstruction and KL in nats.
  """
  sharding = devices.split_batch(mesh)

  def evaluate_batch(constants, collected, batch):
    variables, images, labels, key = constants
    rows, mask = jax.lax.with_sharding_constraint(batch, sharding)
    images, labels = images[rows], labels[rows]
    image_keys = jax.vmap(jax.random.split)(keys.per_example(key, rows))
    images = transforms.to_unit_interval(images)
    if binarize == 'dynamic':
      images = jax.vmap(transforms.binarize)(image_keys[:, 0], images)
    images = transforms.to_pixel_range(images, likelihood.pixel_range)
    draw = partial(jax.vmap(bounds.reparameterize), image_keys[:, 1])
    outputs, mean, logvar = model.apply(variables, images, labels, draw=draw, train=False)
    reconstruction = -likelihood.log_prob(images, outputs)
    kl = jnp.sum(bounds.kl_to_standard_normal(mean, logvar), axis=-1)
    return collected.merge(
      ElboMetrics.single_from_model_output(
        negative_elbo=reconstruction + kl, reconstruction=reconstruction, kl=kl, mask=mask
      )
    )

  run = devices.compile_fold(evaluate_batch)

  def evaluate(variables, images: Array, labels: Array, key: Array) -> dict[str, float]:
    collected = run(
      (variables, images, labels, key),
      ElboMetrics.empty(),
      batches.padded(len(images), batch_size),
    )
    return {name: float(value) for name, value in jax.device_get(collected.compute()).items()}

  return evaluate


def bits_per_dimension(negative_elbo: float, image_shape: tuple[int, ...]) -> float:
  """Nats per image to bits per pixel and channel; for densities over discrete values only."""
  return negative_elbo / (math.prod(image_shape) * math.log(2))
