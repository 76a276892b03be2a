"""Statistics of latents with known values."""

import numpy as np
import pytest

from cvae_jax.evaluation import latents
from cvae_jax.tasks.vae import active_units


def draw(mean, logvar, seed=0):
  return mean + np.exp(0.5 * logvar) * np.random.RandomState(seed).randn(*mean.shape)


def test_mutual_information_of_a_gaussian_channel():
  """z = m + s ε with m ~ N(0, 1): I = ½ ln(1 + 1/s²) for each of two independent dimensions."""
  mean = np.random.RandomState(1).randn(4000, 2)
  logvar = np.full_like(mean, 2 * np.log(0.5))
  estimate = latents.mutual_information(mean, logvar, draw(mean, logvar))
  assert estimate == pytest.approx(2 * 0.5 * np.log(1 + 1 / 0.25), abs=0.05)


def test_mutual_information_of_equal_posteriors_is_0_and_of_distant_ones_ln_n():
  nothing = np.zeros((700, 3))
  assert latents.mutual_information(nothing, nothing, draw(nothing, nothing)) == pytest.approx(0)
  apart = np.arange(700.0)[:, None] * np.ones(3)
  narrow = np.full_like(apart, -8.0)
  estimate = latents.mutual_information(apart, narrow, draw(apart, narrow))
  assert estimate == pytest.approx(np.log(700))


def test_mutual_information_equals_that_of_a_loop_over_pairs():
  mean = np.random.RandomState(2).randn(30, 2)
  logvar = np.random.RandomState(3).randn(30, 2)
  samples = draw(mean, logvar)
  total = 0.0
  for n in range(30):
    densities = [
      np.prod(
        np.exp(-0.5 * (samples[n] - mean[m]) ** 2 / np.exp(logvar[m]))
        / np.sqrt(2 * np.pi * np.exp(logvar[m]))
      )
      for m in range(30)
    ]
    total += np.log(densities[n]) - np.log(np.mean(densities))
  assert latents.mutual_information(mean, logvar, samples) == pytest.approx(total / 30)


def test_active_units():
  mean = np.stack([np.linspace(-1, 1, 100), 0.01 * np.ones(100), 0.05 * np.linspace(-1, 1, 100)], 1)
  assert active_units(mean).tolist() == [True, False, False]


def test_the_aggregate_has_the_moments_of_its_samples():
  random = np.random.RandomState(0)
  mean = random.randn(50, 3) @ random.randn(3, 3)
  logvar = random.randn(50, 3)
  middle, covariance = latents.aggregate(mean, logvar)
  samples = np.concatenate([draw(mean, logvar, seed) for seed in range(4000)])
  np.testing.assert_allclose(middle, samples.mean(axis=0), atol=0.02)
  np.testing.assert_allclose(covariance, np.cov(samples.T), rtol=0.02, atol=0.03)


def test_one_latent_dimension():
  mean = np.random.RandomState(0).randn(20, 1)
  assert latents.aggregate(mean, np.zeros((20, 1)))[1].shape == (1, 1)


def test_kl_to_the_aggregate_is_the_mutual_information_of_a_gaussian_channel():
  mean = np.random.RandomState(1).randn(200_000, 2) * np.array([1.0, 0.0]) + np.array([3.0, 0.0])
  logvar = np.full_like(mean, 2 * np.log(0.5))
  estimate = latents.kl_to_aggregate(mean, logvar)
  np.testing.assert_allclose(estimate, [0.5 * np.log(1 + 1 / 0.25), 0], atol=0.01)
