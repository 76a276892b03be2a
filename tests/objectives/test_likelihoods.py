"""Log-densities against scipy.stats, draws against their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvae_jax.objectives.likelihoods import Bernoulli, Gaussian


def test_bernoulli_log_prob_is_that_of_scipy():
  rng = np.random.RandomState(0)
  logits = rng.randn(5, 4, 4, 2).astype('float32')
  images = (rng.rand(5, 4, 4, 2) < 0.5).astype('float32')
  probabilities = 1 / (1 + np.exp(-logits.astype('float64')))
  expected = stats.bernoulli.logpmf(images, probabilities).sum((1, 2, 3))
  np.testing.assert_allclose(Bernoulli().log_prob(images, logits), expected, rtol=1e-5)


def test_bernoulli_is_stable_for_any_logit():
  logits = jnp.array([1e4, -1e4, 1e4, -1e4]).reshape(4, 1, 1, 1)
  images = jnp.array([1.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1, 1)
  np.testing.assert_array_equal(Bernoulli().log_prob(images, logits), [0, 0, -1e4, -1e4])
  gradient = jax.grad(lambda x: Bernoulli().log_prob(images, x).sum())(logits)
  np.testing.assert_array_equal(gradient.ravel(), [0, 0, -1, 1])


@pytest.mark.parametrize('sigma', [0.1, 1.0])
def test_gaussian_log_prob_has_its_constant(sigma):
  rng = np.random.RandomState(0)
  images, mean = rng.randn(2, 5, 4, 4, 1).astype('float32')
  expected = stats.norm.logpdf(images.astype('float64'), mean, sigma).sum((1, 2, 3))
  np.testing.assert_allclose(Gaussian(sigma).log_prob(images, mean), expected, rtol=1e-5)


@pytest.mark.parametrize('likelihood', [Bernoulli(), Gaussian(0.5)])
def test_low_precision_outputs_are_judged_in_float32(likelihood):
  images, outputs = jnp.zeros((2, 4, 4, 1)), jnp.full((2, 4, 4, 1), 0.37, jnp.bfloat16)
  log_prob = likelihood.log_prob(images, outputs)
  assert log_prob.dtype == likelihood.mean(outputs).dtype == jnp.float32
  np.testing.assert_array_equal(log_prob, likelihood.log_prob(images, outputs.astype(jnp.float32)))


def test_draws_have_the_moments_of_the_density():
  logits = jnp.full((20_000, 1, 1, 1), -1.0, jnp.bfloat16)
  draws = Bernoulli().sample(jax.random.key(0), logits)
  assert set(np.unique(draws)) == {0.0, 1.0}
  probability = 1 / (1 + np.e)
  assert abs(draws.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / 20_000)
  mean = jnp.full((20_000, 1, 1, 1), 0.25)
  draws = Gaussian(0.1).sample(jax.random.key(0), mean)
  assert abs(draws.mean() - 0.25) < 4 * 0.1 / np.sqrt(20_000)
  assert abs(draws.std() - 0.1) < 4 * 0.1 / np.sqrt(40_000)
