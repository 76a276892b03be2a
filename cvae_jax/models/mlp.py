"""Encoder and decoder of dense layers only."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from cvae_jax.models.architectures import ARCHITECTURES, Features, Images, check_norm
from cvae_jax.models.blocks import Activate, Style


class MLPEncoder(nn.Module):
  """Images to one feature vector: flatten, then a dense layer per width."""

  widths: tuple[int, ...]
  style: Style

  @nn.compact
  def __call__(self, images: Images, train: bool) -> Features:
    hidden = images.reshape(images.shape[0], -1)
    for layer, width in enumerate(self.widths):
      hidden = nn.Dense(width, dtype=self.style.dtype, name=f'dense{layer}')(hidden)
      hidden = Activate(self.style, name=f'activate{layer}')(hidden, train)
    return hidden.astype(jnp.float32)


class MLPDecoder(nn.Module):
  """Features to decoder outputs: the widths in reverse, then a value per pixel and channel."""

  widths: tuple[int, ...]
  image_shape: tuple[int, int, int]
  style: Style

  @nn.compact
  def __call__(self, features: Features, train: bool) -> Images:
    hidden = features
    for layer, width in reversed(list(enumerate(self.widths))):
      hidden = nn.Dense(width, dtype=self.style.dtype, name=f'dense{layer}')(hidden)
      hidden = Activate(self.style, name=f'activate{layer}')(hidden, train)
    # float32: the likelihood reads these values, and bfloat16 has only three digits.
    output = nn.Dense(
      math.prod(self.image_shape),
      dtype=jnp.float32,
      precision=jax.lax.Precision.HIGHEST,
      name='output',
    )
    return output(hidden).reshape(-1, *self.image_shape)


@ARCHITECTURES.register('mlp', check_norm)
def _mlp(config, image_shape, style: Style) -> tuple[MLPEncoder, MLPDecoder]:
  widths = tuple(config.model.channels)
  return MLPEncoder(widths, style), MLPDecoder(widths, image_shape, style)
