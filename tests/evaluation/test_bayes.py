"""Calibration: reliability diagrams and the expected calibration error."""

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve

from cvae_jax.evaluation import bayes


def test_reliability_as_scikit_learn_bins():
  random = np.random.RandomState(0)
  logits = 2 * random.randn(5000, 2)
  log_probabilities = special.log_softmax(logits, axis=1)
  labels = (random.rand(5000) > 0.4).astype(int)
  bins = bayes.reliability(log_probabilities, labels)
  correct = log_probabilities.argmax(1) == labels
  confidence = np.exp(log_probabilities.max(1))
  accuracy, mean = calibration_curve(correct, confidence, n_bins=bayes.NUM_BINS)
  full = bins.counts > 0
  np.testing.assert_allclose(bins.accuracy[full], accuracy)
  np.testing.assert_allclose(bins.confidence[full], mean)
  expected = 0.0
  for low, high in zip(bins.edges[:-1], bins.edges[1:], strict=True):
    inside = (confidence > low) & (confidence <= high)
    if inside.any():
      expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
  assert bins.calibration_error == pytest.approx(expected)


def test_a_model_that_is_sure_and_right_is_calibrated():
  log_probabilities = np.log(np.array([[1.0, 1e-30], [1e-30, 1.0]]))
  assert bayes.reliability(log_probabilities, np.array([0, 1])).calibration_error < 1e-9
  assert bayes.reliability(log_probabilities, np.array([1, 0])).calibration_error == pytest.approx(
    1
  )
