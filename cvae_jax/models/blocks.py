"""Layers that the architectures share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Maps = Float[ArrayLike, 'batch height width channels']
DoubledMaps = Float[Array, 'batch 2*height 2*width features']

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'silu': nn.silu,
  'relu': nn.relu,
  'leaky_relu': nn.leaky_relu,  # slope 0.01
}


@dataclasses.dataclass(frozen=True)
class Style:
  """Settings of all layers of a network."""

  activation: Callable[[Array], Array]
  norm: str  # 'group', 'batch' or 'none'
  groups: int
  dropout: float  # fraction of features that training sets to 0
  dtype: Any  # of convolutions; parameters and statistics are float32
  folded: bool  # whether upsampling is folded into the convolution after it


def style(config) -> Style:
  """The style of a checked config."""
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
  """GroupNorm, BatchNorm over the global batch, or nothing; statistics are float32."""

  style: Style

  @nn.compact
  def __call__(
    self, inputs: Float[ArrayLike, 'batch *size channels'], train: bool
  ) -> Float[Array, 'batch *size channels']:
    """`train` uses the statistics of the batch in a batch norm, and updates the running ones."""
    if self.style.norm == 'none':
      return inputs
    # ε of the published network; the default of Flax is 1e-6.
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

  Along each axis, output 2i is K[1]·x[i] and output 2i + 1 is K[0]·x[i] + K[2]·x[i + 1]: one 2×2
  convolution on the small map gives the four outputs of every pixel. That is 16 products instead
  of 9, but XLA's CPU backend takes 4 to 8 times as long for the gradient of a convolution that
  dilates its input.
  """

  channels: int
  dtype: Any
  precision: Any = None

  @nn.compact
  def __call__(self, inputs: Maps) -> DoubledMaps:
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


def _transposed_taps(kernel: ArrayLike) -> Array:
  """[3, ...] to [parity of the output, tap on x[i] or x[i + 1], ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([middle, jnp.zeros_like(middle)]), jnp.stack([first, last])])


def interleave2x(
  maps: Sequence[Sequence[Maps]],
) -> Float[Array, 'batch 2*height 2*width channels']:
  """Four maps to one, whose pixel (2i + r, 2j + c) is the pixel (i, j) of maps[r][c]."""
  batch, height, width, channels = maps[0][0].shape
  # Concatenated along the innermost axis, without a transpose, which on a CPU costs as much as a
  # convolution. The gradient is slices.
  rows = [jnp.concatenate(row, axis=-1).reshape(batch, height, -1) for row in maps]
  doubled = jnp.concatenate(rows, axis=-1)
  return doubled.reshape(batch, 2 * height, 2 * width, channels)


def upsample2x(inputs: Maps) -> Float[Array, 'batch 2*height 2*width channels']:
  """Nearest-neighbour upsampling by 2."""
  return interleave2x([[inputs, inputs], [inputs, inputs]])


class UpsampledConv(nn.Module):
  """Nearest-neighbour upsampling by 2, then a 3×3 convolution padded by one pixel.

  Along each axis, output 2i is K[0]·x[i - 1] + (K[1] + K[2])·x[i] and output 2i + 1 is
  (K[0] + K[1])·x[i] + K[2]·x[i + 1]. If `folded`, one 2×2 convolution on the small map gives the
  four outputs of every pixel, with 4 products each instead of 9.
  """

  channels: int
  dtype: Any
  folded: bool

  @nn.compact
  def __call__(self, inputs: Maps) -> DoubledMaps:
    shape = (3, 3, inputs.shape[-1], self.channels)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.channels,))
    inputs, bias = promote_dtype(inputs, bias, dtype=self.dtype)
    if self.folded:
      doubled = _folded_conv(inputs, kernel)
    else:
      doubled = _valid_conv(_pad_by_one(upsample2x(inputs)), kernel.astype(inputs.dtype))
    return doubled + bias[None, None, None]


def _folded_conv(inputs: Maps, kernel: ArrayLike) -> Array:
  _, height, width, in_channels = inputs.shape
  channels = kernel.shape[-1]
  taps = jax.vmap(jax.vmap(_upsampled_taps))(_upsampled_taps(kernel))
  # From [row parity, row tap, column parity, column tap, in, out]: parities become channels.
  taps = taps.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, in_channels, 4 * channels)
  taps = taps.astype(inputs.dtype)  # last, so that taps are added in float32
  # Window (i, j) begins at x[i - 1, j - 1]: an even output reads this one, an odd output the next.
  windows = _valid_conv(_pad_by_one(inputs), taps)
  windows = windows.reshape(*windows.shape[:-1], 2, 2, channels)
  return interleave2x(
    [[windows[:, r : r + height, c : c + width, r, c] for c in (0, 1)] for r in (0, 1)]
  )


def _upsampled_taps(kernel: ArrayLike) -> Array:
  """[3, ...] to [parity of the output, tap on the first or second pixel of its window, ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([first, middle + last]), jnp.stack([first + middle, last])])


def _pad_by_one(maps: Maps) -> Array:
  # Not by the convolution's padding: XLA's CPU backend takes 50 times as long for the gradient of
  # an even kernel with it.
  return jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _valid_conv(maps: Maps, kernel: ArrayLike) -> Array:
  return jax.lax.conv_general_dilated(
    maps, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


class Activate(nn.Module):
  """Norm → activation → dropout."""

  style: Style

  @nn.compact
  def __call__(
    self, inputs: Float[ArrayLike, 'batch *size channels'], train: bool
  ) -> Float[Array, 'batch *size channels']:
    """`train` as in `Norm`; it also draws dropout, from the stream 'dropout'."""
    hidden = self.style.activation(Norm(self.style, name='norm')(inputs, train))
    return nn.Dropout(self.style.dropout, deterministic=not train)(hidden)


def centre_crop(maps: Maps, height: int, width: int) -> Float[Array, 'batch h w channels']:
  """The middle of each map; an odd margin is cut one pixel wider at the end."""
  top, left = (maps.shape[1] - height) // 2, (maps.shape[2] - width) // 2
  return maps[:, top : top + height, left : left + width]


class ResBlock(nn.Module):
  """Conv 3×3 → norm → activation → conv 3×3, plus a skip, then the activation.

  'down' halves the map by the stride of the first convolution and of a 1×1 skip. 'up' doubles it
  before the first convolution, with a 1×1 skip. 'keep' has an identity skip and keeps the number
  of channels.
  """

  channels: int
  resample: str  # 'down', 'keep' or 'up'
  style: Style

  @nn.compact
  def __call__(self, inputs: Maps, train: bool) -> Float[Array, 'batch h w features']:
    """Maps of half the height and width, rounded up, of the same, or of twice."""
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
      # A 1×1 convolution commutes with nearest-neighbour upsampling; this order costs a quarter.
      skip = upsample2x(skip)
    return activation(hidden + skip)
