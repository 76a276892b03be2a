"""Fréchet distance, coverage and diversity."""

import numpy as np
import pytest
from scipy import linalg

from cvae_jax.evaluation import samples


def test_the_distance_of_features_from_themselves_is_0():
  features = np.random.RandomState(0).randn(500, 20)
  assert samples.frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_two_known_gaussians():
  """Diagonal covariances: Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
  random = np.random.RandomState(0)
  means, deviations = random.randn(2, 4), 1 + random.rand(2, 4)
  first, second = (m + d * random.randn(200_000, 4) for m, d in zip(means, deviations, strict=True))
  exact = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
  assert samples.frechet_distance(first, second) == pytest.approx(exact, rel=0.02)


def test_the_distance_with_the_matrix_root_of_scipy():
  random = np.random.RandomState(1)
  first = random.randn(300, 10) @ random.randn(10, 10)
  second = 1 + random.randn(400, 10) @ random.randn(10, 10)
  covariances = np.cov(first.T), np.cov(second.T)
  root = linalg.sqrtm(covariances[0] @ covariances[1]).real
  expected = np.sum((first.mean(0) - second.mean(0)) ** 2)
  expected += np.trace(covariances[0] + covariances[1] - 2 * root)
  assert samples.frechet_distance(first, second) == pytest.approx(expected)


def test_the_distance_of_a_single_image_is_undefined():
  features = np.random.RandomState(0).randn(5, 3)
  assert np.isnan(samples.frechet_distance(features[:1], features))


def test_constant_features_do_not_change_the_distance():
  features = np.random.RandomState(0).randn(50, 5) * np.array([1, 1, 0, 0, 0])
  assert samples.frechet_distance(features, features + 1) == pytest.approx(5, abs=1e-4)


def test_diversity_is_the_mean_over_classes_of_the_mean_over_pairs():
  random = np.random.RandomState(0)
  features, labels = random.randn(40, 3), np.arange(40) % 3
  means = []
  for label in range(3):
    own = features[labels == label]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(own) for b in own[:i]]
    means.append(np.mean(distances))
  assert samples.diversity(features, labels) == pytest.approx(np.mean(means))


def test_a_class_of_one_image_has_no_diversity():
  features = np.array([[0.0], [3.0], [9.0]])
  assert samples.diversity(features, np.array([0, 0, 1])) == 3.0
  assert np.isnan(samples.diversity(features, np.arange(3)))


def test_coverage_equals_that_of_a_loop():
  random = np.random.RandomState(0)
  real, drawn = random.randn(60, 3), 0.7 * random.randn(40, 3)
  covered = []
  for image in real:
    radius = np.sort(np.linalg.norm(real - image, axis=1))[5]  # index 0 is the image itself
    covered.append(np.linalg.norm(drawn - image, axis=1).min() <= radius)
  assert 0 < np.mean(covered) < 1
  assert samples.coverage(real, drawn) == pytest.approx(np.mean(covered))


def test_coverage_of_the_same_distribution_and_of_one_mode():
  random = np.random.RandomState(0)
  real, others = random.randn(2, 3000, 4)
  # 1 − 2^−5 (Naeem et al. 2020, lemma 2)
  assert samples.coverage(real, others) == pytest.approx(1 - 2**-5, abs=0.012)
  assert samples.coverage(real, 0.01 * others) < 0.1
  assert np.isnan(samples.coverage(real[:5], others))
