"""Interpolations, traversals and grids."""

import numpy as np
import pytest
from scipy import stats

from cvae_jax.inference import interpolation

RANDOM = np.random.RandomState(0)
FIRST, SECOND = RANDOM.randn(2, 5, 16).astype(np.float32)


@pytest.mark.parametrize('interpolate', interpolation.METHODS.values())
def test_ends(interpolate):
  points = interpolate(FIRST, SECOND, 7)
  assert points.shape == (5, 7, 16)
  assert points.dtype == np.float32
  np.testing.assert_allclose(points[:, 0], FIRST, atol=1e-5)
  np.testing.assert_allclose(points[:, -1], SECOND, atol=1e-5)


def test_a_line_has_equal_steps():
  points = interpolation.linear(FIRST, SECOND, 5)
  np.testing.assert_allclose(points[:, 2], (FIRST + SECOND) / 2, atol=1e-6)
  np.testing.assert_allclose(np.diff(points, 2, axis=1), 0, atol=1e-6)


def test_an_arc_turns_by_equal_angles_and_keeps_the_length():
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (FIRST, SECOND)]
  points = interpolation.spherical(*unit, 6)
  np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, atol=1e-5)
  angles = np.arccos(np.sum(points[:, 1:] * points[:, :-1], axis=-1))
  np.testing.assert_allclose(angles, angles[:, :1] * np.ones(5), atol=1e-3)


@pytest.mark.parametrize('factor', [1.0, 3.0, -1.0, 0.0])
def test_parallel_ends_are_joined_by_a_line(factor):
  points = interpolation.spherical(FIRST, factor * FIRST, 5)
  np.testing.assert_allclose(points, interpolation.linear(FIRST, factor * FIRST, 5), atol=1e-5)


def test_a_traversal_moves_one_dimension_at_a_time():
  values = np.array([-3.0, 0.0, 3.0])[:, None] + np.arange(16)
  points = interpolation.traversals(FIRST[0], values)
  assert points.shape == (16, 3, 16)
  for dimension in range(16):
    np.testing.assert_allclose(points[dimension, :, dimension], values[:, dimension])
    others = np.delete(points[dimension], dimension, axis=1)
    np.testing.assert_array_equal(others, np.tile(np.delete(FIRST[0], dimension), (3, 1)))


def test_a_grid_lies_at_quantiles_of_the_prior():
  mean, std = np.array([0, 4.0, 1, -2]), np.array([1, 3, 0.5, 3])
  points = interpolation.quantile_grid(mean, std, (2, 0), 9)
  across, down = points[:, :, 2], points[:, :, 0]
  probabilities = stats.norm(1, 0.5).cdf(across[0])
  np.testing.assert_allclose(probabilities, (np.arange(9) + 0.5) / 9, atol=1e-6)
  np.testing.assert_array_equal(across, across[:1].repeat(9, 0))
  np.testing.assert_allclose(2 * (across.T - 1), down, atol=1e-6)
  assert (points[:, :, [1, 3]] == [4, -2]).all()
