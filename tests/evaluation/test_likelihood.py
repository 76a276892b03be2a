"""Bounds of single images: exact where they can be known, and the same in any batch."""

import functools

import jax
import numpy as np
import pytest
from scipy import special

import linear_gaussian
from cvae_jax.evaluation import likelihood, metrics
from cvae_jax.evaluation.likelihood import Trained
from cvae_jax.models import cvae, priors
from cvae_jax.models.likelihoods import Bernoulli
from cvae_jax.runtime import devices
from tiny import DENSE, tiny_config

KEY = jax.random.key(3)
IMAGES = np.random.RandomState(0).randint(0, 256, (11, 3, 3, 1), np.uint8)
LABELS = np.arange(11, dtype=np.int32) % linear_gaussian.CLASSES


@pytest.fixture(scope='module')
def tiny_trained():
  network = cvae.build(tiny_config(**DENSE))
  variables = jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))
  return Trained(network, Bernoulli(), 'dynamic', 'mlp', variables)


def test_the_exact_posterior_makes_every_bound_the_evidence():
  exact = linear_gaussian.log_evidence(IMAGES, LABELS)
  trained = linear_gaussian.trained()
  terms = likelihood.elbo_terms(trained, IMAGES, LABELS, KEY)
  # The reconstruction varies with its one sample; its mean over many draws does not.
  draws = [
    likelihood.elbo_terms(trained, IMAGES, LABELS, jax.random.key(seed)).negative_elbo
    for seed in range(200)
  ]
  errors = np.std(draws, axis=0) / np.sqrt(len(draws))
  assert np.all(np.abs(np.mean(draws, axis=0) + exact) < 4.5 * errors)
  np.testing.assert_array_equal(terms.latents.shape, terms.mean.shape)
  for num_samples in (1, 7):
    bound = likelihood.iwae(trained, IMAGES, LABELS, KEY, num_samples)
    np.testing.assert_allclose(bound, exact, atol=1e-4)


def test_iwae_rises_to_the_evidence_where_the_posterior_is_wrong():
  exact = linear_gaussian.log_evidence(IMAGES, LABELS)
  trained = linear_gaussian.trained(blur=0.4)
  gaps = [
    np.mean(exact - likelihood.iwae(trained, IMAGES, LABELS, KEY, num_samples))
    for num_samples in (1, 10, 5000)
  ]
  assert gaps[0] > gaps[1] > gaps[2]
  assert gaps[0] > 0.2
  assert abs(gaps[2]) < 0.02


@pytest.mark.parametrize('name', ['class_gaussian', 'vamp', 'flow'])
def test_iwae_is_the_evidence_under_any_prior(name):
  """Against the integral of p(x | z, c) p(z | c) over a grid of the two latents."""
  random = np.random.RandomState(5)
  classes, latent = linear_gaussian.CLASSES, linear_gaussian.LATENT
  if name == 'class_gaussian':
    prior = priors.ClassGaussian(classes, latent)
    params = {n: np.float32(0.4 * random.randn(classes, latent)) for n in ('mean', 'logvar')}
  elif name == 'vamp':
    prior = priors.Vamp(classes, 4, (3, 3, 1))
    params = {'inputs': np.float32(random.rand(classes * 4, 3, 3, 1))}
  else:
    prior = priors.Flow(classes, latent, 2, 4, jax.nn.silu)
    zeros = np.zeros((1, latent), np.float32)
    method = lambda self: self(np.zeros(1, int), None).log_prob(zeros)  # noqa: E731
    params = prior.init(jax.random.key(0), method=method)['params']
    params = jax.tree.map(lambda x: np.float32(x + 0.3 * random.randn(*x.shape)), params)
  trained = linear_gaussian.trained(prior=prior, params=params)
  ticks = np.linspace(-8, 8, 161, dtype='float32')
  points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, latent)
  points = np.repeat(points, len(LABELS), axis=1)
  apply = functools.partial(trained.network.apply, trained.variables, points, LABELS)
  outputs = apply(False, method='decode')
  joint = trained.likelihood.log_prob(np.float32(IMAGES)[None] / 255, outputs)
  joint += apply(method='log_prior')
  cell = 2 * np.log(ticks[1] - ticks[0])
  exact = special.logsumexp(np.float64(joint), axis=0) + cell
  bound = likelihood.iwae(trained, IMAGES, LABELS, KEY, 5000)
  np.testing.assert_allclose(bound, exact, atol=0.15)
  assert abs(np.mean(bound - exact)) < 0.02
  # The prior matters: with N(0, I) the evidence is another.
  assert np.abs(linear_gaussian.log_evidence(IMAGES, LABELS) - exact).max() > 0.3
  # And so it does to the ELBO.
  draws = [
    likelihood.elbo_terms(trained, IMAGES, LABELS, jax.random.key(seed)).negative_elbo
    for seed in range(100)
  ]
  assert -np.mean(draws) < np.mean(exact)


