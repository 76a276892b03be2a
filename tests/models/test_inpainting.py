"""Filling holes, against Gaussians, whose conditional distributions are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import inpainting

LATENTS, HEIGHT, WIDTH = 6, 4, 3
RANDOM = np.random.RandomState(0)
MATRIX = np.float32(RANDOM.randn(LATENTS, HEIGHT * WIDTH))  # of a linear decoder
BIAS = np.float32(RANDOM.randn(HEIGHT * WIDTH))
KNOWN = np.zeros((HEIGHT, WIDTH, 1), np.float32)
KNOWN[0] = 1  # three pixels, of six latents: three directions are free


def decode(points):
  return (points @ MATRIX + BIAS[None]).reshape(-1, HEIGHT, WIDTH, 1)


def velocity(points, times):
  """That of data ~ N(0, I): x̂₁ = t x / (t² + (1 − t)²)."""
  times = times[:, None]
  return points * (2 * times - 1) / (times**2 + (1 - times) ** 2)


def fills(count, num_steps, iterations=LATENTS):
  image = np.float32(decode(RANDOM.randn(1, LATENTS)))
  images, known = (np.broadcast_to(x, (count, HEIGHT, WIDTH, 1)) for x in (image, KNOWN))
  noise = np.float32(np.random.RandomState(1).randn(count, LATENTS))
  points = inpainting.fill(velocity, decode, images, known, noise, num_steps, iterations)
  return np.asarray(image), np.asarray(points)


def test_the_distribution_given_known_pixels():
  """Of z ~ N(0, I) and y = A z + b + σ ε it is N(m, (I + AᵀA / σ²)⁻¹)."""
  image, points = fills(20_000, 40)
  seen = MATRIX[:, :WIDTH]
  precision = np.eye(LATENTS) + seen @ seen.T / inpainting.SIGMA**2
  offset = image.ravel()[:WIDTH] - BIAS[:WIDTH]
  mean = np.linalg.solve(precision, seen @ offset) / inpainting.SIGMA**2
  np.testing.assert_allclose(points.mean(axis=0), mean, atol=0.03)
  np.testing.assert_allclose(np.cov(points.T), np.linalg.inv(precision), atol=0.05)


def test_few_iterations_come_near():
  _, exact = fills(100, 40)
  image, points = fills(100, 40, iterations=1)
  errors = np.asarray(KNOWN * (decode(points) - image))
  assert np.sqrt(np.square(errors).sum() / (len(points) * WIDTH)) < 2 * inpainting.SIGMA
  assert not np.allclose(points, exact, atol=1e-3)


def test_the_hole_has_no_effect():
  image = np.full((1, HEIGHT, WIDTH, 1), 0.3, np.float32)
  other = np.where(KNOWN > 0, image, np.float32(0.9))
  noise = np.ones((1, LATENTS), np.float32)
  first, second = (
    inpainting.fill(velocity, decode, x, KNOWN[None], noise, 5, 2) for x in (image, other)
  )
  np.testing.assert_array_equal(first, second)


def test_a_row_does_not_depend_on_others():
  images = np.float32(RANDOM.rand(3, HEIGHT, WIDTH, 1))
  known = np.broadcast_to(KNOWN, images.shape)
  noise = np.float32(RANDOM.randn(3, LATENTS))
  together = inpainting.fill(velocity, decode, images, known, noise, 5, 2)
  alone = inpainting.fill(velocity, decode, images[1:2], known[1:2], noise[1:2], 5, 2)
  np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('variance', [0.01, 1.0])
def test_the_move_to_known_pixels(variance):
  """With as many iterations as dimensions it is the solution of the normal equations."""
  points = np.float32(RANDOM.randn(2, LATENTS))
  images = np.float32(RANDOM.rand(2, HEIGHT, WIDTH, 1))
  known = np.broadcast_to(KNOWN, images.shape)
  move = inpainting.fitting(decode, points, images, known, jnp.float32(variance), LATENTS + 2)
  seen = MATRIX[:, :WIDTH]
  missing = (images - np.asarray(decode(points))).reshape(2, -1)[:, :WIDTH]
  matrix = np.eye(LATENTS) / variance + seen @ seen.T / inpainting.SIGMA**2
  wanted = np.linalg.solve(matrix, seen @ missing.T / inpainting.SIGMA**2).T
  np.testing.assert_allclose(move, wanted, atol=2e-3)


def test_what_fits_stays():
  points = np.float32(RANDOM.randn(1, LATENTS))
  images = np.asarray(decode(points))
  move = inpainting.fitting(decode, points, images, KNOWN[None], 1.0, 3)
  np.testing.assert_allclose(move, np.zeros_like(points), atol=1e-5)
  move = inpainting.fitting(decode, points, images, 0 * KNOWN[None], 1.0, 3)  # 0 / 0 inside
  np.testing.assert_array_equal(move, np.zeros_like(points))
