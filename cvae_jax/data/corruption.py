"""What a denoising autoencoder is to undo."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

KINDS = ('gaussian', 'salt_and_pepper', 'masking')


def corrupt(kind: str, level: float, key: Array, images: Array) -> Array:
  """Images [..., H, W, C] in [0, 1] with noise, in [0, 1] (Vincent et al. 2010, section 3.3).

  Args:
    kind: 'gaussian' noise of standard deviation `level`, clipped; 'salt_and_pepper', by which a
      share `level` of the pixels becomes 0 or 1, each as often; 'masking', by which it becomes 0.
      A pixel is one in all its channels.
    level: 0 changes nothing.
    key: of the noise.
    images: float32.

  Raises:
    ValueError: for a kind that is none of these.
  """
  if kind == 'gaussian':
    noise = jax.random.normal(key, images.shape, jnp.float32)
    return jnp.clip(images + level * noise, 0.0, 1.0)
  if kind not in KINDS:
    raise ValueError(f'corruption={kind!r} is not one of: {", ".join(KINDS)}.')
  uniforms = jax.random.uniform(key, (*images.shape[:-1], 1), jnp.float32)
  blank = 0.0
  if kind == 'salt_and_pepper':
    blank = jnp.where(uniforms < level / 2, 0.0, 1.0)
  return jnp.where(uniforms < level, blank, images)


def build(config) -> Callable[[Array, Array], Array] | None:
  """(key, images) -> corrupted images, as `config` asks; None where nothing is to be denoised."""
  if config.objective != 'dae':
    return None
  return partial(corrupt, config.data.corruption, config.data.corruption_level)
