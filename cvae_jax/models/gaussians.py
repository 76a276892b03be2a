"""Diagonal Gaussians over latents: draws, densities, divergences, in nats."""

import math

import jax
import jax.numpy as jnp
from jax import Array


def reparameterize(key: Array, mean: Array, logvar: Array) -> Array:
  """z = mean + exp(logvar / 2) ⊙ ε with ε ~ N(0, I) (Kingma & Welling 2014, section 2.4).

  Args:
    key: one key.
    mean: [..., latent] means.
    logvar: [..., latent] log-variances.

  Returns:
    [..., latent] draws.
  """
  return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape, mean.dtype)


def kl(mean: Array, logvar: Array, prior_mean: Array, prior_logvar: Array) -> Array:
  """KL(N(mean, exp(logvar)) ‖ N(prior_mean, exp(prior_logvar))) per latent dimension, in nats.

  Args:
    mean: [..., latent] posterior means.
    logvar: [..., latent] posterior log-variances.
    prior_mean: [..., latent] of the prior, in a shape that broadcasts with as many axes.
    prior_logvar: the same.

  Returns:
    [..., latent]; sum the last axis for the KL of one image (Kingma & Welling 2014, appendix B, is
    the case of a prior N(0, I)).
  """
  log_ratio = logvar - prior_logvar
  squared = jnp.square(mean - prior_mean) * jnp.exp(-prior_logvar)
  # expm1(s) − s is exact to rounding near s = 0, where exp(s) − 1 − s cancels.
  return 0.5 * (squared + jnp.expm1(log_ratio) - log_ratio)


def log_normal(values: Array, mean: Array, logvar: Array) -> Array:
  """log N(values; mean, exp(logvar)) of a diagonal Gaussian, in nats.

  Args:
    values: [..., latent].
    mean: of a shape that broadcasts to it, with as many axes.
    logvar: the same.

  Returns:
    [...], summed over latents.
  """
  squared = jnp.square(values - mean) * jnp.exp(-logvar)
  return -0.5 * jnp.sum(squared + logvar + math.log(2 * math.pi), axis=-1)
