"""Metrics of reconstructions against scikit-image."""

import numpy as np
import pytest
from skimage import metrics as reference

from cvae_jax.evaluation import reconstruction


def pair(shape):
  random = np.random.RandomState(0)
  images = random.rand(*shape).astype(np.float32)
  return images, np.clip(images + 0.2 * random.randn(*shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize('shape', [(5, 28, 28, 1), (3, 32, 32, 3), (300, 12, 12, 1)])
def test_metrics_equal_those_of_scikit_image(shape):
  images, others = pair(shape)
  scores = reconstruction.scores(images, others)
  for row in (0, 1, shape[0] - 1):
    first, second = np.float64(images[row]), np.float64(others[row])
    assert scores['mse'][row] == pytest.approx(
      reference.mean_squared_error(first, second), rel=1e-5
    )
    assert scores['psnr'][row] == pytest.approx(
      reference.peak_signal_noise_ratio(first, second, data_range=1), rel=1e-5
    )
    _, places = reference.structural_similarity(
      first,
      second,
      data_range=1,
      channel_axis=-1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
      full=True,
    )
    # Where the window of 11 pixels lies inside the image.
    assert scores['ssim'][row] == pytest.approx(places[5:-5, 5:-5].mean(), abs=1e-4)


def test_equal_images():
  images, _ = pair((2, 28, 28, 1))
  scores = reconstruction.scores(images, images)
  np.testing.assert_allclose(scores['ssim'], 1, atol=1e-5)
  np.testing.assert_array_equal(scores['mse'], 0)
  np.testing.assert_array_equal(scores['psnr'], reconstruction.MAX_PSNR)


def test_images_smaller_than_the_window():
  images, others = pair((2, 8, 8, 1))
  assert np.all(np.isfinite(reconstruction.scores(images, others)['ssim']))


def test_a_metric_of_the_user_s_own_is_computed_beside_the_others(monkeypatch):
  registry = reconstruction.RECONSTRUCTION_METRICS
  monkeypatch.setattr(registry, '_entries', dict(registry._entries))

  @registry.register('largest')
  def largest(images, reconstructions):
    return abs(images - reconstructions).max(axis=(1, 2, 3))

  images, others = pair((3, 8, 8, 1))
  scores = reconstruction.scores(images, others)
  assert set(scores) == {'mse', 'psnr', 'ssim', 'largest'}
  np.testing.assert_allclose(scores['largest'], np.abs(images - others).max((1, 2, 3)), rtol=1e-6)
