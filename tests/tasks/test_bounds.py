"""Bounds by hand, and importance weighting where the evidence is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvae_jax.models import gaussians
from cvae_jax.tasks import vae


def test_beta_and_free_nats_by_hand():
  # Means of the KL over the batch: 0.5, 2, 0; at least 0.75 each: 0.75 + 2 + 0.75.
  kl = jnp.array([[0.0, 1.0, 0.0], [1.0, 3.0, 0.0]])

  def objective(kl, beta, free_nats):
    terms = vae.Elbo(jnp.array([10.0, 20.0]), kl)
    return vae.beta_objective(terms, jnp.float32(beta), jnp.float32(free_nats))

  assert float(objective(kl, 1, 0)) == 15 + 2.5
  assert float(objective(kl, 1, 0.75)) == 15 + 3.5
  assert float(objective(kl, 4, 0.75)) == 15 + 4 * 3.5
  slope = jax.grad(objective)(kl, 1, 0.75)
  np.testing.assert_array_equal(slope, [[0, 0.5, 0], [0, 0.5, 0]])
  np.testing.assert_array_equal(
    vae.Elbo(jnp.array([10.0, 20.0]), kl).negative_elbo, [10 + 1, 20 + 4]
  )


def test_bits_per_dimension():
  # A fair coin for each of 784 pixels costs one bit each.
  assert vae.bits_per_dimension(784 * np.log(2), (28, 28, 1)) == pytest.approx(1)


def test_log_weights_against_scipy():
  random = np.random.RandomState(0)
  latents, mean, logvar = random.randn(3, 2, 4), random.randn(2, 4), random.randn(2, 4)
  log_likelihood, log_prior = random.randn(3, 2), random.randn(3, 2)
  arrays = (np.float32(x) for x in (log_likelihood, log_prior, latents, mean, logvar))
  log_posterior = stats.norm.logpdf(latents, mean, np.exp(logvar / 2)).sum(-1)
  expected = log_likelihood + 0.25 * (log_prior - log_posterior)
  np.testing.assert_allclose(vae.log_weights(*arrays, beta=0.25), expected, rtol=1e-5)


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
    z = gaussians.reparameterize(key, mean, logvar)
    centred = jnp.float32(self.x - self.bias)[None]
    residual = (centred - z @ jnp.float32(self.weights.T)) / self.noise
    log_likelihood = -0.5 * jnp.sum(
      residual**2 + 2 * np.log(self.noise) + np.log(2 * np.pi), axis=-1
    )
    zero = jnp.zeros(shape)
    log_ratio = gaussians.log_normal(z, zero, zero) - gaussians.log_normal(z, mean, logvar)
    return log_likelihood + log_ratio


@pytest.mark.parametrize('num_samples', [1, 2, 50])
def test_with_the_exact_posterior_iwae_is_the_evidence(num_samples):
  model = LinearGaussian()
  log_weights = jax.jit(lambda key: model.log_weights(key, num_samples, model.mean, model.logvar))(
    jax.random.key(3)
  )
  assert float(vae.importance_weighted(log_weights)) == pytest.approx(model.log_evidence, abs=1e-5)


def test_with_another_posterior_iwae_rises_to_the_evidence_and_not_above():
  model = LinearGaussian()
  repeats = 10_000
  keys = jax.random.split(jax.random.key(0), repeats)

  def bound(num_samples):
    draw = lambda key: vae.importance_weighted(  # noqa: E731
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
