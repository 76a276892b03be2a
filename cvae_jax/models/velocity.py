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

from cvae_jax.runtime.registry import Registry

# Functions of (config, shape of the latents: (D,), or (height, width, channels)) -> a module; see
# above. Spatial latents are [B, D] as well, row by row.
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


def dense(
  features: int, dtype: Any = jnp.float32, is_zero: bool = False, name: str | None = None
) -> nn.Dense:
  """A dense layer; one of zeros gives 0 until it is trained."""
  # HIGHEST: by default an accelerator multiplies float32 in fewer digits, which a density shows.
  precision = jax.lax.Precision.HIGHEST if dtype == jnp.float32 else None
  kernel = nn.initializers.zeros if is_zero else nn.initializers.lecun_normal()
  return nn.Dense(features, dtype=dtype, precision=precision, kernel_init=kernel, name=name)


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


@VELOCITIES.register('mlp')
def _mlp(config, shape: tuple[int, ...]) -> MLP:
  return MLP(config.velocity.width, config.velocity.depth)
