"""From bytes to the pixels of a likelihood, and back."""

import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax.data import transforms


def test_scaling_and_its_inverse():
  images = jnp.array([0, 51, 255], jnp.uint8)
  unit = transforms.to_unit_interval(images)
  np.testing.assert_allclose(unit, [0, 0.2, 1], rtol=1e-6)
  scaled = transforms.to_pixel_range(unit, (-1.0, 1.0))
  np.testing.assert_allclose(scaled, [-1, -0.6, 1], rtol=1e-6)
  np.testing.assert_allclose(transforms.to_display(scaled, (-1.0, 1.0)), unit, atol=1e-7)
  np.testing.assert_array_equal(transforms.to_display(jnp.array([-3.0, 3.0]), (-1.0, 1.0)), [0, 1])


def test_binarization_draws_each_pixel_with_its_own_probability():
  images = jnp.broadcast_to(jnp.array([0.0, 0.2, 1.0]), (20_000, 3))
  draws = transforms.binarize(jax.random.key(0), images)
  assert set(np.unique(draws)) == {0.0, 1.0}
  np.testing.assert_allclose(draws.mean(0), [0, 0.2, 1], atol=4 * np.sqrt(0.16 / 20_000))
  assert not np.array_equal(draws, transforms.binarize(jax.random.key(1), images))
