"""KL and reparameterization against closed forms and integrals."""

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
