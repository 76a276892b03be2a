"""Bounds of single images: exact where they can be known, and the same in any batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import special, stats

import linear_gaussian
from cvae_jax.inference import bounds, flow
from cvae_jax.models import latent_flow, priors
from cvae_jax.runtime import devices
from cvae_jax.training import validation
from tiny import model_of, task_of, tiny_config

KEY = jax.random.key(3)
IMAGES = np.random.RandomState(0).randint(0, 256, (11, 3, 3, 1), np.uint8)
LABELS = np.arange(11, dtype=np.int32) % linear_gaussian.CLASSES


@pytest.fixture(scope='module')
def tiny_model():
  config = tiny_config(data__binarize='dynamic')
  task = task_of(config)
  return model_of(config, task, jax.jit(task.init)(jax.random.key(0)))


def test_the_exact_posterior_makes_every_bound_the_evidence():
  exact = linear_gaussian.log_evidence(IMAGES, LABELS)
  model = linear_gaussian.model()
  terms = bounds.elbo(model.task, model.variables, IMAGES, LABELS, KEY)
  # The reconstruction varies with its one sample; its mean over many draws does not.
  draws = [
    bounds.elbo(model.task, model.variables, IMAGES, LABELS, jax.random.key(seed)).negative_elbo
    for seed in range(200)
  ]
  errors = np.std(draws, axis=0) / np.sqrt(len(draws))
  assert np.all(np.abs(np.mean(draws, axis=0) + exact) < 4.5 * errors)
  np.testing.assert_array_equal(terms.latents.shape, terms.mean.shape)
  for num_samples in (1, 7):
    bound = bounds.iwae(model.task, model.variables, IMAGES, LABELS, KEY, num_samples)
    np.testing.assert_allclose(bound, exact, atol=1e-4)


def test_iwae_rises_to_the_evidence_where_the_posterior_is_wrong():
  exact = linear_gaussian.log_evidence(IMAGES, LABELS)
  model = linear_gaussian.model(blur=0.4)
  gaps = [
    np.mean(exact - bounds.iwae(model.task, model.variables, IMAGES, LABELS, KEY, num_samples))
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
    prior = priors.Flow(latent, 2, 4, jax.nn.silu)
    zeros = np.zeros((1, latent), np.float32)
    context = np.zeros((1, classes), np.float32)
    method = lambda self: self(np.zeros(1, int), context, print).log_prob(zeros)  # noqa: E731
    params = prior.init(jax.random.key(0), method=method)['params']
    params = jax.tree.map(lambda x: np.float32(x + 0.3 * random.randn(*x.shape)), params)
  model = linear_gaussian.model(prior=prior, params=params)
  ticks = np.linspace(-8, 8, 161, dtype='float32')
  points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, latent)
  points = np.repeat(points, len(LABELS), axis=1)
  apply = functools.partial(model.task.network.apply, model.variables, points, LABELS)
  outputs = apply(False, method='decode')
  joint = model.task.likelihood.log_prob(np.float32(IMAGES)[None] / 255, outputs)
  joint += apply(method='log_prior')
  cell = 2 * np.log(ticks[1] - ticks[0])
  exact = special.logsumexp(np.float64(joint), axis=0) + cell
  bound = bounds.iwae(model.task, model.variables, IMAGES, LABELS, KEY, 5000)
  np.testing.assert_allclose(bound, exact, atol=0.15)
  assert abs(np.mean(bound - exact)) < 0.02
  # The prior matters: with N(0, I) the evidence is another.
  assert np.abs(linear_gaussian.log_evidence(IMAGES, LABELS) - exact).max() > 0.3
  # And so it does to the ELBO.
  draws = [
    bounds.elbo(model.task, model.variables, IMAGES, LABELS, jax.random.key(seed)).negative_elbo
    for seed in range(100)
  ]
  assert -np.mean(draws) < np.mean(exact)


def test_iwae_of_some_images_is_theirs_among_all():
  model, rows = linear_gaussian.model(blur=0.4), np.array([1, 4, 10])
  of_all = bounds.iwae(model.task, model.variables, IMAGES, LABELS, KEY, 3)
  some = bounds.iwae(model.task, model.variables, IMAGES[rows], LABELS[rows], KEY, 3, indices=rows)
  np.testing.assert_allclose(some, of_all[rows], rtol=1e-5)


def test_iwae_does_not_depend_on_chunks_or_batches(monkeypatch, tiny_model):
  images = np.random.RandomState(1).randint(0, 256, (11, 8, 8, 1), np.uint8)
  labels = np.arange(11, dtype=np.int32) % 10
  whole = bounds.iwae(tiny_model.task, tiny_model.variables, images, labels, KEY, 70)
  monkeypatch.setattr(bounds, 'DECODED_ON_CPU', 1)  # chunks of 4 samples, the last not full
  monkeypatch.setattr(bounds, 'IWAE_BATCH', 3)
  np.testing.assert_allclose(
    bounds.iwae(tiny_model.task, tiny_model.variables, images, labels, KEY, 70), whole, rtol=1e-6
  )


def test_iwae_reports_its_progress():
  fractions = []
  model = linear_gaussian.model()
  bounds.iwae(model.task, model.variables, IMAGES, LABELS, KEY, 2, fractions.append)
  assert fractions == [8 / 11, 1]


def test_exact_posteriors_nearly_give_the_exact_classes():
  """With the exact posterior, an ELBO lacks nothing but the noise of its one sample."""
  images = np.random.RandomState(0).randint(0, 256, (200, 3, 3, 1), np.uint8)
  exact = np.stack(
    [linear_gaussian.log_evidence(images, np.full(200, c)) for c in range(3)], axis=1
  )
  exact = special.log_softmax(exact, axis=1)
  model = linear_gaussian.model()
  candidates = [np.full(200, label, np.int32) for label in range(linear_gaussian.CLASSES)]
  estimate = bounds.log_probabilities(
    model.task, model.variables, images, candidates, jax.random.key(0)
  )
  np.testing.assert_allclose(special.logsumexp(estimate, axis=1), 0, atol=1e-9)
  assert np.mean(estimate.argmax(1) == exact.argmax(1)) > 0.95
  # All classes see one noise, and their reconstructions differ by their offsets alone.
  assert np.mean(np.abs(np.exp(estimate) - np.exp(exact))) < 0.05


@pytest.mark.slow
def test_10001_images_give_the_same_in_batches_of_128_and_of_1(tiny_model, monkeypatch):
  random = np.random.RandomState(0)
  images = random.randint(0, 256, (10_001, 8, 8, 1), np.uint8)
  labels = random.randint(0, 10, 10_001).astype(np.int32)
  run = {}
  for batch_size in (1, 128):  # the first is 10,001 dispatches
    mesh = devices.mesh(batch_size)
    evaluate = validation.make_evaluate(tiny_model.task, batch_size, mesh)
    run[batch_size] = evaluate(tiny_model.variables, *jax.device_put((images, labels)), KEY)
  assert run[1] == pytest.approx(run[128], rel=1e-5)
  monkeypatch.setattr(bounds, 'BATCH_SIZE', 128)
  terms = bounds.elbo(tiny_model.task, tiny_model.variables, images, labels, KEY)
  assert len(terms.reconstruction) == 10_001
  assert terms.negative_elbo.mean() == pytest.approx(run[1]['negative_elbo'], rel=1e-5)
  assert terms.kl.sum(axis=1).mean() == pytest.approx(run[1]['kl'], rel=1e-5)


class ExactVelocity(nn.Module):
  """The velocity from N(0, I) to N(mean of the class, std²), on independent straight lines."""

  @nn.compact
  def __call__(self, points, times, context):
    target = context @ np.float32(CLASS_MEANS)
    times = times[:, None]
    variance = (1 - times) ** 2 + (times * FLOW_STD) ** 2
    slope = (times * FLOW_STD**2 - (1 - times)) / variance
    return target + slope * (points - times * target)


CLASS_MEANS, FLOW_STD = np.array([[0.0, 1.0], [-0.5, 0.3], [0.8, -0.6]]), 0.6
MEAN, STD = np.array([0.2, -0.4]), np.array([1.5, 0.8])  # of the standardization


def gaussian_flow(num_steps=40):
  """The density of z ~ N(MEAN + STD · mean of the class, (STD · FLOW_STD)²), as a flow has it."""
  classes, latent = linear_gaussian.CLASSES, linear_gaussian.LATENT
  network = latent_flow.LatentFlow(ExactVelocity(), latent, True, classes, (), classes, 'relu')
  one_hot = {'kernel': jnp.eye(classes), 'bias': jnp.zeros(classes)}
  statistics = {'mean': jnp.float32(MEAN), 'std': jnp.float32(STD)}
  variables = {'params': {'embedding': one_hot}, latent_flow.STATISTICS: statistics}
  return bounds.Density(flow.LogProb(network, num_steps), variables, 'a flow')


def moments_of_flow():
  """Mean [images, latent] and standard deviation [latent] of each image's prior."""
  return MEAN + STD * CLASS_MEANS[LABELS], STD * FLOW_STD


