"""The noise that a denoising autoencoder learns to remove."""

import jax
import jax.numpy as jnp
from jax import Array

KINDS = ('gaussian', 'salt_and_pepper', 'masking')


def corrupt(kind: str, level: float, key: Array, images: Array) -> Array:
  """Adds noise to images (Vincent et al. 2010, section 3.3).

  Args:
    kind: 'gaussian' adds noise of standard deviation `level` and clips. 'salt_and_pepper' sets a
      fraction `level` of the pixels to 0 or 1, equally often, in all channels; 'masking' to 0.
    level: 0 changes nothing.
    key: of the noise.
    images: float32 [..., H, W, C] in [0, 1].

  Returns:
    float32 [..., H, W, C] in [0, 1].

  Raises:
    ValueError: an unknown kind.
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
