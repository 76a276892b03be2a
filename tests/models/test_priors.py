"""Priors as densities: they integrate to 1, draws follow them, the KL equals the integral."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import stats

from cvae_jax.models import cvae, priors
from cvae_jax.runtime.errors import InputError
from tiny import DENSE, tiny_config

CLASSES, LATENT = 3, 2
LABELS = np.array([0, 2, 1, 2])


def encode(images, labels):
  """A posterior that depends on both."""
  sums = images.reshape(len(images), -1)[:, :LATENT]
  return sums + 0.3 * labels[:, None], -1 - 0.2 * sums * labels[:, None]


def density(module, labels):
  return module(labels, jax.nn.one_hot(labels, CLASSES), encode)


METHODS = {
  'log_prob': lambda self, labels, z: density(self, labels).log_prob(z),
  'draw': lambda self, labels, *noise: density(self, labels).draw(*noise),
  'kl': lambda self, labels, *posterior: density(self, labels).kl(*posterior),
  'move': lambda self, labels, others, z: density(self, others).to_latents(
    density(self, labels).to_noise(z)
  ),
}


@functools.cache
def compiled(module, method):
  return jax.jit(functools.partial(module.apply, method=METHODS.get(method, method)))


@functools.cache
def initial(module):
  zeros = np.zeros((CLASSES, getattr(module, 'latent_dim', LATENT)), np.float32)
  init = functools.partial(module.init, method=METHODS['log_prob'])
  return jax.jit(init)(jax.random.key(0), np.arange(CLASSES), zeros)


def scattered(module):
  """Random variables of a prior, so that it is not N(0, I)."""
  random = np.random.RandomState(1)
  return jax.tree.map(
    lambda leaf: np.float32(leaf + 0.2 * random.randn(*leaf.shape)), initial(module)
  )


def log_prob(module, variables, latents, labels=LABELS):
  return compiled(module, 'log_prob')(variables, labels, np.float32(latents))


def draw(module, variables, count, label, temperature=1.0):
  keys = jax.random.split(jax.random.key(5), count)
  return np.asarray(
    compiled(module, 'draw')(variables, np.full(count, label), keys, np.float32(temperature))
  )


FLOW = priors.Flow(LATENT, 4, 8, nn.silu)
VAMP = priors.Vamp(CLASSES, 5, (2, 2, 1))
GAUSSIAN = priors.ClassGaussian(CLASSES, LATENT)
STANDARD = priors.StandardNormal(LATENT)
ALL = pytest.mark.parametrize(
  'module', [STANDARD, GAUSSIAN, VAMP, FLOW], ids=['standard', 'class_gaussian', 'vamp', 'flow']
)


@ALL
def test_the_density_of_each_class_integrates_to_1(module):
  variables = scattered(module)
  ticks = np.linspace(-20, 20, 401, dtype='float32')
  points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, LATENT)
  latents = np.broadcast_to(points, (len(points), len(LABELS), LATENT))
  values = np.exp(np.float64(log_prob(module, variables, latents)))
  np.testing.assert_allclose(values.sum(axis=0) * (ticks[1] - ticks[0]) ** 2, 1, atol=2e-3)


@ALL
def test_draws_follow_the_density(module):
  variables = scattered(module)
  count = 40_000
  drawn = draw(module, variables, count, 2)
  # E_p[f(z)] of the draws against the integral of f times the density.
  ticks = np.linspace(-20, 20, 401, dtype='float32')
  points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, LATENT)
  labels = np.array([2])
  weights = np.exp(np.float64(log_prob(module, variables, points, labels)))[:, 0]
  weights /= weights.sum()
  for function in (lambda z: z[:, 0], lambda z: z[:, 0] * z[:, 1], lambda z: np.sin(2 * z[:, 1])):
    values = function(drawn)
    expected = np.sum(weights * function(points[:, 0]))
    assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(count) + 2e-3


@ALL
def test_temperature_0_takes_the_noise_away_and_1_gives_other_classes_other_latents(module):
  variables = scattered(module)
  cold = draw(module, variables, 50, 1, temperature=0.0)
  places = 5 if module is VAMP else 1  # a mixture still chooses
  assert len(np.unique(cold.round(4), axis=0)) <= places
  same = np.array_equal(draw(module, variables, 50, 1), draw(module, variables, 50, 2))
  assert same == (module is STANDARD)


def test_the_flow_inverts():
  module = priors.Flow(16, 8, 8, nn.silu)
  variables = scattered(module)
  noise = np.random.RandomState(1).randn(200, 16).astype('float32')
  context = np.eye(CLASSES, dtype='float32')[np.arange(200) % CLASSES]
  latents = compiled(module, 'to_latents')(variables, noise, context)
  again, log_det = compiled(module, 'to_noise')(variables, latents, context)
  assert float(jnp.abs(latents - noise).max()) > 1  # it does move them
  np.testing.assert_allclose(again, noise, atol=1e-4)
  one = lambda z: compiled(module, 'to_noise')(variables, z[None], context[:1])[0][0]  # noqa: E731
  _, expected = np.linalg.slogdet(jax.jit(jax.jacobian(one))(latents[0]))
  np.testing.assert_allclose(log_det[0], expected, atol=1e-4)


@pytest.mark.parametrize('module', [STANDARD, GAUSSIAN, FLOW])
def test_the_initial_prior_is_the_standard_normal(module):
  latents = np.random.RandomState(0).randn(7, len(LABELS), LATENT)
  expected = stats.norm.logpdf(latents).sum(-1)
  np.testing.assert_allclose(log_prob(module, initial(module), latents), expected, rtol=1e-5)


def test_the_kl_to_the_gaussian_of_a_class_is_in_closed_form():
  variables = scattered(GAUSSIAN)
  random = np.random.RandomState(2)
  mean, logvar = random.randn(2, len(LABELS), LATENT).astype('float32')
  actual = compiled(GAUSSIAN, 'kl')(variables, LABELS, mean, logvar, None)
  own_mean, own_logvar = (np.float64(variables['params'][n])[LABELS] for n in ('mean', 'logvar'))
  ratio = np.exp(logvar - own_logvar)
  distance = (mean - own_mean) ** 2 / np.exp(own_logvar)
  np.testing.assert_allclose(actual, 0.5 * (ratio + distance - 1 - np.log(ratio)), rtol=1e-5)


@pytest.mark.parametrize('module', [VAMP, FLOW], ids=['vamp', 'flow'])
def test_an_estimated_kl_is_right_in_the_mean(module):
  variables = scattered(module)
  mean, logvar = np.float32(np.random.RandomState(3).randn(2, len(LABELS), LATENT))
  noise = np.random.RandomState(4).randn(20_000, len(LABELS), LATENT)
  latents = np.float32(mean + np.exp(logvar / 2) * noise)
  estimates = np.asarray(compiled(module, 'kl')(variables, LABELS, mean, logvar, latents))
  assert estimates.shape == (20_000, len(LABELS), 1)
  ticks = np.linspace(-20, 20, 401, dtype='float32')
  points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, LATENT)
  latents = np.broadcast_to(points, (len(points), len(LABELS), LATENT))
  log_q = stats.norm.logpdf(latents, mean, np.exp(logvar / 2)).sum(-1)
  integrand = np.exp(log_q) * (log_q - np.float64(log_prob(module, variables, latents)))
  expected = integrand.sum(axis=0) * (ticks[1] - ticks[0]) ** 2
  errors = estimates.std(axis=(0, 2)) / np.sqrt(20_000)
  assert np.all(np.abs(estimates.mean(axis=(0, 2)) - expected) < 4.5 * errors + 2e-3)


def test_a_vamp_of_the_image_itself_costs_nothing():
  config = tiny_config(prior='vamp', model__num_pseudo_inputs=1, **DENSE)
  network = cvae.build(config)
  variables = jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))
  image = np.float32(np.random.RandomState(0).rand(8, 8, 1))
  variables['params']['prior']['inputs'] = np.stack([image] * 10)  # of each class
  shaken = jax.tree.map(lambda x: x + 0.1, variables['params']['mean_head'])
  variables['params']['mean_head'] = shaken
  noise = np.float32(np.random.RandomState(1).randn(50, 4, 3))
  draw = lambda mean, logvar: mean[None] + jnp.exp(0.5 * logvar)[None] * noise  # noqa: E731
  apply = jax.jit(functools.partial(network.apply, draw=draw, train=False))
  own, other = (
    apply(variables, np.stack([x] * 4), jnp.array([0, 3, 9, 3])).kl for x in (image, 1 - image)
  )
  np.testing.assert_allclose(own, 0, atol=1e-4)
  assert float(jnp.abs(other).max()) > 1e-3


def test_an_unknown_prior_is_refused():
  with pytest.raises(InputError, match="prior='horseshoe'"):
    cvae.build(tiny_config(prior='horseshoe'))


@ALL
def test_the_noise_of_a_latent_gives_it_back_and_in_another_class_what_it_draws_there(module):
  variables = scattered(module)
  ones, twos = (np.full(50, label) for label in (1, 2))
  drawn = {label: draw(module, variables, 50, label) for label in (1, 2)}
  move = compiled(module, 'move')
  again = move(variables, ones, ones, drawn[1])
  np.testing.assert_allclose(again, drawn[1], atol=1e-4)
  moved = move(variables, ones, twos, drawn[1])
  if module is not VAMP:  # which takes the likeliest component, not the one that was drawn
    np.testing.assert_allclose(moved, drawn[2], atol=1e-4)
