"""Plain convolutional encoders and decoders: a strided convolution per stage, and its transpose.

With channels (32, 64, 128), a hidden layer of 256 and 32×32 images this is the ConvVAE of the
README; without the hidden layer and with a resize at the end, its baseline for any image size.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from cvae_jax.models.architectures import ARCHITECTURES, check_norm, check_stages
from cvae_jax.models.blocks import Activate, DoublingConv, Style, centre_crop, conv3x3


class ConvEncoder(nn.Module):
  """Images to one feature vector: a convolution of stride 2 per stage, flatten, dense."""

  channels: tuple[int, ...]
  hidden_dim: int | None  # size of the dense layer; None leaves it out
  style: Style

  @nn.compact
  def __call__(self, images: Array, train: bool) -> Array:
    """[B, H, W, C] to [B, hidden_dim], or to the flattened map, float32."""
    hidden = images
    for stage, channels in enumerate(self.channels):
      hidden = conv3x3(channels, self.style.dtype, stride=2, name=f'conv{stage}')(hidden)
      hidden = Activate(self.style, name=f'activate{stage}')(hidden, train)
    # Channels first, as PyTorch flattens: a port's dense weights need no reordering.
    hidden = hidden.transpose(0, 3, 1, 2).reshape(len(hidden), -1)
    if self.hidden_dim is not None:
      hidden = nn.Dense(self.hidden_dim, dtype=self.style.dtype, name='dense')(hidden)
      hidden = Activate(self.style, name='activate_dense')(hidden, train)
    return hidden.astype(jnp.float32)


class ConvDecoder(nn.Module):
  """Features to decoder outputs: dense, reshape, a transposed convolution of stride 2 per stage."""

  channels: tuple[int, ...]
  hidden_dim: int | None  # size of the first dense layer; None leaves it out
  image_shape: tuple[int, int, int]
  style: Style
  resize: bool  # a size that the stages do not divide is resized bilinearly, else centre-cropped

  @nn.compact
  def __call__(self, features: Array, train: bool) -> Array:
    """[B, F] to [B, H, W, C] float32."""
    (height, width, image_channels), dtype = self.image_shape, self.style.dtype
    hidden = features
    if self.hidden_dim is not None:
      hidden = nn.Dense(self.hidden_dim, dtype=dtype, name='dense')(hidden)
      hidden = Activate(self.style, name='activate_dense')(hidden, train)
    reduction = 2 ** len(self.channels)
    map_shape = (self.channels[-1], -(-height // reduction), -(-width // reduction))
    hidden = nn.Dense(math.prod(map_shape), dtype=dtype, name='project')(hidden)
    # Channels first, as in the encoder.
    hidden = hidden.reshape(-1, *map_shape).transpose(0, 2, 3, 1)
    hidden = Activate(self.style, name='activate_project')(hidden, train)
    for stage in reversed(range(1, len(self.channels))):
      hidden = DoublingConv(self.channels[stage - 1], dtype, name=f'double{stage}')(hidden)
      hidden = Activate(self.style, name=f'activate{stage}')(hidden, train)
    # The likelihood reads these values, and bfloat16 keeps only three digits of a logit.
    hidden = DoublingConv(image_channels, jnp.float32, jax.lax.Precision.HIGHEST, name='double0')(
      hidden
    )
    if self.resize:
      return jax.image.resize(hidden, (len(hidden), *self.image_shape), 'bilinear')
    return centre_crop(hidden, height, width)


def _check(config) -> None:
  check_norm(config, 'hidden_dim')
  check_stages(config)


@ARCHITECTURES.register('conv', _check)
def _conv(config, image_shape, style: Style) -> tuple[ConvEncoder, ConvDecoder]:
  channels, hidden_dim = tuple(config.model.channels), config.model.hidden_dim
  return (
    ConvEncoder(channels, hidden_dim, style),
    ConvDecoder(channels, hidden_dim, image_shape, style, resize=False),
  )


def _check_resize(config) -> None:
  check_norm(config)
  check_stages(config)


@ARCHITECTURES.register('conv_resize', _check_resize)
def _conv_resize(config, image_shape, style: Style) -> tuple[ConvEncoder, ConvDecoder]:
  channels = tuple(config.model.channels)
  return ConvEncoder(channels, None, style), ConvDecoder(channels, None, image_shape, style, True)
