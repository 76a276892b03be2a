"""The ELBO and the importance-weighted bound against SciPy, and what else is in the loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from cvae_jax.models import cvae, generation
from cvae_jax.models.likelihoods import Gaussian
from cvae_jax.runtime import keys
from tiny import task_of, tiny_config

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
LABELS = np.arange(6, dtype=np.int32)
KEY = jax.random.key(1)


def untrained(given=None, **changes):
  """An untrained task, with a given likelihood if there is one, and its variables."""
  task = task_of(tiny_config(**changes))
  task.likelihood = given or task.likelihood
  return task, variables_of(task.network)


@functools.cache
def variables_of(network):
  return jax.jit(functools.partial(cvae.init, network))(jax.random.key(0))


def loss_and_terms(given=None, images=IMAGES, key=KEY, step=0, **changes):
  """The loss of an untrained model, and its terms; β is constant by default."""
  loss, params = loss_of(given, images, key, step, **changes)
  value, (terms, updated) = jax.jit(loss)(params)
  assert not updated  # nothing but the gradient changes this network
  return float(value), {name: float(term) for name, term in terms.items()}


def gradient(**changes):
  """The gradient of the loss of an untrained model."""
  loss, params = loss_of(**changes)
  return jax.jit(jax.grad(loss, has_aux=True))(params)[0]


def loss_of(given=None, images=IMAGES, key=KEY, step=0, **changes):
  """The loss as a function of the parameters, and those of an untrained model."""
  task, variables = untrained(given, **({'beta_schedule': 'constant'} | changes))
  batch = images, LABELS[: len(images)]

  def loss(params):
    value, (terms, updated) = task.loss(
      variables | {'params': params}, batch, task.hyperparameters, key, jnp.int32(step)
    )
    assert tuple(terms) == task.terms
    return value, (terms, updated)

  return loss, variables['params']


def posterior(task, variables, pixels):
  """Mean and standard deviation of q(z | x, c), float64."""
  mean, logvar = task.network.apply(
    variables, jnp.float32(pixels), LABELS, train=False, method='encode'
  )
  return np.float64(mean), np.exp(np.float64(logvar) / 2)


def log_prob(task, variables, pixels, latents):
  """log p(x | z, c) of pixels, the sum over each image, by SciPy: Gaussian(0.5) or Bernoulli."""
  outputs = np.float64(
    task.network.apply(variables, jnp.float32(latents), LABELS, train=False, method='decode')
  )
  if isinstance(task.likelihood, Gaussian):
    return stats.norm.logpdf(pixels, outputs, 0.5).sum((-3, -2, -1))
  log_p, log_not_p = special.log_expit(outputs), special.log_expit(-outputs)
  return (pixels * log_p + (1 - pixels) * log_not_p).sum((-3, -2, -1))


def kl_to_standard_normal(mean, scale):
  return (0.5 * (scale**2 + mean**2 - 1) - np.log(scale)).sum(-1)


@pytest.mark.parametrize('likelihood', ['bernoulli', 'gaussian'])
def test_the_loss_is_the_reconstruction_plus_beta_times_the_kl(likelihood):
  """Sums over pixels and latents, the mean over images; β has risen for 5 of 10 steps to 2."""
  changes = {'likelihood': likelihood, 'data__binarize': 'none'}
  loss, terms = loss_and_terms(
    step=5, beta=4.0, beta_schedule='linear', beta_warmup_steps=10, **changes
  )
  task, variables = untrained(**changes)
  pixels = IMAGES / 127.5 - 1 if likelihood == 'gaussian' else IMAGES / 255
  mean, scale = posterior(task, variables, pixels)
  latents = mean + scale * jax.random.normal(jax.random.split(KEY, 5)[1], mean.shape)
  reconstruction = -log_prob(task, variables, pixels, latents).mean()
  kl = kl_to_standard_normal(mean, scale).mean()
  assert terms == pytest.approx({'reconstruction': reconstruction, 'kl': kl, 'beta': 2}, rel=1e-4)
  assert loss == pytest.approx(reconstruction + 2 * kl, rel=1e-5)


@pytest.mark.parametrize('beta', [1.0, 0.25])
def test_the_importance_weighted_loss_is_the_bound_of_burda(beta):
  changes = {'num_importance_samples': 4, 'likelihood': 'gaussian'}
  loss, terms = loss_and_terms(beta=beta, **changes)
  task, variables = untrained(**changes)
  pixels = IMAGES / 127.5 - 1
  mean, scale = posterior(task, variables, pixels)
  noise = jax.random.normal(jax.random.split(KEY, 5)[1], (4, *mean.shape))
  latents = mean + scale * np.float64(noise)
  log_likelihood = log_prob(task, variables, pixels, latents)
  log_ratio = (stats.norm.logpdf(latents) - stats.norm.logpdf(latents, mean, scale)).sum(2)
  log_weights = log_likelihood + beta * log_ratio
  expected = -(special.logsumexp(log_weights, axis=0) - np.log(4)).mean()
  assert loss == pytest.approx(expected, rel=1e-5)
  assert terms['reconstruction'] == pytest.approx(-log_likelihood.mean(), rel=1e-5)
  # The KL of the ELBO, in closed form.
  assert terms['kl'] == pytest.approx(kl_to_standard_normal(mean, scale).mean(), rel=1e-4)


@pytest.mark.parametrize('binarize', ['none', 'dynamic'])
def test_the_validation_is_the_elbo_at_beta_1_of_each_image(binarize):
  task, variables = untrained(beta=7.0, free_bits=50.0, data__binarize=binarize)
  image_keys = jax.random.split(KEY, 6)
  terms = jax.jit(task.evaluate)(variables, (IMAGES, LABELS), image_keys)
  assert set(terms) == set(task.validation_terms)
  pixels_keys, draw_keys = jax.vmap(jax.random.split)(image_keys).T
  pixels = IMAGES / np.float32(255)
  if binarize == 'dynamic':
    pixels = np.float64(jax.vmap(jax.random.bernoulli)(pixels_keys, pixels))
  mean, scale = posterior(task, variables, pixels)
  latents = mean + scale * jax.vmap(lambda key: jax.random.normal(key, (3,)))(draw_keys)
  reconstruction = -log_prob(task, variables, pixels, latents)
  kl = kl_to_standard_normal(mean, scale)
  expected = {
    'negative_elbo': reconstruction + kl,
    'reconstruction': reconstruction,
    'kl': kl,
    'bits_per_dim': (reconstruction + kl) / (64 * np.log(2)),
  }
  assert ('bits_per_dim' in terms) == (binarize == 'dynamic')
  for name, values in terms.items():
    np.testing.assert_allclose(values, expected[name], rtol=1e-4)


def test_free_bits_are_the_least_that_a_dimension_costs():
  _, terms = loss_and_terms()
  loss, with_free_bits = loss_and_terms(free_bits=50.0, beta=0.5)
  assert with_free_bits['kl'] == pytest.approx(terms['kl'])  # reported as it is
  assert terms['kl'] < 50
  assert loss == pytest.approx(with_free_bits['reconstruction'] + 0.5 * 3 * 50, rel=1e-5)
  # All three dimensions are below: only the reconstruction moves the encoder, whatever β.
  same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4)  # noqa: E731
  jax.tree.map(same, gradient(free_bits=50.0, beta=0.5), gradient(beta=0.0))


def test_free_bits_of_a_prior_that_knows_all_dimensions_together():
  """The flow begins as N(0, I); the KL of the batch is below 3 dimensions × 50 nats."""
  loss, terms = loss_and_terms(
    prior='flow', free_bits=50.0, beta=0.5, model__num_flow_layers=2, model__flow_hidden_dim=4
  )
  assert loss == pytest.approx(terms['reconstruction'] + 0.5 * 3 * 50, rel=1e-5)
  assert 0 < terms['kl'] < 50


@pytest.mark.parametrize(
  ('prior', 'num_samples'), [('class_gaussian', 1), ('vamp', 1), ('flow', 4)]
)
def test_a_learned_prior_is_in_the_loss_and_gets_a_gradient(prior, num_samples):
  changes = {'num_importance_samples': num_samples, 'prior': prior}
  small = {'model__num_pseudo_inputs': 2, 'model__num_flow_layers': 2, 'model__flow_hidden_dim': 4}
  loss, params = loss_of(beta=0.5, **changes, **small)
  (value, (terms, _)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  if num_samples == 1:
    expected = terms['reconstruction'] + 0.5 * terms['kl']
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
  assert sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(slope['prior'])) > 1e-3


@pytest.mark.parametrize('num_importance_samples', [1, 3])
def test_the_loss_of_l2_is_the_sum_of_squares_and_its_reconstruction_a_likelihood(
  num_importance_samples,
):
  changes = {'likelihood': 'l2', 'num_importance_samples': num_importance_samples, 'beta': 0.0}
  loss, terms = loss_and_terms(**changes)
  same, _ = loss_and_terms(Gaussian(np.sqrt(0.5)), **changes)
  constant = 64 * 0.5 * np.log(np.pi)
  assert loss == pytest.approx(same - constant, rel=1e-5)
  if num_importance_samples == 1:
    assert terms['reconstruction'] == pytest.approx(loss + constant, rel=1e-5)


def test_augmentation_changes_what_is_trained_on_and_nothing_else_is_drawn_anew():
  plain, terms = loss_and_terms()
  flipped, flipped_terms = loss_and_terms(data__augment__flip_probability=1.0)
  almost_never, _ = loss_and_terms(data__augment__flip_probability=1e-9)
  assert flipped != plain
  assert flipped_terms['reconstruction'] != terms['reconstruction']
  assert almost_never == pytest.approx(plain, rel=1e-6)


def test_dropout_is_drawn_by_the_step_s_key():
  losses = [loss_and_terms(model__dropout=rate)[0] for rate in (0.5, 0.5, 0.0)]
  assert losses[0] == losses[1] != losses[2]


def test_each_step_binarizes_anew():
  grey = np.full((4, 8, 8, 1), 128, np.uint8)

  def reconstruction(binarize, seed):
    key = jax.random.key(seed)
    return loss_and_terms(Gaussian(0.5), grey, key, data__binarize=binarize)[1]['reconstruction']

  # Grey is near the untrained mean, black and white are one unit off: 1 / (2 σ²) · 64 nats more.
  assert reconstruction('dynamic', 0) > reconstruction('none', 0) + 100
  assert reconstruction('dynamic', 0) != reconstruction('dynamic', 1)


@pytest.mark.parametrize(
  ('changes', 'delay', 'rise', 'warmup_steps'),
  [
    ({}, 0, 3, 3),  # 1 epoch of 3 steps
    ({'beta_warmup_steps': 5, 'beta_delay_epochs': 0.5}, 2, 5, 7),
    ({'beta_warmup_epochs': 0.5, 'beta_delay_steps': 4}, 4, 1.5, 6),
    ({'beta_schedule': 'constant', 'beta_delay_steps': 4}, 4, 3, 4),
  ],
)
def test_when_beta_begins_to_rise_and_has_risen(changes, delay, rise, warmup_steps):
  task = task_of(tiny_config(**changes))
  assert task.warmup_steps == warmup_steps
  assert int(task.hyperparameters['beta_delay_steps']) == delay
  assert float(task.hyperparameters['beta_warmup_steps']) == rise
  assert bool(task.note) == (warmup_steps > 6)


def test_a_run_shorter_than_its_warm_up_is_told_how_far_beta_rises():
  task = task_of(tiny_config(beta=2.0, beta_warmup_epochs=4.0))
  assert 'ends at 0.833 of 2' in task.note  # after 5 of 12 steps
  assert '12 steps: the run has 6' in task.note


@pytest.mark.parametrize(
  ('changes', 'rows', 'columns', 'classes'),
  [
    ({'data__num_classes': 3}, 3, 10, [0, 1, 2]),
    ({'data__num_classes': 1000}, 20, 10, range(20)),
    ({'conditional': False, 'data__num_classes': 0}, 8, 8, [0] * 8),
  ],
)
def test_samples_are_drawn_from_the_prior_with_a_row_for_each_class(
  changes, rows, columns, classes
):
  task, variables = untrained(**changes)
  batch, key = (IMAGES, np.zeros(6, np.int32)), jax.random.key(0)
  pictures = task.pictures(variables, batch, key)
  assert list(pictures) == ['samples', 'reconstructions']
  labels = np.repeat(np.int32(classes), columns)
  latents = generation.draw_prior(
    task.network, variables, labels, keys.named(key, 'samples'), np.arange(rows * columns), 1.0
  )
  expected = task.decode(variables, latents, labels).reshape(rows, columns, 8, 8, 1)
  np.testing.assert_array_equal(pictures['samples'], expected)


def test_reconstructions_lie_below_their_images():
  task, variables = untrained()
  rows = task.pictures(variables, (IMAGES, LABELS), KEY)['reconstructions']
  np.testing.assert_allclose(rows[0], IMAGES / 255, atol=1e-6)
  mean, _ = task.encode(variables, np.float32(IMAGES / 255), LABELS)
  np.testing.assert_allclose(rows[1], task.decode(variables, mean, LABELS), atol=1e-6)
  assert rows.shape == (2, 6, 8, 8, 1)
  np.testing.assert_allclose(task.latents(variables, (IMAGES, LABELS)), mean, atol=1e-6)
