"""Networks of flow matching: the velocity v(x, t, context) of latents.

A network is a module: called with (points [B, D], times [B], context [B, E]), it gives velocities
[B, D], float32. The context is the embedding of the conditions; E is 0 where there are none. All
give exactly 0 before they are trained: every residual branch is multiplied by 0, and so is the
output.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax.models import blocks
from cvae_jax.models.blocks import GroupNorm, centre_crop, conv3x3
from cvae_jax.models.resampling import Maps, UpsampledConv
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

# Functions of (config, shape of the latents: (D,), or (height, width, channels)) -> a module; see
# above. Spatial latents are [B, D] as well, row by row. A module may have `xla_cpu_options`: XLA's
# options for its programs on a CPU.
VELOCITIES = Registry('velocity.name', 'cvae_jax.models')

Latents = Float[ArrayLike, 'batch latent']
Times = Float[ArrayLike, ' batch']  # 0: noise, 1: data
Context = Float[ArrayLike, 'batch context']
Signals = Float[ArrayLike, 'batch signal']
Features = Float[ArrayLike, 'batch *size features']

# Sines and cosines of 2πft with f from 1/4, which is monotonous, to MAX_FREQUENCY.
NUM_FREQUENCIES = 32
MIN_FREQUENCY, MAX_FREQUENCY = 0.25, 64.0


def build(config, shape: Sequence[int]) -> nn.Module:
  """The network of a config.

  Args:
    config: a checked config.
    shape: of the latents of an image: (D,), or (height, width, channels).

  Raises:
    InputError: the network is not for latents of this shape.
  """
  return VELOCITIES[config.velocity.name](config, tuple(shape))


def compiler_options(network: nn.Module, deterministic: bool = False) -> dict[str, str]:
  """XLA's options for the programs of a network; see `devices.compiler_options`."""
  return devices.compiler_options(getattr(network, 'xla_cpu_options', {}), deterministic)


def time_features(times: Times) -> Float[Array, 'batch features']:
  """Sines and cosines of times at frequencies that rise geometrically (Vaswani et al. 2017)."""
  frequencies = jnp.geomspace(MIN_FREQUENCY, MAX_FREQUENCY, NUM_FREQUENCIES, dtype=jnp.float32)
  angles = 2 * math.pi * times[:, None] * frequencies[None]
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Signal(nn.Module):
  """What all blocks are told: time and context, as one vector of `width` features."""

  width: int

  @nn.compact
  def __call__(self, times: Times, context: Context) -> Float[Array, 'batch features']:
    inputs = jnp.concatenate([time_features(times), context.astype(jnp.float32)], axis=-1)
    hidden = nn.silu(dense(self.width, name='dense0')(inputs))
    return nn.silu(dense(self.width, name='dense1')(hidden))


def dense(features: int, is_zero: bool = False, name: str | None = None) -> nn.Dense:
  """A dense layer in float32; one of zeros gives 0 until it is trained."""
  # HIGHEST: by default an accelerator multiplies float32 in fewer digits, which a density shows.
  kernel = nn.initializers.zeros if is_zero else nn.initializers.lecun_normal()
  return nn.Dense(features, precision=jax.lax.Precision.HIGHEST, kernel_init=kernel, name=name)


class Modulation(nn.Module):
  """Vectors that depend on the signal, to scale and shift maps with (Peebles & Xie 2023, adaLN)."""

  number: int

  @nn.compact
  def __call__(
    self, inputs: Features, signal: Signals
  ) -> tuple[Float[Array, 'batch *ones features'], ...]:
    """`number` vectors per image, in the shape of `inputs` but for axes of length 1; 0 at first."""
    features = inputs.shape[-1]
    vectors = dense(self.number * features, is_zero=True, name='vectors')(signal)
    vectors = jnp.expand_dims(vectors, range(1, inputs.ndim - 1))
    return tuple(jnp.split(vectors, self.number, axis=-1))


def modulated(inputs: Features, scale: Array, shift: Array) -> Float[Array, 'batch *size features']:
  """(1 + scale) · LayerNorm(inputs) + shift."""
  mean = inputs.mean(axis=-1, keepdims=True)
  centred = inputs - mean
  variance = jnp.square(centred).mean(axis=-1, keepdims=True)
  return (1 + scale) * centred * jax.lax.rsqrt(variance + 1e-6) + shift


class MLP(nn.Module):
  """For latents of any shape: residual blocks of two dense layers (adaLN-zero)."""

  width: int
  depth: int

  @nn.compact
  def __call__(
    self, points: Latents, times: Times, context: Context
  ) -> Float[Array, 'batch latent']:
    signal = Signal(self.width, name='signal')(times, context)
    hidden = dense(self.width, name='input')(points)
    for block in range(self.depth):
      scale, shift, gate = Modulation(3, name=f'modulation{block}')(hidden, signal)
      inner = dense(2 * self.width, name=f'block{block}_dense0')(modulated(hidden, scale, shift))
      hidden += gate * dense(self.width, name=f'block{block}_dense1')(nn.silu(inner))
    scale, shift = Modulation(2, name='modulation_output')(hidden, signal)
    output = dense(points.shape[-1], is_zero=True, name='output')
    return output(modulated(hidden, scale, shift))


