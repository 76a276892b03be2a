"""Diagonal Gaussians over latents: draws, densities and divergences, in nats."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key


def reparameterize(
  key: Key[Array, ''],
  mean: Float[ArrayLike, '*batch latent'],
  logvar: Float[ArrayLike, '*batch latent'],
) -> Float[Array, '*batch latent']:
  """z = mean + exp(logvar / 2) ⊙ ε with ε ~ N(0, I) (Kingma & Welling 2014, section 2.4)."""
  return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape, mean.dtype)


def kl(
  mean: Float[ArrayLike, '*batch latent'],
  logvar: Float[ArrayLike, '*batch latent'],
  prior_mean: Float[ArrayLike, '*#batch latent'],
  prior_logvar: Float[ArrayLike, '*#batch latent'],
) -> Float[Array, '*batch latent']:
  """KL(N(mean, exp(logvar)) ‖ N(prior_mean, exp(prior_logvar))) per latent dimension, in nats.

  Sum the last axis for the KL of one image (Kingma & Welling 2014, appendix B, is the case of a
  prior N(0, I)).
  """
  log_ratio = logvar - prior_logvar
  squared = jnp.square(mean - prior_mean) * jnp.exp(-prior_logvar)
  # expm1(s) − s is exact to rounding near s = 0, where exp(s) − 1 − s cancels.
  return 0.5 * (squared + jnp.expm1(log_ratio) - log_ratio)


def log_normal(
  values: Float[ArrayLike, '*#batch latent'],
  mean: Float[ArrayLike, '*#batch #latent'],
  logvar: Float[ArrayLike, '*#batch #latent'],
) -> Float[Array, '*batch']:
  """log N(values; mean, exp(logvar)) of a diagonal Gaussian, in nats, summed over latents."""
  squared = jnp.square(values - mean) * jnp.exp(-logvar)
  return -0.5 * jnp.sum(squared + logvar + math.log(2 * math.pi), axis=-1)
