"""A flow over the latents of a trained model, given their conditions."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax.models import blocks, flow_matching, generation, inpainting, velocity
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models.conditions import Input
from cvae_jax.models.cvae import CVAE, Conditions
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import keys

STATIC = ('network', 'decoder', 'likelihood', 'guidance', 'num_steps')  # arguments of a program
NUM_STEPS = 20  # of Heun's method, by default
STATISTICS = 'latents'  # the collection of their mean and standard deviation


class LatentFlow(nn.Module):
  """The velocity of latents, standardized by the mean and standard deviation of the training.

  They are not trained.
  """

  velocity: nn.Module  # (points, times, context) -> velocities
  latent_dim: int
  conditional: bool
  num_classes: int
  columns: tuple[Input, ...]
  embed_dim: int
  activation: str  # by name: pickle cannot store JAX's functions

  def setup(self):
    self.mean = self.variable(STATISTICS, 'mean', jnp.zeros, (self.latent_dim,))
    self.std = self.variable(STATISTICS, 'std', jnp.ones, (self.latent_dim,))
    if self.conditional:
      self.embedding = nn.Dense(self.embed_dim, precision=jax.lax.Precision.HIGHEST)

  def __call__(
    self,
    points: Float[ArrayLike, 'batch latent'],
    times: Float[ArrayLike, ' batch'],
    conditions: Conditions,
  ) -> Float[Array, 'batch latent']:
    """The velocities of standardized latents."""
    context = jnp.zeros((len(points), self.embed_dim))
    if self.conditional:
      inputs = conditions_lib.embedded_of(self.columns, self.num_classes, conditions)
      context = blocks.ACTIVATIONS[self.activation](self.embedding(inputs))
    return self.velocity(points, times, context)

  def standardized(self, latents: Float[ArrayLike, 'batch latent']) -> Float[Array, 'batch latent']:
    """Latents as the flow has them."""
    return (latents - self.mean.value[None]) / self.std.value[None]

  def in_units(self, points: Float[ArrayLike, 'batch latent']) -> Float[Array, 'batch latent']:
    """The inverse of `standardized`."""
    return self.mean.value[None] + self.std.value[None] * points


def build(config, latent_shape: tuple[int, ...]) -> LatentFlow:
  """The flow of a checked config.

  Args:
    config: of the second stage.
    latent_shape: (latent,), or (height, width, channels) of a map.
  """
  return LatentFlow(
    velocity=velocity.build(config, latent_shape),
    latent_dim=int(jnp.prod(jnp.asarray(latent_shape))),
    conditional=config.conditional,
    num_classes=config.data.num_classes,
    columns=conditions_lib.of_config(config),
    embed_dim=config.model.embed_dim,
    activation=config.model.activation,
  )


def init(network: LatentFlow, key: Key[Array, '']) -> dict:
  """The variables of an untrained flow."""
  return network.init(key, *_one(network))


def _one(network: LatentFlow) -> tuple[Array, Array, Array]:
  """Points, times and conditions of a batch of one."""
  conditions = jnp.zeros((1,), jnp.int32)
  if network.columns:
    conditions = jnp.zeros((1, len(network.columns)))
  return jnp.zeros((1, network.latent_dim)), jnp.zeros((1,)), conditions


def compiled(function: Callable, network: LatentFlow) -> Callable:
  """One of the functions below, compiled for programs of this network on their own."""
  return _compiled(function, tuple(velocity.compiler_options(network.velocity).items()))


@functools.cache
def _compiled(function: Callable, options: tuple[tuple[str, str], ...]) -> Callable:
  static = [name for name in inspect.signature(function).parameters if name in STATIC]
  return jax.jit(function, static_argnames=static, compiler_options=dict(options))


def velocity_of(
  network: LatentFlow, variables: dict, conditions: Conditions, guidance: float = 1.0
) -> flow_matching.Velocity:
  """The velocity field under these conditions, with classifier-free guidance.

  Args:
    network: the flow.
    variables: its.
    conditions: of the batch.
    guidance: the factor of the conditions' effect; 1 is no guidance. Another one needs a
      flow that was trained with `condition_dropout`.
  """
  conditional = lambda points, times: network.apply(variables, points, times, conditions)  # noqa: E731
  if guidance == 1:
    return conditional
  unknown = jnp.full_like(conditions, jnp.nan)
  unconditional = lambda points, times: network.apply(variables, points, times, unknown)  # noqa: E731
  return flow_matching.guided(conditional, unconditional, guidance)


def draw(
  network: LatentFlow,
  variables: dict,
  conditions: Conditions,
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
  temperature: Float[Array, ''] | float,
  guidance: float = 1.0,
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """Latents; each depends on the key, its index and its conditions.

  The temperature is a factor on the noise that the flow begins with.
  """
  noise = temperature * _noise(network, key, indices)
  velocity = velocity_of(network, variables, conditions, guidance)
  points = flow_matching.solve(velocity, noise, num_steps)
  return network.apply(variables, points, method='in_units')


def _noise(
  network: LatentFlow, key: Key[Array, ''], indices: Int[Array, ' batch']
) -> Float[Array, 'batch latent']:
  """Standard normal noise, of each example its own."""
  draw = lambda key: jax.random.normal(key, (network.latent_dim,), jnp.float32)  # noqa: E731
  return jax.vmap(draw)(keys.per_example(key, indices))


def vary(
  network: LatentFlow,
  variables: dict,
  latents: Float[ArrayLike, 'batch latent'],
  conditions: Conditions,
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
  amount: Float[Array, ''] | float,
  temperature: Float[Array, ''] | float,
  guidance: float = 1.0,
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """Latents mixed with noise at time 1 − `amount`, which the flow takes back to time 1.

  With the amount 1 nothing of them is left, and it is `draw` (SDEdit, Meng et al. 2022, has a
  diffusion model do this to images).
  """
  points = network.apply(variables, latents, method='standardized')
  noise = temperature * _noise(network, key, indices)
  begin = 1 - amount
  mixed, _ = flow_matching.interpolate(noise, points, jnp.full(len(points), begin))
  velocity = velocity_of(network, variables, conditions, guidance)
  points = flow_matching.solve(velocity, mixed, num_steps, begin=begin)
  return network.apply(variables, points, method='in_units')


def to_noise(
  network: LatentFlow,
  variables: dict,
  latents: Float[ArrayLike, 'batch latent'],
  conditions: Conditions,
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """The noise that gives `latents`, unguided."""
  points = network.apply(variables, latents, method='standardized')
  velocity = velocity_of(network, variables, conditions)
  return flow_matching.solve(velocity, points, num_steps, begin=1.0, end=0.0)


def from_noise(
  network: LatentFlow,
  variables: dict,
  noise: Float[ArrayLike, 'batch latent'],
  conditions: Conditions,
  others: Conditions,
  fractions: Float[ArrayLike, ' batch'],
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """The latents that noise gives, unguided, between two conditions.

  The velocity is (1 − fraction) times that under `conditions`, plus fraction times that under
  `others`.
  """
  first, second = (velocity_of(network, variables, rows) for rows in (conditions, others))

  def velocity(points, times):
    begin = first(points, times)
    return begin + fractions[:, None] * (second(points, times) - begin)

  points = flow_matching.solve(velocity, noise, num_steps)
  return network.apply(variables, points, method='in_units')


def fill(
  network: LatentFlow,
  variables: dict,
  decoder: CVAE,
  likelihood: Likelihood,
  decoder_variables: dict,
  images: Float[ArrayLike, 'batch h w c'],
  known: Float[ArrayLike, 'batch h w c'],
  conditions: Conditions,
  decoder_conditions: Conditions,
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
  guidance: float = 1.0,
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """Latents whose images agree with known pixels; see `inpainting.fill`.

  Args:
    network: the flow.
    variables: its.
    decoder: the first stage.
    likelihood: its.
    decoder_variables: its.
    images: in [0, 1].
    known: 1 for known pixels, 0 for those to fill.
    conditions: as the flow takes them.
    decoder_conditions: as the first stage takes them.
    key: of the noise.
    indices: of the noise.
    guidance: see `velocity_of`.
    num_steps: of the flow.
  """

  def decode_points(points):
    latents = network.apply(variables, points, method='in_units')
    return generation.decode(decoder, likelihood, decoder_variables, latents, decoder_conditions)

  points = inpainting.fill(
    velocity_of(network, variables, conditions, guidance),
    decode_points,
    images,
    known,
    _noise(network, key, indices),
    num_steps,
  )
  return network.apply(variables, points, method='in_units')


def change_conditions(
  network: LatentFlow,
  variables: dict,
  latents: Float[ArrayLike, 'batch latent'],
  conditions: Conditions,
  others: Conditions,
  num_steps: int = NUM_STEPS,
) -> Float[Array, 'batch latent']:
  """What the noise that gives `latents` under `conditions` gives under `others`, unguided."""
  noise = to_noise(network, variables, latents, conditions, num_steps)
  points = flow_matching.solve(velocity_of(network, variables, others), noise, num_steps)
  return network.apply(variables, points, method='in_units')


def log_prob(
  network: LatentFlow,
  variables: dict,
  latents: Float[ArrayLike, 'batch latent'],
  conditions: Conditions,
  num_steps: int = NUM_STEPS,
) -> Float[Array, ' batch']:
  """log p(z | c) of latents in their own units, in nats, unguided: guidance gives no density.

  That of the standardized latents, log p(x₁ | c), less Σ log s of their standard deviations s. See
  `flow_matching.log_prob` for what it costs.
  """
  points = network.apply(variables, latents, method='standardized')
  of_points = flow_matching.log_prob(velocity_of(network, variables, conditions), points, num_steps)
  return of_points - jnp.sum(jnp.log(variables[STATISTICS]['std']))


def operations(network: LatentFlow, variables: dict, num_steps: int = NUM_STEPS) -> float:
  """Floating-point operations of `log_prob` of one latent: Heun's Jacobians, each of all rows."""
  lowered = jax.jit(network.apply).lower(variables, *_one(network))
  return 2 * num_steps * (1 + network.latent_dim) * lowered.cost_analysis()['flops']
