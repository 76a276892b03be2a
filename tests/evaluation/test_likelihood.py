"""Bounds of single images: exact where they can be known, and the same in any batch."""

import jax
import numpy as np
import pytest

import linear_gaussian
from cvae_jax import devices
from cvae_jax.evaluation import likelihood, metrics
from cvae_jax.evaluation.likelihood import Trained
from cvae_jax.models import cvae
from cvae_jax.objectives.likelihoods import Bernoulli
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
