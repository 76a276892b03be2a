"""From bytes to the pixels that a likelihood sees, and back, inside the compiled step."""

import jax
import jax.numpy as jnp
from jax import Array


def to_unit_interval(images: Array) -> Array:
  """uint8 [...] to float32 in [0, 1]."""
  return images.astype(jnp.float32) / 255


def binarize(key: Array, images: Array) -> Array:
  """Dynamic binarization: draws each pixel as Bernoulli(grey value), float32 0 or 1.

  Salakhutdinov & Murray 2008.
  """
  # Not jax.random.bernoulli, which draws its uniforms in the dtype of the probability.
  return (jax.random.uniform(key, images.shape, jnp.float32) < images).astype(jnp.float32)


def to_pixel_range(images: Array, pixel_range: tuple[float, float]) -> Array:
  """[0, 1] to the range of a likelihood."""
  low, high = pixel_range
  return low + images * (high - low)


def to_display(pixels: Array, pixel_range: tuple[float, float]) -> Array:
  """The range of a likelihood to [0, 1], clipped."""
  low, high = pixel_range
  return jnp.clip((pixels - low) / (high - low), 0.0, 1.0)
