"""Flow matching: an ordinary differential equation carries noise at time 0 to data at time 1.

A velocity v(x, t) is learned by regression on straight lines between noise and data (Lipman et al.
2023, "Flow matching for generative modeling"; Liu et al. 2023, "Flow straight and fast"). Pure
functions of arrays and of a velocity, which knows its conditions; all in float32.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from cvae_jax.runtime.errors import InputError, check_integer

Points = Float[ArrayLike, 'batch *size features']
Times = Float[ArrayLike, ' batch']  # 0: noise, 1: data
Velocity = Callable[
  [Points, Times], Float[Array, 'batch *size features']
]  # (points, times) -> dx/dt

METHODS = ('heun', 'euler')

# Numbers of one pullback of `log_prob`: batch × dimensions × rows of the Jacobian at a time.
MAX_JACOBIAN = 1 << 18


def interpolate(
  noise: Points, data: Points, times: Times
) -> tuple[Float[Array, 'batch *size features'], Float[Array, 'batch *size features']]:
  """Points on the lines from noise to data, and the velocity there, which a network regresses on.

  x_t = (1 − t) x₀ + t x₁ and v = x₁ − x₀ (Liu et al. 2023, equation 1). The expectation of v given
  x_t is the velocity that carries the distribution of the noise to that of the data.

  Args:
    noise: x₀ ~ N(0, I).
    data: x₁.
    times: t, from 0 to 1.
  """
  times = jnp.expand_dims(times, range(1, jnp.ndim(noise)))
  return (1 - times) * noise + times * data, jnp.subtract(data, noise)


def logit_normal(key: Key[Array, ''], shape: tuple[int, ...]) -> Float[Array, '...']:
  """Times in (0, 1) whose logit is ~ N(0, 1): most in the middle, where the velocity is hardest.

  (Esser et al. 2024, "Scaling rectified flow transformers", section 3.1, with m = 0 and s = 1.)
  """
  return jax.nn.sigmoid(jax.random.normal(key, shape))


def guided(conditional: Velocity, unconditional: Velocity, guidance: float) -> Velocity:
  """v_u + guidance · (v_c − v_u): classifier-free guidance (Ho & Salimans 2022, equation 6).

  Args:
    conditional: the velocity under the conditions.
    unconditional: the velocity under unknown conditions.
    guidance: 1 is the conditional velocity alone, 0 the unconditional one, each at the cost of one;
      more than 1 exaggerates what the conditions change.
  """
  if guidance == 1:
    return conditional
  if guidance == 0:
    return unconditional

  def velocity(points, times):
    without = unconditional(points, times)
    return without + guidance * (conditional(points, times) - without)

  return velocity


def solve(
  velocity: Velocity,
  start: Points,
  num_steps: int,
  method: str = 'heun',
  begin: Float[ArrayLike, ''] = 0.0,
  end: Float[ArrayLike, ''] = 1.0,
) -> Float[Array, 'batch *size features']:
  """Follows the velocity from time `begin` to time `end`, in steps of the same length.

  From 0 to 1 it draws data from noise, from 1 to 0 it finds the noise of data. From the middle, it
  gives variations of data that `interpolate` has mixed with noise.

  Args:
    velocity: of the points; called once in a step of Euler, twice in one of Heun.
    start: the points at `begin`.
    num_steps: 1 or more.
    method: heun, with an error of order num_steps⁻², or euler, of order num_steps⁻¹.
    begin: a time from 0 to 1.
    end: a time from 0 to 1.

  Raises:
    InputError: `num_steps` or `method` is none of these.
  """

  def derivative(points, time):
    return velocity(points, jnp.full(len(points), time)).astype(jnp.float32)

  return _integrate(derivative, jnp.asarray(start, jnp.float32), num_steps, method, begin, end)


def log_prob(
  velocity: Velocity, points: Float[ArrayLike, 'batch dimensions'], num_steps: int
) -> Float[Array, ' batch']:
  """log p(x₁) of data under the flow, in nats, by Heun's method.

  log p(x₁) = log N(x₀; 0, I) − ∫₀¹ ∇·v(x_t, t) dt along the path that ends in x₁ (Chen et al. 2018,
  "Neural ordinary differential equations", theorem 1). The divergence is exact: the trace of the
  Jacobian, row by row.

  Args:
    velocity: of the points; that of one point must not depend on the others.
    points: x₁.
    num_steps: 1 or more; each costs two Jacobians.
  """
  points = jnp.asarray(points, jnp.float32)

  def derivative(state, time):
    velocities, divergences = _with_divergence(velocity, state[0], time)
    return velocities.astype(jnp.float32), divergences.astype(jnp.float32)

  start = points, jnp.zeros(len(points))
  noise, negative_integral = _integrate(derivative, start, num_steps, 'heun', 1.0, 0.0)
  log_normal = -0.5 * jnp.sum(jnp.square(noise) + math.log(2 * math.pi), axis=-1)
  return log_normal + negative_integral


def _with_divergence(velocity: Velocity, points: Array, time: Array) -> tuple[Array, Array]:
  """Velocities [B, D] and the traces [B] of their Jacobians."""
  batch, dimensions = points.shape
  velocities, pullback = jax.vjp(lambda points: velocity(points, jnp.full(batch, time)), points)

  def diagonal(dimension):
    row = jax.nn.one_hot(dimension, dimensions, dtype=velocities.dtype)
    return pullback(jnp.broadcast_to(row, (batch, dimensions)))[0][:, dimension]

  rows_at_once = min(dimensions, max(1, MAX_JACOBIAN // points.size))
  diagonals = jax.lax.map(diagonal, jnp.arange(dimensions), batch_size=rows_at_once)
  return velocities, diagonals.sum(axis=0)


def _integrate(
  derivative: Callable[[Any, Array], Any],
  state: Any,
  num_steps: int,
  method: str,
  begin: ArrayLike,
  end: ArrayLike,
) -> Any:
  """The state, a tree of arrays, at time `end`; (state, time) -> a tree of the same form."""
  check_integer('num_steps', num_steps, 1)
  if method not in METHODS:
    raise InputError(f'method={method!r} is not one of: {", ".join(METHODS)}.')

  def time(number):
    fraction = number / num_steps
    return (1 - fraction) * begin + fraction * end  # exact at both ends

  def moved(state, *derivatives):
    weight = (end - begin) / (num_steps * len(derivatives))
    return jax.tree.map(lambda start, *ds: start + weight * sum(ds), state, *derivatives)

  def step(state, number):
    first = derivative(state, time(number))
    if method == 'euler':
      return moved(state, first), None
    second = derivative(moved(state, first), time(number + 1))
    return moved(state, first, second), None

  return jax.lax.scan(step, state, jnp.arange(num_steps, dtype=jnp.float32))[0]
