"""The layers that architectures are made of."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'silu': nn.silu,
  'relu': nn.relu,
  'leaky_relu': nn.leaky_relu,  # slope 0.01
}


@dataclasses.dataclass(frozen=True)
class Style:
  """What all layers of a network share."""

  activation: Callable[[Array], Array]
  norm: str  # 'group', 'batch' or 'none'
  groups: int
  dropout: float  # share of features that training sets to 0
  dtype: Any  # what convolutions compute in; parameters and statistics are float32
  folded: bool  # whether upsampling is folded into the convolution after it


def style(config) -> Style:
  """The style that a checked config describes."""
  return Style(
    activation=ACTIVATIONS[config.model.activation],
    norm=config.model.norm,
    groups=config.model.groups,
    dropout=config.model.dropout,
    dtype=jnp.dtype(config.precision),
    # A gain on a CPU; not measured elsewhere.
    folded=jax.default_backend() == 'cpu',
  )


class Norm(nn.Module):
  """GroupNorm, BatchNorm over the global batch, or nothing; statistics, parameters in float32."""

  style: Style

  @nn.compact
  def __call__(self, inputs: Array, train: bool) -> Array:
    """Normalizes [B, ..., C]; `train` updates the running statistics of a batch norm."""
    if self.style.norm == 'none':
      return inputs
    # ε of the published network; Flax's own default is 1e-6.
    epsilon, dtype = 1e-5, self.style.dtype
    if self.style.norm == 'batch':
      norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=epsilon, dtype=dtype)
    else:
      norm = nn.GroupNorm(num_groups=self.style.groups, epsilon=epsilon, dtype=dtype)
    return norm(inputs)


def conv3x3(channels: int, dtype: Any, stride: int = 1, name: str | None = None) -> nn.Conv:
  """A 3×3 convolution padded by one pixel on each side."""
  # Not 'SAME', which pads (0, 1) at stride 2 and so shifts the map by a pixel.
  return nn.Conv(
    channels, (3, 3), (stride, stride), padding=((1, 1), (1, 1)), dtype=dtype, name=name
  )


class DoublingConv(nn.Module):
  """A 3×3 transposed convolution of stride 2: PyTorch's with padding 1 and output_padding 1.

  Output 2i is K[1]·x[i] and output 2i + 1 is K[0]·x[i] + K[2]·x[i + 1], along each axis. So one
  convolution of 2×2 on the small map gives the four outputs of every pixel. That is 16 products
  where 9 would do, but XLA's CPU backend takes 4 to 8 times as long for the gradient of a
  convolution that dilates its input.
  """

  channels: int
  dtype: Any
  precision: Any = None

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    """[B, H, W, C] to [B, 2H, 2W, channels]."""
    batch, height, width, in_channels = inputs.shape
    shape = (3, 3, in_channels, self.channels)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.channels,))
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    # [parity, tap] of rows, of columns, in, out
    taps = jax.vmap(jax.vmap(_transposed_taps))(_transposed_taps(kernel))
    taps = taps.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, in_channels, 4 * self.channels)
    outputs = jax.lax.conv_general_dilated(
      inputs,
      taps,
      window_strides=(1, 1),
      padding=((0, 1), (0, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=self.precision,
    )
    outputs = outputs.reshape(batch, height, width, 2, 2, self.channels)
    outputs = outputs.transpose(0, 1, 3, 2, 4, 5)
    doubled = outputs.reshape(batch, 2 * height, 2 * width, self.channels)
    return doubled + bias[None, None, None]


def _transposed_taps(kernel: Array) -> Array:
  """[3, ...] to [parity of the output, tap on x[i] or x[i + 1], ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([middle, jnp.zeros_like(middle)]), jnp.stack([first, last])])


def interleave2x(maps: Sequence[Sequence[Array]]) -> Array:
  """Four maps [B, H, W, C] to one [B, 2H, 2W, C], whose pixel (2i + r, 2j + c) is maps[r][c]'s."""
  batch, height, width, channels = maps[0][0].shape
  # Joined along the axis that lies closest in memory, and nothing transposed: on a CPU a transpose
  # costs as much as a convolution. The same holds for the gradient, which is slices.
  rows = [jnp.concatenate(row, axis=-1).reshape(batch, height, -1) for row in maps]
  doubled = jnp.concatenate(rows, axis=-1)
  return doubled.reshape(batch, 2 * height, 2 * width, channels)


def upsample2x(inputs: Array) -> Array:
  """Nearest-neighbour upsampling, [B, H, W, C] to [B, 2H, 2W, C]."""
  return interleave2x([[inputs, inputs], [inputs, inputs]])