def test_the_difference_estimator_is_centred_and_its_interval_holds_the_truth():
  random, rows = np.random.RandomState(0), np.arange(0, 2000, 10)
  for noise in (0.3, 20.0):  # how closely the dear one follows
    held, errors = [], []
    for _ in range(1000):
      cheap = 90 + 20 * random.randn(2000)
      dear = cheap - 4 + noise * random.randn(2000)
      estimate = likelihood.difference_estimate(cheap, dear[rows], rows)
      held.append(estimate.low <= 86 <= estimate.high)
      errors.append((estimate.high - estimate.low) / 3.92)
    assert 0.93 < np.mean(held) < 0.97
    if noise < 1:  # nearly as sure as all 2,000 would be, 20 / √2000, not as 200
      assert np.mean(errors) == pytest.approx(20 / np.sqrt(2000), rel=0.1)


def test_iwae_of_some_images_is_theirs_among_all():
  trained, rows = linear_gaussian.trained(blur=0.4), np.array([1, 4, 10])
  of_all = likelihood.iwae(trained, IMAGES, LABELS, KEY, 3)
  some = likelihood.iwae(trained, IMAGES[rows], LABELS[rows], KEY, 3, indices=rows)
  np.testing.assert_allclose(some, of_all[rows], rtol=1e-5)


def test_iwae_does_not_depend_on_chunks_or_batches(monkeypatch, tiny_trained):
  images = np.random.RandomState(1).randint(0, 256, (11, 8, 8, 1), np.uint8)
  labels = np.arange(11, dtype=np.int32) % 10
  whole = likelihood.iwae(tiny_trained, images, labels, KEY, 70)
  monkeypatch.setattr(
    likelihood, 'DECODED_ON_CPU', 30
  )  # chunks of a few samples, the last not full
  monkeypatch.setattr(likelihood, 'IWAE_BATCH', 3)
  np.testing.assert_allclose(
    likelihood.iwae(tiny_trained, images, labels, KEY, 70), whole, rtol=1e-6
  )


def test_iwae_tells_how_far_it_is():
  shares = []
  likelihood.iwae(linear_gaussian.trained(), IMAGES, LABELS, KEY, 2, shares.append)
  assert shares == [8 / 11, 1]


@pytest.mark.slow
def test_10001_images_give_the_same_in_batches_of_128_and_of_1(tiny_trained, monkeypatch):
  random = np.random.RandomState(0)
  images = random.randint(0, 256, (10_001, 8, 8, 1), np.uint8)
  labels = random.randint(0, 10, 10_001).astype(np.int32)
  run = {}
  for batch_size in (1, 128):  # the first is 10,001 dispatches
    evaluate = metrics.make_evaluate(
      tiny_trained.network, Bernoulli(), 'dynamic', batch_size, devices.mesh(batch_size), {}
    )
    run[batch_size] = evaluate(tiny_trained.variables, *jax.device_put((images, labels)), KEY)
  assert run[1] == pytest.approx(run[128], rel=1e-5)
  monkeypatch.setattr(likelihood, 'BATCH_SIZE', 128)
  terms = likelihood.elbo_terms(tiny_trained, images, labels, KEY)
  assert len(terms.reconstruction) == 10_001
  assert terms.negative_elbo.mean() == pytest.approx(run[1]['negative_elbo'], rel=1e-5)
  assert terms.kl.sum(axis=1).mean() == pytest.approx(run[1]['kl'], rel=1e-5)


def test_an_interval_holds_the_mean_95_times_of_100():
  random = np.random.RandomState(0)
  held = [
    low <= 3.0 <= high
    for _, low, high in (likelihood.interval(3 + 2 * random.randn(400)) for _ in range(1000))
  ]
  assert 0.93 < np.mean(held) < 0.97


def test_a_proportion_lies_in_its_interval_even_when_all_are_right():
  mean, low, high = likelihood.proportion(np.ones(300, bool))
  assert (mean, high) == (1.0, 1.0)
  assert 0.98 < low < 0.99  # Wilson: n / (n + z²)
  assert low == pytest.approx(300 / (300 + 1.96**2), abs=1e-4)


def test_one_image_has_no_interval():
  assert np.isnan(likelihood.interval(np.array([2.0])).low)
