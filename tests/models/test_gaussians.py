"""Diagonal Gaussians against closed forms and integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cvae_jax.models import gaussians


@pytest.mark.parametrize(
  ('posterior', 'prior'),
  [
    ((0.0, 0.0), (0.0, 0.0)),
    ((1.5, -2.0), (0.0, 0.0)),
    ((-0.3, 1.0), (0.7, 0.5)),
    ((0.4, -1.0), (-1.0, -0.5)),
  ],
)
def test_kl_is_the_integral_that_defines_it(posterior, prior):
  q, p = (stats.norm(mean, np.exp(logvar / 2)) for mean, logvar in (posterior, prior))
  expected, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -12, 12)
  actual = gaussians.kl(*(jnp.array([value]) for value in (*posterior, *prior)))
  np.testing.assert_allclose(actual, [expected], atol=1e-6)


def test_kl_keeps_its_digits_near_the_prior():
  # exp(s) − 1 − s would be 0 or noise here in float32; the series says s² / 4.
  actual = gaussians.kl(jnp.zeros(1), jnp.array([1e-3]), jnp.zeros(1), jnp.zeros(1))
  np.testing.assert_allclose(actual, [1e-6 / 4], rtol=1e-3)


def test_kl_is_per_dimension():
  zeros = jnp.zeros((2, 3))
  assert gaussians.kl(zeros, jnp.ones((2, 3)), zeros, zeros).shape == (2, 3)


def test_reparameterized_draws_have_the_posterior_moments():
  mean, logvar = jnp.full((50_000, 1), 2.0), jnp.full((50_000, 1), np.log(0.25))
  draws = gaussians.reparameterize(jax.random.key(0), mean, logvar)
  assert abs(draws.mean() - 2) < 4 * 0.5 / np.sqrt(50_000)
  assert abs(draws.std() - 0.5) < 4 * 0.5 / np.sqrt(100_000)


def test_gradient_flows_through_the_draw():
  def second_moment(mean, logvar):
    return jnp.mean(gaussians.reparameterize(jax.random.key(0), mean, logvar) ** 2)

  mean, logvar = jnp.full((50_000, 1), 2.0), jnp.zeros((50_000, 1))
  by_mean, by_logvar = jax.grad(second_moment, argnums=(0, 1))(mean, logvar)
  # E[z²] = mean² + exp(logvar): derivatives 2 mean and exp(logvar).
  assert abs(by_mean.sum() - 4) < 0.05
  assert abs(by_logvar.sum() - 1) < 0.05


def test_log_normal_is_that_of_scipy():
  rng = np.random.RandomState(0)
  values, mean, logvar = rng.randn(3, 5, 4).astype('float32')
  expected = stats.norm.logpdf(values, mean, np.exp(np.float64(logvar) / 2)).sum(1)
  actual = jax.jit(gaussians.log_normal)(values, mean, logvar)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
