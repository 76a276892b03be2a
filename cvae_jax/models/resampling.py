"""Convolutions that halve or double a map, written for their gradients.

XLA's CPU backend takes 4 to 50 times as long for a gradient that dilates a map or pads an even
kernel. Here no operation does: doubling reads the small map and gives the four outputs of every
pixel as channels.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Maps = Float[ArrayLike, 'batch height width channels']
DoubledMaps = Float[Array, 'batch 2*height 2*width features']


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
      doubled = _conv(upsample2x(inputs), kernel.astype(inputs.dtype), padding=(1, 1))
    return doubled + bias[None, None, None]


def _folded_conv(inputs: Maps, kernel: ArrayLike) -> Array:
  _, height, width, _ = inputs.shape
  # Last to the type of the inputs, so that taps are added in float32.
  taps = _parities_as_channels(_upsampled_taps, kernel).astype(inputs.dtype)
  windows = _windows(inputs, taps)
  windows = windows.reshape(*windows.shape[:-1], 2, 2, kernel.shape[-1])
  # Window (i, j) begins at x[i - 1, j - 1]: an even output reads this one, an odd output the next.
  return interleave2x(
    [[windows[:, r : r + height, c : c + width, r, c] for c in (0, 1)] for r in (0, 1)]
  )


@jax.custom_vjp
def _windows(inputs: Maps, taps: ArrayLike) -> Array:
  """[batch, height + 1, width + 1, features]: a 2×2 convolution padded by one pixel."""
  return _conv(inputs, taps, padding=(1, 1))


def _windows_gradient(saved, gradient):
  inputs, taps = saved
  padded = jnp.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return _conv(gradient, _mirrored(taps)), _kernel_gradient(padded, gradient, taps.shape)


_windows.defvjp(lambda inputs, taps: (_windows(inputs, taps), (inputs, taps)), _windows_gradient)


class DoublingConv(nn.Module):
  """A 3×3 transposed convolution of stride 2: PyTorch's with padding 1 and output_padding 1."""

  channels: int
  dtype: Any
  precision: Any = None

  @nn.compact
  def __call__(self, inputs: Maps) -> DoubledMaps:
    shape = (3, 3, inputs.shape[-1], self.channels)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.channels,))
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
    return _double(inputs, kernel, self.precision) + bias[None, None, None]


def _double(inputs: Maps, kernel: ArrayLike, precision: Any = None) -> Array:
  """Along each axis, output 2i is K[1]·x[i] and output 2i + 1 is K[0]·x[i] + K[2]·x[i + 1].

  16 products for the four outputs of a pixel instead of 9, but no dilation.
  """
  batch, height, width, _ = inputs.shape
  taps = _parities_as_channels(_transposed_taps, kernel)
  outputs = _conv(inputs, taps, padding=(0, 1), precision=precision)
  outputs = outputs.reshape(batch, height, width, 2, 2, kernel.shape[-1])
  return interleave2x([[outputs[:, :, :, r, c] for c in (0, 1)] for r in (0, 1)])


def halve(inputs: Maps, kernel: ArrayLike, *_, **__) -> Array:
  """A 3×3 convolution of stride 2 padded by one pixel, for `flax.linen.Conv`.

  It ignores the other arguments of `jax.lax.conv_general_dilated`.
  """
  return _halve(inputs, kernel)


@jax.custom_vjp
def _halve(inputs: Maps, kernel: ArrayLike) -> Array:
  return _conv(inputs, kernel, stride=2, padding=(1, 1))


def _halve_gradient(saved, gradient):
  inputs, kernel = saved
  _, height, width, _ = inputs.shape
  d_inputs = _double(gradient, _mirrored(kernel))[:, :height, :width]
  return d_inputs, _kernel_gradient(inputs, gradient, kernel.shape, stride=2, padding=(1, 1))


_halve.defvjp(lambda inputs, kernel: (_halve(inputs, kernel), (inputs, kernel)), _halve_gradient)


def _parities_as_channels(taps_of, kernel: ArrayLike) -> Array:
  """[3, 3, in, out] to [2, 2, in, 4·out]: the taps of all four parities of an output's position."""
  taps = jax.vmap(jax.vmap(taps_of))(taps_of(kernel))
  # From [row parity, row tap, column parity, column tap, in, out].
  return taps.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, kernel.shape[2], -1)


def _upsampled_taps(kernel: ArrayLike) -> Array:
  """[3, ...] to [parity of the output, tap on the first or second pixel of its window, ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([first, middle + last]), jnp.stack([first + middle, last])])


def _transposed_taps(kernel: ArrayLike) -> Array:
  """[3, ...] to [parity of the output, tap on x[i] or x[i + 1], ...]."""
  first, middle, last = kernel
  return jnp.stack([jnp.stack([middle, jnp.zeros_like(middle)]), jnp.stack([first, last])])


def _mirrored(kernel: ArrayLike) -> Array:
  """The kernel of the gradient with respect to the inputs: [..., in, out] to [..., out, in]."""
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _conv(inputs: Maps, kernel: ArrayLike, stride=1, padding=(0, 0), precision=None) -> Array:
  """A convolution with the same padding, before and after, of both axes."""
  return jax.lax.conv_general_dilated(
    inputs,
    kernel,
    (stride, stride),
    (padding, padding),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=precision,
  )


def _kernel_gradient(inputs, gradient, shape, stride=1, padding=(0, 0)) -> Array:
  """The gradient of a kernel of `shape`, from that of `_conv`'s outputs."""
  of_kernel = jax.linear_transpose(
    lambda kernel: _conv(inputs, kernel, stride, padding),
    jax.ShapeDtypeStruct(shape, inputs.dtype),
  )
  return of_kernel(gradient)[0]
