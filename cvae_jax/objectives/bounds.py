"""KL divergences and bounds on log p(x), in nats."""

import jax
import jax.numpy as jnp
from jax import Array


def reparameterize(key: Array, mean: Array, logvar: Array) -> Array:
  """z = mean + exp(logvar / 2) ⊙ ε with ε ~ N(0, I) (Kingma & Welling 2014, section 2.4).

  Args:
    key: one key.
    mean: [..., latent] posterior means.
    logvar: [..., latent] posterior log-variances.

  Returns:
    [..., latent] draws.
  """
  return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape, mean.dtype)


def kl_to_standard_normal(mean: Array, logvar: Array) -> Array:
  """KL(N(mean, exp(logvar)) ‖ N(0, I)) per latent dimension, in nats.

  Args:
    mean: [..., latent] posterior means.
    logvar: [..., latent] posterior log-variances.

  Returns:
    [..., latent]; sum the last axis for the KL of one image (Kingma & Welling 2014, appendix B).
  """
  # expm1(s) − s is exact to rounding near s = 0, where exp(s) − 1 − s cancels.
  return 0.5 * (jnp.square(mean) + jnp.expm1(logvar) - logvar)
