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
  return -0.5 * jnp.sum(squared + logvar + jnp.log(2 * jnp.pi), axis=-1)


def with_free_bits(kl: Array, free_bits: float) -> Array:
  """The KL that the objective counts: per latent dimension at least `free_bits`, of the batch mean.

  Below it a dimension has no gradient, so that it need not collapse (Kingma et al. 2016, with
  every dimension a group of its own).

  Args:
    kl: [B, latent] nats.
    free_bits: nats per latent dimension; 0 gives the mean over images of the sum.

  Returns:
    A scalar, summed over latents.
  """
  return jnp.sum(jnp.maximum(jnp.mean(kl, axis=0), free_bits))


def importance_weighted(log_weights: Array) -> Array:
  """log (1/k) Σᵢ wᵢ, a bound on log p(x) that rises with k (Burda et al. 2016).

  Args:
    log_weights: [k, ...] of log p(x | zᵢ) + log p(zᵢ) − log q(zᵢ | x), nats.

  Returns:
    [...] nats.
  """
  return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(len(log_weights))
