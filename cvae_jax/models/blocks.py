"""Layers that the architectures share."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax.models.resampling import Maps, UpsampledConv, halve, upsample2x

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'silu': nn.silu,
  'relu': nn.relu,
  'leaky_relu': nn.leaky_relu,  # slope 0.01
}

# For programs of 3×3 convolutions. YNNPACK takes 1.1 to 2 times as long as Eigen for these: it gets
# the dot products. Not oneDNN (xla_cpu_experimental_onednn_custom_call): jax 0.12 gives wrong
# gradients with it.
XLA_CPU_OPTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}


@dataclasses.dataclass(frozen=True)
class Style:
  """Settings of all layers of a network."""

  activation: Callable[[Array], Array]
  norm: str  # 'group', 'batch' or 'none'
  groups: int
  dropout: float  # fraction of features that training sets to 0
  dtype: Any  # of convolutions; parameters and statistics are float32
  folded: bool  # whether a convolution that doubles a map, or its gradient, reads the small map


def style(config, folded: bool | None = None) -> Style:
  """The style of a checked config; `folded` is chosen by the device if None."""
  return Style(
    activation=ACTIVATIONS[config.model.activation],
    norm=config.model.norm,
    groups=config.model.groups,
    dropout=config.model.dropout,
    dtype=jnp.dtype(config.precision),
    # A gain on a CPU; not measured elsewhere.
    folded=jax.default_backend() == 'cpu' if folded is None else folded,
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
      norm = GroupNorm(self.style.groups, epsilon, dtype)
    return norm(inputs)


class GroupNorm(nn.Module):
  """As `flax.linen.GroupNorm`, in fewer passes over the maps: on a CPU they cost the time."""

  groups: int
  epsilon: float
  dtype: Any

  @nn.compact
  def __call__(
    self, inputs: Float[ArrayLike, 'batch *size channels']
  ) -> Float[Array, 'batch *size channels']:
    """Statistics are over pixels and the channels of a group."""
    scale = self.param('scale', nn.initializers.ones, inputs.shape[-1:])
    bias = self.param('bias', nn.initializers.zeros, inputs.shape[-1:])
    return _group_norm(self.groups, self.epsilon, inputs, scale, bias).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _group_norm(groups: int, epsilon: float, inputs: ArrayLike, scale: ArrayLike, bias: ArrayLike):
  return _group_norm_forward(groups, epsilon, inputs, scale, bias)[0]


def _group_norm_forward(groups, epsilon, inputs, scale, bias):
  maps = inputs.astype(jnp.float32)
  scale, bias = scale[None], bias[None]
  mean = _group_mean(_pixel_sum(maps), maps, groups)
  variance = _group_mean(_pixel_sum(maps * maps), maps, groups) - mean * mean
  inverse = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + epsilon)
  slope = scale * inverse
  outputs = maps * _over_pixels(slope, maps) + _over_pixels(bias - mean * slope, maps)
  return outputs.astype(inputs.dtype), (inputs, mean, inverse, scale)


def _group_norm_backward(groups, epsilon, saved, gradient):
  inputs, mean, inverse, scale = saved
  maps, gradient = inputs.astype(jnp.float32), gradient.astype(jnp.float32)
  # One pass sums, per image and channel, the gradient and its product with the normalized maps.
  total = _pixel_sum(gradient)
  product = inverse * (_pixel_sum(gradient * maps) - mean * total)
  # d inputs = inverse · (g − mean(g) − normalized · mean(g · normalized)), g = scale · gradient:
  # linear in gradient and maps, so one pass.
  by_maps = -inverse * inverse * _group_mean(product * scale, maps, groups)
  constant = -inverse * _group_mean(total * scale, maps, groups) - by_maps * mean
  by_gradient = scale * inverse
  d_inputs = (
    gradient * _over_pixels(by_gradient, maps)
    + maps * _over_pixels(by_maps, maps)
    + _over_pixels(constant, maps)
  )
  return d_inputs.astype(inputs.dtype), product.sum(axis=0), total.sum(axis=0)


_group_norm.defvjp(_group_norm_forward, _group_norm_backward)


def _pixel_sum(maps: Array) -> Array:
  """[batch, *size, channels] -> [batch, channels]; sums over channels are for the small result."""
  return maps.sum(axis=tuple(range(1, maps.ndim - 1)))


def _group_mean(sums: Array, maps: Array, groups: int) -> Array:
  """Sums over the pixels of maps -> means over groups, repeated: both [batch, channels]."""
  batch, channels = sums.shape
  means = sums.reshape(batch, groups, -1).sum(axis=-1) / (maps[0].size // groups)
  return jnp.repeat(means, channels // groups, axis=-1)


def _over_pixels(values: Array, maps: Array) -> Array:
  """[batch, channels], with axes of length 1 for the pixels of maps."""
  return jnp.expand_dims(values, range(1, maps.ndim - 1))


def conv3x3(
  channels: int, dtype: Any, stride: int = 1, name: str | None = None, folded: bool = False
) -> nn.Conv:
  """A 3×3 convolution padded by one pixel on each side; `folded` as in `Style`."""
  # Not 'SAME', which pads (0, 1) at stride 2 and so shifts the map by a pixel.
  return nn.Conv(
    channels,
    (3, 3),
    (stride, stride),
    padding=((1, 1), (1, 1)),
    dtype=dtype,
    name=name,
    conv_general_dilated=halve if folded and stride == 2 else None,
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
      conv1 = conv3x3(self.channels, dtype, stride, 'conv1', self.style.folded)
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
