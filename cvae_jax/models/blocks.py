"""The layers that architectures are made of."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {'silu': nn.silu, 'relu': nn.relu}


class Norm(nn.Module):
  """GroupNorm, or BatchNorm over the global batch; statistics and parameters in float32."""

  kind: str  # 'group' or 'batch'
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, inputs: Array, train: bool) -> Array:
    """Normalizes [B, H, W, C]; `train` updates the running statistics of a batch norm."""
    # ε of the published network; Flax's own default is 1e-6.
    if self.kind == 'batch':
      return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype
      )(inputs)
    return nn.GroupNorm(num_groups=self.groups, epsilon=1e-5, dtype=self.dtype)(inputs)


def conv3x3(channels: int, dtype: Any, stride: int = 1, name: str | None = None) -> nn.Conv:
  """A 3×3 convolution padded by one pixel on each side."""
  # Not 'SAME', which pads (0, 1) at stride 2 and so shifts the map by a pixel.
  return nn.Conv(
    channels, (3, 3), (stride, stride), padding=((1, 1), (1, 1)), dtype=dtype, name=name
  )


def upsample2x(inputs: Array) -> Array:
  """Nearest-neighbour upsampling, [B, H, W, C] to [B, 2H, 2W, C]."""
  batch, height, width, channels = inputs.shape
  doubled = jnp.broadcast_to(
    inputs[:, :, None, :, None, :], (batch, height, 2, width, 2, channels)
  )
  return doubled.reshape(batch, 2 * height, 2 * width, channels)


class ResBlock(nn.Module):
  """Conv 3×3 → norm → activation → conv 3×3, plus a skip, then the activation.

  'down' halves the map by the stride of the first convolution and of a 1×1 skip; 'up' doubles it
  before the first convolution, with a 1×1 skip; 'keep' has an identity skip and needs as many
  channels as it is given.
  """

  channels: int
  resample: str  # 'down', 'keep' or 'up'
  activation: Callable[[Array], Array]
  norm: str
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, inputs: Array, train: bool) -> Array:
    """[B, H, W, C] to [B, H', W', channels], H' = ⌈H/2⌉, H or 2H."""
    stride = 2 if self.resample == 'down' else 1
    hidden = upsample2x(inputs) if self.resample == 'up' else inputs
    hidden = conv3x3(self.channels, self.dtype, stride, name='conv1')(hidden)
    hidden = Norm(self.norm, self.groups, self.dtype, name='norm')(hidden, train)
    hidden = conv3x3(self.channels, self.dtype, name='conv2')(self.activation(hidden))
    if self.resample == 'keep':
      skip = inputs
    else:
      skip = nn.Conv(
        self.channels, (1, 1), (stride, stride), padding='VALID', dtype=self.dtype, name='skip'
      )(inputs)
      if self.resample == 'up':
        # A 1×1 convolution commutes with nearest-neighbour upsampling; this order is 4 times less.
        skip = upsample2x(skip)
    return self.activation(hidden + skip)
