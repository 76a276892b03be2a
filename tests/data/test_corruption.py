"""The noise of a denoising autoencoder, by its moments."""

import jax
import numpy as np
import pytest

from cvae_jax.data import corruption

KEY = jax.random.key(0)


def test_gaussian_noise_has_its_standard_deviation_and_is_clipped():
  grey = np.full((50, 20, 20, 3), 0.5, np.float32)
  noisy = np.asarray(corruption.corrupt('gaussian', 0.1, KEY, grey))
  assert noisy.std() == pytest.approx(0.1, rel=0.02)
  assert noisy.mean() == pytest.approx(0.5, abs=0.002)
  white = np.asarray(corruption.corrupt('gaussian', 0.1, KEY, np.ones_like(grey)))
  assert white.max() == 1
  assert np.mean(white < 1) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(('kind', 'white'), [('salt_and_pepper', 0.15), ('masking', 0.0)])
def test_a_fraction_of_the_pixels_is_lost_in_all_channels(kind, white):
  grey = np.full((50, 20, 20, 3), 0.5, np.float32)
  noisy = np.asarray(corruption.corrupt(kind, 0.3, KEY, grey))
  np.testing.assert_array_equal(noisy.min(axis=-1), noisy.max(axis=-1))
  assert np.mean(noisy == 1) == pytest.approx(white, abs=0.01)
  assert np.mean(noisy == 0) == pytest.approx(0.3 - white, abs=0.01)
  assert set(np.unique(noisy)) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize('kind', corruption.KINDS)
def test_level_0_changes_nothing_and_each_key_has_its_own_noise(kind):
  images = np.random.RandomState(0).rand(4, 8, 8, 1).astype(np.float32)
  np.testing.assert_array_equal(corruption.corrupt(kind, 0.0, KEY, images), images)
  one, other = (corruption.corrupt(kind, 0.5, jax.random.key(n), images) for n in (0, 1))
  assert not np.array_equal(one, other)


def test_an_unknown_kind_is_refused():
  with pytest.raises(ValueError, match=r"corruption='blur' .*gaussian"):
    corruption.corrupt('blur', 0.1, KEY, np.zeros((1, 2, 2, 1), np.float32))
