"""KL and reparameterization against closed forms and integrals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cvae_jax.objectives import bounds


@pytest.mark.parametrize(('mean', 'logvar'), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.0)])
def test_kl_is_the_integral_that_defines_it(mean, logvar):
  q, p = stats.norm(mean, np.exp(logvar / 2)), stats.norm()
  expected, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -12, 12)
  actual = bounds.kl_to_standard_normal(jnp.array([mean]), jnp.array([logvar]))
  np.testing.assert_allclose(actual, [expected], atol=1e-6)


def test_kl_keeps_its_digits_near_the_prior():
  # exp(s) − 1 − s would be 0 or noise here in float32; the series says s² / 4.
  actual = bounds.kl_to_standard_normal(jnp.zeros(1), jnp.array([1e-3]))
  np.testing.assert_allclose(actual, [1e-6 / 4], rtol=1e-3)


def test_kl_is_per_dimension():
  assert bounds.kl_to_standard_normal(jnp.zeros((2, 3)), jnp.ones((2, 3))).shape == (2, 3)


def test_reparameterized_draws_have_the_posterior_moments():
  mean, logvar = jnp.full((50_000, 1), 2.0), jnp.full((50_000, 1), np.log(0.25))
  draws = bounds.reparameterize(jax.random.key(0), mean, logvar)
  assert abs(draws.mean() - 2) < 4 * 0.5 / np.sqrt(50_000)
  assert abs(draws.std() - 0.5) < 4 * 0.5 / np.sqrt(100_000)


def test_gradient_flows_through_the_draw():
  def second_moment(mean, logvar):
    return jnp.mean(bounds.reparameterize(jax.random.key(0), mean, logvar) ** 2)

  mean, logvar = jnp.full((50_000, 1), 2.0), jnp.zeros((50_000, 1))
  by_mean, by_logvar = jax.grad(second_moment, argnums=(0, 1))(mean, logvar)
  # E[z²] = mean² + exp(logvar): derivatives 2 mean and exp(logvar).
  assert abs(by_mean.sum() - 4) < 0.05
  assert abs(by_logvar.sum() - 1) < 0.05


def test_log_normal_is_that_of_scipy():
  rng = np.random.RandomState(0)
  values, mean, logvar = rng.randn(3, 5, 4).astype('float32')
  expected = stats.norm.logpdf(values, mean, np.exp(np.float64(logvar) / 2)).sum(1)
  np.testing.assert_allclose(bounds.log_normal(values, mean, logvar), expected, rtol=1e-5)


def test_free_bits_by_hand():
  # Means over the batch: 0.5, 2, 0; at least 0.75 each: 0.75 + 2 + 0.75.
  kl = jnp.array([[0.0, 1.0, 0.0], [1.0, 3.0, 0.0]])
  assert float(bounds.with_free_bits(kl, 0.0)) == 2.5
  assert float(bounds.with_free_bits(kl, 0.75)) == 3.5
  slope = jax.grad(lambda kl: bounds.with_free_bits(kl, 0.75))(kl)
  np.testing.assert_array_equal(slope, [[0, 0.5, 0], [0, 0.5, 0]])


class LinearGaussian:
  """p(z) = N(0, I), p(x | z) = N(Wz + b, s² I): everything about it has a closed form."""

  def __init__(self, seed=0, latent=2, observed=5):
    rng = np.random.RandomState(seed)
    self.weights, self.bias = rng.randn(observed, latent), rng.randn(observed)
    self.noise = 0.7
    self.x = self.weights @ rng.randn(latent) + self.bias + self.noise * rng.randn(observed)
    covariance = self.weights @ self.weights.T + self.noise**2 * np.eye(observed)
    self.log_evidence = stats.multivariate_normal(self.bias, covariance).logpdf(self.x)
    # An orthogonal basis of the posterior, so that a diagonal Gaussian can be exact.
    _, basis = np.linalg.eigh(self.weights.T @ self.weights)
    self.weights = self.weights @ basis
    precision = np.eye(latent) + self.weights.T @ self.weights / self.noise**2
    covariance = np.linalg.inv(precision)
    self.mean = covariance @ self.weights.T @ (self.x - self.bias) / self.noise**2
    self.logvar = np.log(np.diag(covariance))

  def log_weights(self, key, num_samples, mean, logvar):
    """[k] of log p(x | z) + log p(z) − log q(z), in the functions under test."""
    shape = (num_samples, len(mean))
    mean, logvar = (jnp.broadcast_to(jnp.float32(a)[None], shape) for a in (mean, logvar))
    z = bounds.reparameterize(key, mean, logvar)
    centred = jnp.float32(self.x - self.bias)[None]
    residual = (centred - z @ jnp.float32(self.weights.T)) / self.noise
    log_likelihood = -0.5 * jnp.sum(
      residual**2 + 2 * np.log(self.noise) + np.log(2 * np.pi), axis=-1
    )
    zero = jnp.zeros(shape)
    log_ratio = bounds.log_normal(z, zero, zero) - bounds.log_normal(z, mean, logvar)
    return log_likelihood + log_ratio


@pytest.mark.parametrize('num_samples', [1, 2, 50])
def test_with_the_exact_posterior_iwae_is_the_evidence(num_samples):
  model = LinearGaussian()
  log_weights = jax.jit(lambda key: model.log_weights(key, num_samples, model.mean, model.logvar))(
    jax.random.key(3)
  )
  assert float(bounds.importance_weighted(log_weights)) == pytest.approx(
    model.log_evidence, abs=1e-5
  )


def test_with_another_posterior_iwae_rises_to_the_evidence_and_not_above():
  model = LinearGaussian()
  repeats = 10_000
  keys = jax.random.split(jax.random.key(0), repeats)

  def bound(num_samples):
    draw = lambda key: bounds.importance_weighted(  # noqa: E731
      model.log_weights(key, num_samples, model.mean + 0.3, model.logvar + 0.5)
    )
    values = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
    return values.mean(), values.std() / np.sqrt(repeats)

  estimates = [bound(num_samples) for num_samples in (1, 5, 50)]
  for (lower, error), (higher, other) in itertools.pairwise(estimates):
    assert higher > lower + 3 * np.hypot(error, other)
  for mean, error in estimates:
    assert mean < model.log_evidence + 3 * error
  assert model.log_evidence - estimates[-1][0] < 0.05
  assert model.log_evidence - estimates[0][0] > 0.2
