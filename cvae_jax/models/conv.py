"""Plain convolutional encoders and decoders: a strided convolution per stage, and its transpose.

The ConvVAE of configs/convvae_mnist.py has channels (32, 64, 128), a hidden layer of 256 and 32×32
images. Its baseline for any image size has no hidden layer, and resizes its outputs.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from cvae_jax.models.architectures import ARCHITECTURES, Features, Images, check_convolutions
from cvae_jax.models.blocks import Activate, Style, centre_crop, conv3x3
from cvae_jax.models.resampling import DoublingConv, Maps


class ConvEncoder(nn.Module):
  """Images to one feature vector: a convolution of stride 2 per stage, flatten, dense."""

  channels: tuple[int, ...]
  hidden_dim: int | None  # width of the dense layer; None: no such layer
  style: Style

  @nn.compact
  def __call__(self, images: Images, train: bool) -> Features:
    hidden = images
    for stage, channels in enumerate(self.channels):
      hidden = conv3x3(channels, self.style.dtype, stride=2, name=f'conv{stage}')(hidden)
      hidden = Activate(self.style, name=f'activate{stage}')(hidden, train)
    # Channels first, as PyTorch flattens: dense weights can be ported without reordering.
    hidden = hidden.transpose(0, 3, 1, 2).reshape(hidden.shape[0], -1)
    if self.hidden_dim is not None:
      hidden = nn.Dense(self.hidden_dim, dtype=self.style.dtype, name='dense')(hidden)
      hidden = Activate(self.style, name='activate_dense')(hidden, train)
    return hidden.astype(jnp.float32)


class ConvDecoder(nn.Module):
  """Features to decoder outputs: dense, reshape, a transposed convolution of stride 2 per stage."""

  channels: tuple[int, ...]
  hidden_dim: int | None  # width of the first dense layer; None: no such layer
  image_shape: tuple[int, int, int]
  style: Style
  resize: bool  # to the image's size, bilinearly; False: centre crop

  @nn.compact
  def __call__(self, features: Features, train: bool) -> Images:
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
    # float32: the likelihood reads these values, and bfloat16 has only three digits.
    hidden = DoublingConv(image_channels, jnp.float32, jax.lax.Precision.HIGHEST, name='double0')(
      hidden
    )
    if self.resize:
      return _resize(hidden, self.image_shape)
    return centre_crop(hidden, height, width)


def _resize(maps: Maps, shape: tuple[int, int, int]) -> Images:
  """As `jax.image.resize` does it bilinearly, which jax2onnx converts for fixed batches only."""
  scale = jnp.array([shape[0] / maps.shape[1], shape[1] / maps.shape[2]])
  shape = (maps.shape[0], *shape)
  return jax.image.scale_and_translate(maps, shape, (1, 2), scale, jnp.zeros(2), 'linear')


@ARCHITECTURES.register('conv', lambda config: check_convolutions(config, 'hidden_dim'))
def _conv(config, image_shape, style: Style) -> tuple[ConvEncoder, ConvDecoder]:
  channels, hidden_dim = tuple(config.model.channels), config.model.hidden_dim
  return (
    ConvEncoder(channels, hidden_dim, style),
    ConvDecoder(channels, hidden_dim, image_shape, style, resize=False),
  )


@ARCHITECTURES.register('conv_resize', check_convolutions)
def _conv_resize(config, image_shape, style: Style) -> tuple[ConvEncoder, ConvDecoder]:
  channels = tuple(config.model.channels)
  return ConvEncoder(channels, None, style), ConvDecoder(channels, None, image_shape, style, True)