def test_iwae_is_the_evidence_under_a_flow():
  """Where the flow is a Gaussian, so are images: x ~ N(W m + b, W S Wᵀ + σ² I)."""
  mean, std = moments_of_flow()
  model = linear_gaussian.model()
  loading, offset = (np.float64(model.variables['params'][name]) for name in ('loading', 'offset'))
  covariance = loading.T @ np.diag(std**2) @ loading
  covariance += linear_gaussian.SIGMA**2 * np.eye(linear_gaussian.PIXELS)
  centres = mean @ loading + offset[LABELS]
  exact = np.array(
    [
      stats.multivariate_normal(centre, covariance).logpdf(image.ravel() / 255)
      for centre, image in zip(centres, IMAGES, strict=True)
    ]
  )
  found = bounds.iwae(
    model.task, model.variables, IMAGES, LABELS, KEY, 2000, density=gaussian_flow()
  )
  np.testing.assert_allclose(found, exact, atol=0.15)
  assert abs(np.mean(found - exact)) < 0.02
  assert np.abs(linear_gaussian.log_evidence(IMAGES, LABELS) - exact).max() > 0.3


def test_the_kl_to_a_flow_is_that_to_its_gaussian():
  mean, std = moments_of_flow()
  model, flow = linear_gaussian.model(), gaussian_flow()
  given = model.task, model.variables, IMAGES, LABELS
  terms = [bounds.elbo(*given, jax.random.key(seed), flow) for seed in range(300)]
  kl = np.stack([each.kl[:, 0] for each in terms])
  q_mean, q_logvar = np.float64(terms[0].mean), np.float64(terms[0].logvar)
  ratio = np.exp(q_logvar) / std**2
  expected = 0.5 * np.sum(((q_mean - mean) / std) ** 2 + ratio - 1 - np.log(ratio), axis=1)
  errors = np.std(kl, axis=0) / np.sqrt(len(kl))
  assert np.all(np.abs(kl.mean(axis=0) - expected) < 4.5 * errors + 1e-3)
  assert abs(np.mean(kl.mean(axis=0) - expected)) < 4.5 * np.sqrt(np.mean(errors**2) / len(errors))
  # The draws are those of the bound with the model's own prior.
  own = bounds.elbo(*given, jax.random.key(0))
  np.testing.assert_array_equal(own.latents, terms[0].latents)
  np.testing.assert_array_equal(own.reconstruction, terms[0].reconstruction)


def test_bounds_of_some_images_under_a_flow_are_theirs_among_all(monkeypatch):
  model, rows, fractions = linear_gaussian.model(), np.array([1, 4, 10]), []
  given, flow = (model.task, model.variables), gaussian_flow(3)
  whole = bounds.elbo(*given, IMAGES, LABELS, KEY, flow)
  monkeypatch.setattr(bounds, 'BATCH_OF_DENSITY', 2)
  some = bounds.elbo(*given, IMAGES[rows], LABELS[rows], KEY, flow, fractions.append, rows)
  np.testing.assert_allclose(some.kl, whole.kl[rows], rtol=1e-4)
  assert fractions == [2 / 3, 1]


def test_what_a_density_costs_grows_with_its_steps():
  assert gaussian_flow(20).operations == pytest.approx(2 * gaussian_flow(10).operations)
  assert gaussian_flow(20).operations > 20 * 2 * 3 * 10
