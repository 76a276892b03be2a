"""p(x | z, c): decoder outputs to log-densities, means and draws.

A likelihood is a frozen dataclass with a `pixel_range` (what black and white become before the
network sees them) and three pure functions. All arithmetic is in float32, whatever the network
computed in.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class Bernoulli:
  """Independent Bernoulli pixels; the decoder gives logits, images lie in [0, 1].

  On binary images this is a probability; on grey values it is the usual cross-entropy, which is
  no likelihood.
  """

  pixel_range = (0.0, 1.0)

  def log_prob(self, images: Array, logits: Array) -> Array:
    """log p(x | z), stable for any logit.

    Args:
      images: [..., H, W, C] in [0, 1].
      logits: [..., H, W, C] log-odds of a white pixel.

    Returns:
      [...] nats, summed over pixels and channels.
    """
    images, logits = images.astype(jnp.float32), logits.astype(jnp.float32)
    # log σ(l) = −softplus(−l) and log(1 − σ(l)) = −softplus(l): no logarithm of a rounded σ.
    return jnp.sum(images * logits - jax.nn.softplus(logits), axis=(-3, -2, -1))

  def mean(self, logits: Array) -> Array:
    """E[x | z] = σ(logits), [..., H, W, C] in [0, 1]."""
    return jax.nn.sigmoid(logits.astype(jnp.float32))

  def sample(self, key: Array, logits: Array) -> Array:
    """One draw of x given z: [..., H, W, C], each pixel 0 or 1."""
    # Explicit float32 uniforms: jax.random.bernoulli draws them in the probability's dtype.
    uniforms = jax.random.uniform(key, logits.shape, jnp.float32)
    return (uniforms < self.mean(logits)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Independent normal pixels with one fixed standard deviation; images lie in [-1, 1]."""

  sigma: float
  pixel_range = (-1.0, 1.0)

  def log_prob(self, images: Array, mean: Array) -> Array:
    """log N(x; mean, σ²), with its constant.

    Args:
      images: [..., H, W, C] in [-1, 1].
      mean: [..., H, W, C] decoder outputs.

    Returns:
      [...] nats, summed over pixels and channels.
    """
    residual = (images.astype(jnp.float32) - mean.astype(jnp.float32)) / self.sigma
    log_density = -0.5 * (jnp.square(residual) + math.log(2 * math.pi)) - math.log(self.sigma)
    return jnp.sum(log_density, axis=(-3, -2, -1))

  def mean(self, mean: Array) -> Array:
    """E[x | z], the decoder output itself: [..., H, W, C]."""
    return mean.astype(jnp.float32)

  def sample(self, key: Array, mean: Array) -> Array:
    """One draw of x given z: [..., H, W, C]."""
    return self.mean(mean) + self.sigma * jax.random.normal(key, mean.shape, jnp.float32)


Likelihood = Bernoulli | Gaussian


def build(config) -> Likelihood:
  """The likelihood that `config.likelihood` names, with its parameters."""
  if config.likelihood == 'bernoulli':
    return Bernoulli()
  if config.likelihood == 'gaussian':
    return Gaussian(sigma=config.sigma)
  raise ValueError(f'likelihood={config.likelihood!r} is not one of: bernoulli, gaussian.')
