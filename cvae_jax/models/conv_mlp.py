"""A convolutional encoder with a decoder of dense layers, for models that decode an image often.

With missing classes each image is decoded once for every class; dense layers take a fraction of the
time of convolutions for that.
"""

import dataclasses

from cvae_jax.models.architectures import ARCHITECTURES, check_convolutions
from cvae_jax.models.blocks import Style
from cvae_jax.models.conv import ConvEncoder
from cvae_jax.models.mlp import MLPDecoder


@ARCHITECTURES.register('conv_mlp', check_convolutions)
def _conv_mlp(config, image_shape, style: Style) -> tuple[ConvEncoder, MLPDecoder]:
  """Norm and dropout are the encoder's: the decoder has two layers of `hidden_dim` without them."""
  channels, hidden_dim = tuple(config.model.channels), config.model.hidden_dim
  plain = dataclasses.replace(style, norm='none', dropout=0.0)
  return (
    ConvEncoder(channels, None, style),
    MLPDecoder((hidden_dim, hidden_dim), image_shape, plain),
  )