class UNetBlock(nn.Module):
  """A residual block of two 3×3 convolutions, modulated by the signal."""

  dtype: Any
  groups: int = 8

  @nn.compact
  def __call__(self, inputs: Maps, signal: Signals) -> Float[Array, 'batch height width channels']:
    channels = inputs.shape[-1]
    scale, shift, gate = Modulation(3, name='modulation')(inputs, signal)
    hidden = nn.silu(GroupNorm(self.groups, 1e-5, self.dtype, name='norm0')(inputs))
    hidden = conv3x3(channels, self.dtype, name='conv0')(hidden)
    hidden = GroupNorm(self.groups, 1e-5, self.dtype, name='norm1')(hidden)
    hidden = nn.silu((1 + scale) * hidden + shift)
    return (inputs + gate * conv3x3(channels, self.dtype, name='conv1')(hidden)).astype(self.dtype)


class UNet(nn.Module):
  """For spatial latents: `depth` blocks on the map, as many on one of half the size, as many back.

  The small map has `width` channels, where a convolution costs a quarter, the large one half.
  """

  xla_cpu_options = blocks.XLA_CPU_OPTIONS
  width: int
  depth: int
  shape: tuple[int, int, int]
  dtype: Any  # of convolutions
  folded: bool  # see `blocks.Style`

  @nn.compact
  def __call__(
    self, points: Latents, times: Times, context: Context
  ) -> Float[Array, 'batch latent']:
    height, width, channels = self.shape
    signal = Signal(self.width, name='signal')(times, context)

    def stage(name, hidden):
      for number in range(self.depth):
        hidden = UNetBlock(self.dtype, name=f'{name}{number}')(hidden, signal)
      return hidden

    hidden = points.reshape(-1, *self.shape)
    hidden = conv3x3(self.width // 2, self.dtype, name='input')(hidden)
    large = stage('down', hidden)
    hidden = conv3x3(self.width, self.dtype, 2, 'halve', self.folded)(large)
    hidden = stage('middle', hidden)
    hidden = UpsampledConv(self.width // 2, self.dtype, self.folded, name='double')(hidden)
    hidden = stage('up', centre_crop(hidden, height, width) + large)
    hidden = nn.silu(GroupNorm(8, 1e-5, jnp.float32, name='output_norm')(hidden))
    # float32: bfloat16 has only three digits.
    output = nn.Conv(
      channels,
      (3, 3),
      padding=((1, 1), (1, 1)),
      dtype=jnp.float32,
      precision=jax.lax.Precision.HIGHEST,
      kernel_init=nn.initializers.zeros,
      name='output',
    )
    return output(hidden).reshape(points.shape)


class Transformer(nn.Module):
  """For spatial latents: a transformer of a token per pixel (Peebles & Xie 2023, adaLN-zero)."""

  width: int
  depth: int
  shape: tuple[int, int, int]
  dtype: Any  # of the dense layers of its blocks, and of the attention

  @nn.compact
  def __call__(
    self, points: Latents, times: Times, context: Context
  ) -> Float[Array, 'batch latent']:
    height, width, channels = self.shape
    signal = Signal(self.width, name='signal')(times, context)
    begin = nn.initializers.normal(0.02)
    positions = self.param('positions', begin, (height * width, self.width))
    tokens = dense(self.width, name='input')(points.reshape(-1, height * width, channels))
    tokens += positions[None]
    for block in range(self.depth):
      vectors = Modulation(6, name=f'modulation{block}')(tokens, signal)
      scale, shift, gate = vectors[:3]
      attend = Attention(self.dtype, name=f'attention{block}')
      tokens += gate * attend(modulated(tokens, scale, shift))
      scale, shift, gate = vectors[3:]
      inner = modulated(tokens, scale, shift)
      inner = nn.Dense(4 * self.width, dtype=self.dtype, name=f'block{block}_dense0')(inner)
      inner = nn.Dense(self.width, dtype=self.dtype, name=f'block{block}_dense1')(nn.gelu(inner))
      tokens += gate * inner
    scale, shift = Modulation(2, name='modulation_output')(tokens, signal)
    output = dense(channels, is_zero=True, name='output')
    return output(modulated(tokens, scale, shift)).reshape(points.shape)


class Attention(nn.Module):
  """Self-attention with heads of 32 features."""

  dtype: Any

  @nn.compact
  def __call__(
    self, inputs: Float[ArrayLike, 'batch tokens features']
  ) -> Float[Array, 'batch tokens features']:
    features = inputs.shape[-1]
    vectors = nn.Dense(3 * features, dtype=self.dtype, name='inputs')(inputs)
    heads = vectors.reshape(*inputs.shape[:2], 3, features // 32, 32)
    attended = jax.nn.dot_product_attention(*(heads[:, :, number] for number in range(3)))
    output = nn.Dense(features, dtype=self.dtype, name='output')
    return output(attended.reshape(inputs.shape))


@VELOCITIES.register('mlp')
def _mlp(config, shape: tuple[int, ...]) -> MLP:
  return MLP(config.velocity.width, config.velocity.depth)


@VELOCITIES.register('unet')
def _unet(config, shape: tuple[int, ...]) -> UNet:
  _check_spatial(config, shape)
  style = blocks.style(config)
  return UNet(config.velocity.width, config.velocity.depth, shape, style.dtype, style.folded)


@VELOCITIES.register('dit')
def _dit(config, shape: tuple[int, ...]) -> Transformer:
  _check_spatial(config, shape)
  dtype = jnp.dtype(config.precision)
  return Transformer(config.velocity.width, config.velocity.depth, shape, dtype)


def _check_spatial(config, shape: tuple[int, ...]) -> None:
  if len(shape) != 3:
    raise InputError(
      f'velocity.name={config.velocity.name!r} is for latents of height, width and channels, but '
      f'those of the first stage are {math.prod(shape)} numbers without places. Set '
      '--config.velocity.name=mlp, or train a first stage with model.latent_channels.'
    )
