"""Fills holes of images: a flow, trained without holes, finds latents that fit the known pixels.

Pure functions of arrays, of a velocity and of a decoder, which know their conditions.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax.models import flow_matching
from cvae_jax.models.flow_matching import Velocity

SIGMA = 0.05  # of a known pixel around the decoder's, where pixels go from 0 to 1
ITERATIONS = 2  # of the conjugate gradients in each step

Points = Float[ArrayLike, 'batch latent']
Images = Float[ArrayLike, 'batch h w c']
Moves = Float[Array, 'batch latent']


def fill(
  velocity: Velocity,
  decode: Callable[[Points], Images],
  images: Images,
  known: Images,
  noise: Points,
  num_steps: int,
  iterations: int = ITERATIONS,
) -> Moves:
  """Follows the velocity from noise to points whose images agree with the known pixels.

  After each step of Heun's method from t to s, the path moves by s · δ. Here x̂ = x + (1 − t) v is
  the flow's estimate of the data, and δ moves it to fit the known pixels; see `fitting`. As in
  FlowChef (Patel et al. 2024), no gradient passes through the velocity; the size of the move is
  that of ΠGDM (Song et al. 2023) and OT-ODE (Pokle et al. 2023): p(x₁ | x) is taken for N(x̂, r² I)
  with r² = (1 − t)² / (t² + (1 − t)²), which is exact for data ~ N(0, I).

  Args:
    velocity: of the points.
    decode: images of points, in [0, 1]; differentiable.
    images: pixels in [0, 1]; those that are not known have no effect.
    known: 1 for known pixels, 0 for the others.
    noise: the points at time 0.
    num_steps: 1 or more.
    iterations: see `fitting`.

  Returns:
    The points at time 1.
  """

  def step(points, number):
    time, after = number / num_steps, (number + 1) / num_steps
    estimate = points + (1 - time) * velocity(points, jnp.full(len(points), time))
    variance = (1 - time) ** 2 / (time**2 + (1 - time) ** 2)
    move = fitting(decode, estimate, images, known, variance, iterations)
    return flow_matching.solve(velocity, points, 1, begin=time, end=after) + after * move, None

  return jax.lax.scan(step, jnp.asarray(noise), jnp.arange(num_steps, dtype=jnp.float32))[0]


def fitting(
  decode: Callable[[Points], Images],
  points: Points,
  images: Images,
  known: Images,
  variance: Float[ArrayLike, ''],
  iterations: int,
) -> Moves:
  """The move δ of points to the likeliest x ~ N(points, variance · I), given the known pixels.

  It minimizes ‖δ‖² / variance + ‖known · (images − decode(points) − J δ)‖² / σ² with the Jacobian J
  of the decoder: one step of Gauss and Newton, whose equations
  (I + variance / σ² · JᵀJ) δ = variance / σ² · Jᵀ(images − decode(points)) conjugate gradients
  solve, in as many iterations as δ has dimensions, or nearly in fewer.
  """
  decoded, pullback = jax.vjp(lambda x: known * decode(x), jnp.asarray(points))
  # The pullback is linear, so its own pullback is J: decoders need no forward-mode derivative.
  _, pushforward = jax.vjp(lambda x: pullback(x)[0], jnp.zeros_like(decoded))
  weight = variance / SIGMA**2
  equations = lambda x: x + weight * pullback(pushforward(x)[0])[0]  # noqa: E731
  return _conjugate_gradients(equations, weight * pullback(known * images - decoded)[0], iterations)


def _conjugate_gradients(matrix: Callable[[Array], Array], right: Moves, iterations: int) -> Moves:
  """Solves matrix(x) = right, positive definite, for each row apart (Hestenes & Stiefel 1952)."""

  def dot(first, second):
    return jnp.sum(first * second, axis=-1, keepdims=True)

  def ratio(first, second):  # 0 / 0 where a row is solved
    return jnp.where(second > 0, first / jnp.where(second > 0, second, 1.0), 0.0)

  def iterate(carry, _):
    solution, residual, direction = carry
    image, length = matrix(direction), dot(residual, residual)
    step = ratio(length, dot(direction, image))
    solution, residual = solution + step * direction, residual - step * image
    return (solution, residual, residual + ratio(dot(residual, residual), length) * direction), None

  start = jnp.zeros_like(right), right, right
  return jax.lax.scan(iterate, start, length=iterations)[0][0]
