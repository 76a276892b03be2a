"""From latents to pictures: what a trained model draws."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from cvae_jax.data import transforms
from cvae_jax.models import priors
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import keys

GRID_COLUMNS = 10
MAX_GRID_ROWS = 20
SQUARE_COLUMNS = 8


def make_draw_prior(model: CVAE) -> Callable[[dict, Array, Array, Array, Array], Array]:
  """Compiles (variables, labels, key, indices, temperature) -> z ~ p(z | c), [N, latent] float32.

  A latent depends on the key, its own number in `indices` and its class. The temperature is a
  factor on the standard deviation of what it is drawn from; 1 is the prior.
  """

  @jax.jit
  def draw_prior(variables, labels, key, indices, temperature):
    image_keys = keys.per_example(key, indices)
    return model.apply(variables, image_keys, labels, temperature, method='draw_prior')

  return draw_prior


def make_change_class(model: CVAE) -> Callable[[dict, Array, Array, Array], Array]:
  """Compiles (variables, latents, labels, others) -> the same noise in others, [N, latent]."""

  @jax.jit
  def change_class(variables, latents, labels, others):
    return model.apply(variables, latents, labels, others, method='change_class')

  return change_class


@jax.jit
def draw_gaussian(
  mean: Array, logvar: Array, indices: Array, key: Array, temperature: Array
) -> Array:
  """Draws from N(mean, temperature² exp(logvar)), [N, latent], each by its number in `indices`."""
  return priors.Gaussian(mean, logvar).draw(keys.per_example(key, indices), temperature)


def make_decode_mean(model: CVAE, likelihood: Likelihood) -> Callable[[dict, Array, Array], Array]:
  """Compiles (variables, latents, labels) -> E[x | z, c] as images [N, H, W, C] in [0, 1]."""

  @jax.jit
  def decode_mean(variables, latents, labels):
    outputs = model.apply(variables, latents, labels, train=False, method='decode')
    return transforms.to_display(likelihood.mean(outputs), likelihood.pixel_range)

  return decode_mean


def make_decode_draw(
  model: CVAE, likelihood: Likelihood
) -> Callable[[dict, Array, Array, Array, Array], Array]:
  """Compiles (variables, latents, labels, key, indices) -> x ~ p(x | z, c), [N, H, W, C] in [0, 1].

  The pixels of an image depend on the key and its own number in `indices`.
  """

  @jax.jit
  def decode_draw(variables, latents, labels, key, indices):
    outputs = model.apply(variables, latents, labels, train=False, method='decode')
    pixels = jax.vmap(likelihood.sample)(keys.per_example(key, indices), outputs)
    return transforms.to_display(pixels, likelihood.pixel_range)

  return decode_draw


def make_encode(model: CVAE, likelihood: Likelihood) -> Callable[[dict, Array, Array], tuple]:
  """Compiles (variables, images, labels) -> mean and log-variance of q(z | x, c), [N, latent].

  Images are [N, H, W, C] float32 in [0, 1].
  """

  @jax.jit
  def encode(variables, images, labels):
    pixels = transforms.to_pixel_range(images, likelihood.pixel_range)
    return model.apply(variables, pixels, labels, train=False, method='encode')

  return encode


def grid_labels(config) -> tuple[Array, int]:
  """The labels of a grid of samples, and its columns.

  A row for each class, the first MAX_GRID_ROWS of them: 0, 0, ..., 1, 1, ... An unconditional
  model, whose labels say nothing, gets a square.
  """
  if not config.conditional:
    return jnp.zeros(SQUARE_COLUMNS**2, jnp.int32), SQUARE_COLUMNS
  rows = min(config.data.num_classes, MAX_GRID_ROWS)
  return jnp.repeat(jnp.arange(rows, dtype=jnp.int32), GRID_COLUMNS), GRID_COLUMNS
