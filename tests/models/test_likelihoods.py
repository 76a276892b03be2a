"""Log-densities against scipy.stats and sums, draws against their moments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cvae_jax.models import likelihoods
from cvae_jax.models.likelihoods import (
  SYMMETRIC,
  UNIT,
  Bernoulli,
  Charbonnier,
  DiscretizedLogistic,
  Gaussian,
  LearnedGaussian,
)
from tiny import tiny_config


def log_prob(likelihood, images, outputs):
  return jax.jit(likelihood.log_prob)(jnp.asarray(images), jnp.asarray(outputs))


def learned(means, sigma):
  """Outputs of a decoder that learns one σ per channel."""
  means = jnp.asarray(means)
  log_sigma = jnp.broadcast_to(jnp.log(jnp.asarray(sigma)), means.shape)
  return jnp.concatenate([means, log_sigma], axis=-1)


def test_bernoulli_log_prob_is_that_of_scipy():
  rng = np.random.RandomState(0)
  logits = rng.randn(5, 4, 4, 2).astype('float32')
  images = (rng.rand(5, 4, 4, 2) < 0.5).astype('float32')
  probabilities = 1 / (1 + np.exp(-logits.astype('float64')))
  expected = stats.bernoulli.logpmf(images, probabilities).sum((1, 2, 3))
  np.testing.assert_allclose(log_prob(Bernoulli(), images, logits), expected, rtol=1e-5)


@pytest.mark.parametrize('name', list(likelihoods.LIKELIHOODS))
def test_every_likelihood_takes_images_of_any_shape(name):
  likelihood = likelihoods.build(tiny_config(likelihood=name))
  images = jnp.full((2, 7, 4, 5), 1.0)
  outputs = jnp.zeros((2, 7, 4, 10 if likelihood.learns_sigma else 5))
  per_pixel = log_prob(likelihood, images[:, :1, :1, :1], outputs[:, :1, :1, ::5])
  np.testing.assert_allclose(log_prob(likelihood, images, outputs), 140 * per_pixel, rtol=1e-5)
  for drawn in (likelihood.mean(outputs), likelihood.sample(jax.random.key(0), outputs)):
    assert drawn.shape == images.shape


def test_bernoulli_is_stable_for_any_logit():
  logits = jnp.array([1e4, -1e4, 1e4, -1e4]).reshape(4, 1, 1, 1)
  images = jnp.array([1.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1, 1)
  np.testing.assert_array_equal(log_prob(Bernoulli(), images, logits), [0, 0, -1e4, -1e4])
  gradient = jax.jit(jax.grad(lambda x: Bernoulli().log_prob(images, x).sum()))(logits)
  np.testing.assert_array_equal(gradient.ravel(), [0, 0, -1, 1])


@pytest.mark.parametrize('sigma', [0.1, 1.0])
def test_gaussian_log_prob_has_its_constant(sigma):
  rng = np.random.RandomState(0)
  images, mean = rng.randn(2, 5, 4, 4, 1).astype('float32')
  expected = stats.norm.logpdf(images.astype('float64'), mean, sigma).sum((1, 2, 3))
  np.testing.assert_allclose(log_prob(Gaussian(sigma), images, mean), expected, rtol=1e-5)


def test_learned_gaussian_has_one_sigma_per_channel():
  rng = np.random.RandomState(0)
  images, mean = rng.randn(2, 5, 4, 4, 3).astype('float32')
  sigma = np.array([0.1, 0.5, 2.0], 'float32')
  expected = stats.norm.logpdf(images.astype('float64'), mean, sigma).sum((1, 2, 3))
  actual = log_prob(LearnedGaussian(), images, learned(mean, sigma))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_learned_sigma_is_led_to_the_best_and_not_to_zero():
  """The gradient by log σ is 0 where σ² is the mean squared residual (Rybkin et al. 2021)."""
  images = jnp.array(np.random.RandomState(0).randn(50, 4, 4, 1), jnp.float32) * 0.3

  @jax.jit
  @jax.grad
  def slope(log_sigma):
    outputs = learned(jnp.zeros_like(images), jnp.exp(log_sigma))
    return LearnedGaussian().log_prob(images, outputs).mean() / 16

  best = 0.5 * math.log(np.mean(np.square(images)))
  assert abs(slope(best)) < 1e-4
  assert slope(best - 0.1) > 0.1
  assert slope(best + 0.1) < -0.1
  assert slope(-7.5) > 1  # from below the floor it can rise again
  zeros = jnp.zeros((1, 2, 2, 1))
  equal = jnp.concatenate([zeros, jnp.full_like(zeros, -100.0)], -1)
  assert float(log_prob(LearnedGaussian(), zeros, equal)[0]) < 4 * 7


def test_l2_is_a_gaussian_whose_loss_is_the_sum_of_squares():
  likelihood = likelihoods.build(tiny_config(likelihood='l2'))
  rng = np.random.RandomState(0)
  images, mean = rng.randn(2, 5, 4, 4, 3).astype('float32')
  expected = stats.norm.logpdf(images.astype('float64'), mean, np.sqrt(0.5)).sum((1, 2, 3))
  actual = log_prob(likelihood, images, mean)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  squares = np.square(images - mean).sum((1, 2, 3))
  np.testing.assert_allclose(-actual - 48 * likelihood.omitted, squares, rtol=1e-5)


@pytest.mark.parametrize('epsilon', [1e-3, 0.1, 1.0])
def test_charbonnier_is_the_symmetric_hyperbolic_density(epsilon):
  likelihood = Charbonnier(epsilon)
  rng = np.random.RandomState(0)
  images, mean = rng.randn(2, 5, 4, 4, 1).astype('float32')
  density = stats.genhyperbolic(p=1, a=epsilon, b=0, scale=epsilon)
  expected = density.logpdf((images - mean).astype('float64')).sum((1, 2, 3))
  actual = log_prob(likelihood, images, mean)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  loss = np.sqrt(np.square(images - mean) + epsilon**2).sum((1, 2, 3))
  np.testing.assert_allclose(-actual - 16 * likelihood.omitted, loss, rtol=1e-5)


@pytest.mark.parametrize('epsilon', [1e-3, 1.0])
def test_charbonnier_draws_follow_their_density(epsilon):
  likelihood = Charbonnier(epsilon)
  mean = jnp.full((20_000, 1, 1, 1), 0.25)
  draws = np.asarray(jax.jit(likelihood.sample)(jax.random.key(0), mean)).ravel() - 0.25

  def cdf(x):
    density = lambda r: np.exp(-np.hypot(r, epsilon) - likelihood.omitted)  # noqa: E731
    return 0.5 + np.sign(x) * integrate.quad(density, 0, abs(x))[0]

  grid = np.linspace(-4, 4, 9)
  expected = np.array([cdf(x) for x in grid])
  actual = (draws[:, None] < grid).mean(0)
  assert np.abs(actual - expected).max() < 4 * 0.5 / np.sqrt(20_000)
  one_by_one = jax.vmap(likelihood.sample)(jax.random.split(jax.random.key(0), 4), mean[:4])
  assert len(np.unique(one_by_one)) == 4


LEVELS = np.arange(256, dtype='float32')


@pytest.mark.parametrize('pixel_range', [UNIT, SYMMETRIC])
@pytest.mark.parametrize(
  ('location', 'sigma'), [(0.3, 0.2), (0.0, 0.002), (0.99, 1.0), (-3.0, 0.05), (5.0, 0.5)]
)
def test_discretized_logistic_sums_to_one_over_the_levels(pixel_range, location, sigma):
  low, high = pixel_range
  images = (low + LEVELS / 255 * (high - low)).reshape(256, 1, 1, 1)
  outputs = learned(np.full((256, 1, 1, 1), location, 'float32'), np.float32(sigma))
  probabilities = np.exp(np.float64(log_prob(DiscretizedLogistic(pixel_range), images, outputs)))
  assert probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_discretized_logistic_is_a_difference_of_the_cdf():
  images = (LEVELS / 127.5 - 1).reshape(256, 1, 1, 1)
  outputs = learned(np.full((256, 1, 1, 1), 0.3, 'float32'), np.float32(0.2))
  density = stats.logistic(0.3, 0.2 * np.sqrt(3) / np.pi)
  edges = (np.arange(257) - 0.5) / 127.5 - 1
  edges[0], edges[-1] = -np.inf, np.inf
  expected = np.log(np.diff(density.cdf(edges)))
  actual = log_prob(DiscretizedLogistic(), images, outputs)
  np.testing.assert_allclose(actual, expected, atol=2e-3, rtol=1e-4)


def test_discretized_logistic_keeps_a_gradient_far_away():
  """Where both values of the cdf are equal in float32, and their difference would be 0."""
  outputs = learned(jnp.full((1, 1, 1, 1), -1.0), 0.005)
  value, slope = jax.jit(
    jax.value_and_grad(
      lambda o: DiscretizedLogistic().log_prob(jnp.full((1, 1, 1, 1), 0.5), o).sum()
    )
  )(outputs)
  scale = 0.005 * np.sqrt(3) / np.pi
  assert float(value) == pytest.approx(-1.5 / scale, rel=0.01)
  assert float(slope[..., 0].sum()) == pytest.approx(1 / scale, rel=1e-3)


def test_discretized_logistic_mean_and_draws():
  likelihood = DiscretizedLogistic()
  locations = np.array([-1.5, -0.9, 0.1, 0.8, 3.0], 'float32').reshape(1, 1, 5, 1)
  outputs = learned(np.tile(locations, (20_000, 1, 1, 1)), np.float32(0.3))
  images = (LEVELS / 127.5 - 1).reshape(256, 1, 1, 1)
  for column, location in enumerate(locations.ravel()):
    one = learned(np.full((256, 1, 1, 1), location, 'float32'), np.float32(0.3))
    probabilities = np.exp(np.float64(log_prob(likelihood, images, one)))
    expected = (probabilities * images.ravel()).sum()
    assert float(likelihood.mean(outputs)[0, 0, column, 0]) == pytest.approx(expected, abs=1 / 255)
  draws = np.asarray(jax.jit(likelihood.sample)(jax.random.key(0), outputs))
  levels = (draws + 1) * 127.5
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
  assert draws.min() == -1
  assert draws.max() == 1
  means = np.asarray(likelihood.mean(outputs))[0].ravel()
  np.testing.assert_allclose(draws.mean(0).ravel(), means, atol=4 * 0.3 / np.sqrt(20_000) + 1 / 255)


CASES = [
  (Bernoulli(), 1),
  (Gaussian(0.5), 1),
  (LearnedGaussian(), 2),
  (Charbonnier(0.01), 1),
  (DiscretizedLogistic(), 2),
]


@pytest.mark.parametrize(('likelihood', 'outputs_per_channel'), CASES)
def test_low_precision_outputs_are_computed_with_in_float32(likelihood, outputs_per_channel):
  images = jnp.zeros((2, 4, 4, 1))
  outputs = jnp.full((2, 4, 4, outputs_per_channel), 0.37, jnp.bfloat16)
  result = log_prob(likelihood, images, outputs)
  assert result.dtype == jax.eval_shape(likelihood.mean, outputs).dtype == jnp.float32
  np.testing.assert_array_equal(result, log_prob(likelihood, images, outputs.astype(jnp.float32)))


def test_draws_have_the_moments_of_the_density():
  logits = jnp.full((20_000, 1, 1, 1), -1.0, jnp.bfloat16)
  draws = jax.jit(Bernoulli().sample)(jax.random.key(0), logits)
  assert set(np.unique(draws)) == {0.0, 1.0}
  probability = 1 / (1 + np.e)
  assert abs(draws.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / 20_000)
  mean = jnp.full((20_000, 1, 1, 1), 0.25)
  for likelihood, outputs in (
    (Gaussian(0.1), mean),
    (LearnedGaussian(), learned(mean, 0.1)),
  ):
    draws = jax.jit(likelihood.sample)(jax.random.key(0), outputs)
    assert abs(draws.mean() - 0.25) < 4 * 0.1 / np.sqrt(20_000)
    assert abs(draws.std() - 0.1) < 4 * 0.1 / np.sqrt(40_000)


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({}, (Bernoulli(), False)),
    ({'data__binarize': 'dynamic'}, (Bernoulli(), True)),
    ({'data__name': 'binarized_mnist'}, (Bernoulli(), True)),
    ({'likelihood': 'gaussian', 'data__binarize': 'dynamic'}, (Gaussian(0.5), False)),
    (
      {'likelihood': 'gaussian', 'data__pixel_range': 'unit', 'sigma': 0.1},
      (Gaussian(0.1, UNIT), False),
    ),
    ({'likelihood': 'gaussian_learned'}, (LearnedGaussian(), False)),
    ({'likelihood': 'charbonnier'}, (Charbonnier(1e-3), False)),
    ({'likelihood': 'discretized_logistic'}, (DiscretizedLogistic(), True)),
    (
      {'likelihood': 'discretized_logistic', 'data__pixel_range': 'unit'},
      (DiscretizedLogistic(UNIT), True),
    ),
  ],
)
def test_the_likelihood_of_a_config_and_whether_bits_have_a_meaning(changes, expected):
  config = tiny_config(**changes)
  assert (likelihoods.build(config), likelihoods.is_probability(config)) == expected
