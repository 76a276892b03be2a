"""The ResNet encoder and decoder.

With channels (32, 64), depth 1 and 28×28 images this is the network of the README: two stages down,
two up, a 7×7 map between.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from cvae_jax.models.architectures import ARCHITECTURES, check_norm, check_stages
from cvae_jax.models.blocks import Norm, ResBlock, Style, centre_crop, conv3x3


class ResNetEncoder(nn.Module):
  """Images to one feature vector: stem, stages, a 'keep' block, average pool or flatten.

  A stage is a 'down' block and `depth` − 1 blocks that keep its size.
  """

  channels: tuple[int, ...]
  depth: int
  pool: bool
  style: Style

  @nn.compact
  def __call__(self, images: Array, train: bool) -> Array:
    """[B, H, W, C] to [B, channels[-1]] float32, or flattened [B, H' · W' · channels[-1]]."""
    hidden = conv3x3(self.channels[0], self.style.dtype, name='stem')(images)
    hidden = self.style.activation(Norm(self.style, name='stem_norm')(hidden, train))
    for stage, channels in enumerate(self.channels):
      hidden = ResBlock(channels, 'down', self.style, name=f'down{stage}')(hidden, train)
      for block in range(1, self.depth):
        name = f'down{stage}_keep{block}'
        hidden = ResBlock(channels, 'keep', self.style, name=name)(hidden, train)
    hidden = ResBlock(self.channels[-1], 'keep', self.style, name='middle')(hidden, train)
    if not self.pool:
      return hidden.reshape(len(hidden), -1).astype(jnp.float32)
    return jnp.mean(hidden, axis=(1, 2), dtype=jnp.float32)


class ResNetDecoder(nn.Module):
  """Features to decoder outputs: dense, reshape, stages, a 1×1 convolution.

  A stage is `depth` − 1 blocks that keep its size, then an 'up' block.
  """

  channels: tuple[int, ...]
  depth: int
  image_shape: tuple[int, int, int]
  style: Style

  @nn.compact
  def __call__(self, features: Array, train: bool) -> Array:
    """[B, F] to [B, H, W, C] float32; a size that the stages do not divide is centre-cropped."""
    height, width, image_channels = self.image_shape
    reduction = 2 ** len(self.channels)
    map_shape = (-(-height // reduction), -(-width // reduction), self.channels[-1])
    project = nn.Dense(math.prod(map_shape), dtype=self.style.dtype, name='project')
    hidden = project(features).reshape(-1, *map_shape)
    for stage, channels in reversed(list(enumerate(self.channels))):
      for block in range(1, self.depth):
        name = f'up{stage}_keep{block}'
        hidden = ResBlock(hidden.shape[-1], 'keep', self.style, name=name)(hidden, train)
      hidden = ResBlock(channels, 'up', self.style, name=f'up{stage}')(hidden, train)
    hidden = centre_crop(hidden, height, width)
    # The likelihood reads these values, and bfloat16 keeps only three digits of a logit.
    output = nn.Conv(
      image_channels, (1, 1), dtype=jnp.float32, precision=jax.lax.Precision.HIGHEST, name='output'
    )
    return output(hidden)


def _check(config) -> None:
  check_norm(config)
  check_stages(config)


# YNNPACK takes 1.1 to 2 times as long as Eigen for these convolutions: leave it the dot products.
@ARCHITECTURES.register(
  'resnet',
  _check,
  xla_cpu_options={'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'},
)
def _resnet(config, image_shape, style: Style) -> tuple[ResNetEncoder, ResNetDecoder]:
  channels, depth = tuple(config.model.channels), config.model.depth
  return (
    ResNetEncoder(channels, depth, config.model.pool, style),
    ResNetDecoder(channels, depth, image_shape, style),
  )
