"""The ResNet encoder and decoder.

The default network (docs/models.md) has channels (32, 64), depth 1 and 28×28 images: two stages
down to a 7×7 map, and two up.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from cvae_jax import config as config_lib
from cvae_jax.models.architectures import ARCHITECTURES, Features, Images, check_convolutions
from cvae_jax.models.blocks import XLA_CPU_OPTIONS, Norm, ResBlock, Style, centre_crop, conv3x3


class ResNetEncoder(nn.Module):
  """Images to one feature vector: stem, stages, a 'keep' block, average pool or flatten.

  A stage is a 'down' block, then `depth` − 1 'keep' blocks.
  """

  channels: tuple[int, ...]
  depth: int
  pool: bool
  style: Style

  @nn.compact
  def __call__(self, images: Images, train: bool) -> Features:
    hidden = conv3x3(self.channels[0], self.style.dtype, name='stem')(images)
    hidden = self.style.activation(Norm(self.style, name='stem_norm')(hidden, train))
    for stage, channels in enumerate(self.channels):
      hidden = ResBlock(channels, 'down', self.style, name=f'down{stage}')(hidden, train)
      for block in range(1, self.depth):
        name = f'down{stage}_keep{block}'
        hidden = ResBlock(channels, 'keep', self.style, name=name)(hidden, train)
    hidden = ResBlock(self.channels[-1], 'keep', self.style, name='middle')(hidden, train)
    if not self.pool:
      return hidden.reshape(hidden.shape[0], -1).astype(jnp.float32)
    return jnp.mean(hidden, axis=(1, 2), dtype=jnp.float32)


class ResNetDecoder(nn.Module):
  """Features to decoder outputs: dense, reshape, stages, centre crop, a 1×1 convolution.

  A stage is `depth` − 1 'keep' blocks, then an 'up' block. Features that are a map are reshaped to
  it, and a 3×3 convolution takes the place of the dense layer.
  """

  channels: tuple[int, ...]
  depth: int
  image_shape: tuple[int, int, int]
  style: Style
  feature_map: tuple[int, int, int] | None = None

  @nn.compact
  def __call__(self, features: Features, train: bool) -> Images:
    height, width, image_channels = self.image_shape
    reduction = 2 ** len(self.channels)
    map_shape = (-(-height // reduction), -(-width // reduction), self.channels[-1])
    if self.feature_map:
      project = conv3x3(self.channels[-1], self.style.dtype, name='project')
      hidden = project(features.reshape(-1, *self.feature_map))
    else:
      project = nn.Dense(math.prod(map_shape), dtype=self.style.dtype, name='project')
      hidden = project(features).reshape(-1, *map_shape)
    for stage, channels in reversed(list(enumerate(self.channels))):
      for block in range(1, self.depth):
        name = f'up{stage}_keep{block}'
        hidden = ResBlock(hidden.shape[-1], 'keep', self.style, name=name)(hidden, train)
      hidden = ResBlock(channels, 'up', self.style, name=f'up{stage}')(hidden, train)
    hidden = centre_crop(hidden, height, width)
    # float32: the likelihood reads these values, and bfloat16 has only three digits.
    output = nn.Conv(
      image_channels, (1, 1), dtype=jnp.float32, precision=jax.lax.Precision.HIGHEST, name='output'
    )
    return output(hidden)


@ARCHITECTURES.register(
  'resnet',
  check_convolutions,
  xla_cpu_options=XLA_CPU_OPTIONS,
)
def _resnet(config, image_shape, style: Style) -> tuple[ResNetEncoder, ResNetDecoder]:
  channels, depth = tuple(config.model.channels), config.model.depth
  is_map = config.model.latent_channels > 0
  return (
    ResNetEncoder(channels, depth, config.model.pool and not is_map, style),
    ResNetDecoder(
      channels, depth, image_shape, style, config_lib.latent_shape(config) if is_map else None
    ),
  )