class UpsampledConv(nn.Module):
  """Nearest-neighbour upsampling by 2, then a 3×3 convolution padded by one pixel.

  With rows of K alone: output 2i is K[0]·x[i - 1] + (K[1] + K[2])·x[i], and output 2i + 1 is
  (K[0] + K[1])·x[i] + K[2]·x[i + 1]. So a 2×2 convolution on the small map gives the four outputs
  of every pixel, with 4 products where 9 were. `folded` computes it so.
  """

  channels: int
  dtype: Any
  folded: bool

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    """[B, H, W, C] to [B, 2H, 2W, channels]."""
    shape = (3, 3, inputs.shape[-1], self.channels)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.channels,))
    inputs, bias = promote_dtype(inputs, bias, dtype=self.dtype)
    if self.folded:
      doubled = _folded_conv(inputs, kernel)
    else:
      doubled = _valid_conv(_pad_by_one(upsample2x(inputs)), kernel.astype(inputs.dtype))
    return doubled + bias[None, None, None]


def _folded_conv(inputs: Array, kernel: Array) -> Array:
  _, height, width, in_channels = inputs.shape
  channels = kernel.shape[-1]
  taps = jax.vmap(jax.vmap(_upsampled_taps))(_upsampled_taps(kernel))
  # From [row parity, row tap, column parity, column tap, in, out]: the parities become channels.
  taps = taps.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, in_channels, 4 * channels)
  taps = taps.astype(inputs.dtype)  # no sooner, so that the sums of taps are in float32
  # Window (i, j) begins at x[i - 1, j - 1]: even outputs take it as theirs, odd ones the next.
  windows = _valid_conv(_pad_by_one(inputs), taps)
  windows = windows.reshape(*windows.shape[:-1], 2, 2, channels)
  return interleave2x(
    [[windows[:, r : r + height, c : c + width, r, c] for c in (0, 1)] for r in (0, 1)]
  )


def _upsampled_taps(kernel: Array) -> Array:
  """[3, ...] to [parity of the output, tap on the first or second pixel of its window, ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([first, middle + last]), jnp.stack([first + middle, last])])


def _pad_by_one(maps: Array) -> Array:
  # Not as an option of the convolution: XLA's CPU backend would take 50 times as long for the
  # gradient of an even kernel.
  return jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _valid_conv(maps: Array, kernel: Array) -> Array:
  return jax.lax.conv_general_dilated(
    maps, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


class Activate(nn.Module):
  """Norm → activation → dropout: what follows each layer of a plain network."""

  style: Style

  @nn.compact
  def __call__(self, inputs: Array, train: bool) -> Array:
    """[B, ..., C] to the same shape; `train` draws a dropout from the stream 'dropout'."""
    hidden = self.style.activation(Norm(self.style, name='norm')(inputs, train))
    return nn.Dropout(self.style.dropout, deterministic=not train)(hidden)


def centre_crop(maps: Array, height: int, width: int) -> Array:
  """[B, H, W, C] to [B, height, width, C]; of an odd margin the larger part is cut at the end."""
  top, left = (maps.shape[1] - height) // 2, (maps.shape[2] - width) // 2
  return maps[:, top : top + height, left : left + width]


class ResBlock(nn.Module):
  """Conv 3×3 → norm → activation → conv 3×3, plus a skip, then the activation.

  'down' halves the map by the stride of the first convolution and of a 1×1 skip; 'up' doubles it
  before the first convolution, with a 1×1 skip; 'keep' has an identity skip and needs as many
  channels as it is given.
  """

  channels: int
  resample: str  # 'down', 'keep' or 'up'
  style: Style

  @nn.compact
  def __call__(self, inputs: Array, train: bool) -> Array:
    """[B, H, W, C] to [B, H', W', channels], H' = ⌈H/2⌉, H or 2H."""
    dtype, activation = self.style.dtype, self.style.activation
    stride = 2 if self.resample == 'down' else 1
    if self.resample == 'up':
      conv1 = UpsampledConv(self.channels, dtype, self.style.folded, name='conv1')
    else:
      conv1 = conv3x3(self.channels, dtype, stride, name='conv1')
    hidden = conv1(inputs)
    hidden = activation(Norm(self.style, name='norm')(hidden, train))
    hidden = nn.Dropout(self.style.dropout, deterministic=not train)(hidden)
    hidden = conv3x3(self.channels, dtype, name='conv2')(hidden)
    if self.resample == 'keep':
      return activation(hidden + inputs)
    skip = nn.Conv(self.channels, (1, 1), stride, padding='VALID', dtype=dtype, name='skip')(inputs)
    if self.resample == 'up':
      # A 1×1 convolution commutes with nearest-neighbour upsampling; this order is 4 times less.
      skip = upsample2x(skip)
    return activation(hidden + skip)
