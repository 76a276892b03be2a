"""The loss in all its forms, and chunks of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from cvae_jax.data import corruption
from cvae_jax.models import cvae, likelihoods
from cvae_jax.models.likelihoods import Gaussian
from cvae_jax.training import program, state, step
from tiny import DENSE, build_optimizer, tiny_config


@pytest.fixture(scope='module')
def prog():
  return program.build(tiny_config(**DENSE))


def test_loss_is_reconstruction_plus_beta_times_kl():
  """Against SciPy, on the outputs of the network: sums over pixels and latents, mean of images."""
  config = tiny_config(**DENSE)
  model = cvae.build(config)
  variables = cvae.init(model, jax.random.key(0))
  images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
  labels = jnp.arange(6)
  loss_fn = step.make_loss(config, model, Gaussian(0.5), lambda step: 0.25 * step, 0.0)
  loss, (terms, _) = jax.jit(loss_fn)(
    variables['params'], {}, images, labels, jax.random.key(1), jnp.array(8)
  )
  pixels = images / 127.5 - 1
  mean, logvar = model.apply(variables, jnp.float32(pixels), labels, train=False, method='encode')
  # The noise of the latents comes from the second half of the step's key.
  noise = jax.random.normal(jax.random.split(jax.random.key(1))[1], mean.shape)
  latents = mean + np.exp(0.5 * logvar) * noise
  outputs = model.apply(variables, latents, labels, train=False, method='decode')
  reconstruction = -stats.norm.logpdf(pixels, outputs, 0.5).sum() / 6
  scale = np.exp(np.float64(logvar) / 2)
  kl = (0.5 * (scale**2 + np.float64(mean) ** 2 - 1) - np.log(scale)).sum() / 6
  np.testing.assert_allclose(terms['reconstruction'], reconstruction, rtol=1e-5)
  np.testing.assert_allclose(terms['kl'], kl, rtol=1e-4)
  np.testing.assert_allclose(terms['beta'], 2.0)
  np.testing.assert_allclose(loss, reconstruction + 2 * kl, rtol=1e-5)


IMAGES = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)


def loss_and_terms(given=None, beta=1.0, key=1, **changes):
  """The loss of an untrained model on six images, its terms, and its gradient."""
  config = tiny_config(**(DENSE | changes))
  model = cvae.build(config)
  variables = jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0))
  likelihood = given or likelihoods.build(config)
  loss_fn = step.make_loss(config, model, likelihood, lambda step: beta, config.free_bits)
  inputs = ({}, IMAGES, jnp.arange(6), jax.random.key(key), jnp.array(0))
  (loss, (terms, _)), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(
    variables['params'], *inputs
  )
  return float(loss), {name: float(value) for name, value in terms.items()}, gradient


def test_free_bits_are_the_least_that_a_dimension_costs():
  _, terms, _ = loss_and_terms()
  loss, with_free_bits, gradient = loss_and_terms(free_bits=50.0, beta=0.5)
  assert with_free_bits['kl'] == pytest.approx(terms['kl'])  # reported as it is
  assert terms['kl'] < 50
  assert loss == pytest.approx(with_free_bits['reconstruction'] + 0.5 * 3 * 50, rel=1e-5)
  # All three dimensions are below: only the reconstruction moves the encoder, whatever β.
  _, _, without_kl = loss_and_terms(beta=0.0)
  same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4)  # noqa: E731
  jax.tree.map(same, gradient, without_kl)


def test_free_bits_of_a_prior_that_knows_all_dimensions_together():
  """The flow begins as N(0, I); the KL of the batch is below 3 dimensions × 50 nats."""
  loss, terms, _ = loss_and_terms(
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
  loss, terms, gradient = loss_and_terms(beta=0.5, **changes, **small)
  if num_samples == 1:
    assert loss == pytest.approx(terms['reconstruction'] + 0.5 * terms['kl'], rel=1e-5)
  assert sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(gradient['prior'])) > 1e-3


@pytest.mark.parametrize('beta', [1.0, 0.25])
def test_the_importance_weighted_loss_against_scipy(beta):
  config = tiny_config(num_importance_samples=4, **DENSE)
  model = cvae.build(config)
  variables = jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0))
  labels = jnp.arange(6)
  loss_fn = step.make_loss(config, model, Gaussian(0.5), lambda step: beta, 0.0)
  loss, (terms, _) = jax.jit(loss_fn)(
    variables['params'], {}, IMAGES, labels, jax.random.key(1), jnp.array(0)
  )
  pixels = IMAGES / 127.5 - 1
  mean, logvar = model.apply(variables, jnp.float32(pixels), labels, train=False, method='encode')
  noise = jax.random.normal(jax.random.split(jax.random.key(1))[1], (4, *mean.shape))
  mean, scale = np.float64(mean), np.exp(np.float64(logvar) / 2)
  latents = mean + scale * np.float64(noise)
  outputs = model.apply(variables, jnp.float32(latents), labels, train=False, method='decode')
  log_prob = stats.norm.logpdf(pixels, outputs, 0.5).sum((2, 3, 4))
  log_ratio = (stats.norm.logpdf(latents) - stats.norm.logpdf(latents, mean, scale)).sum(2)
  log_weights = log_prob + beta * log_ratio
  expected = -(special.logsumexp(log_weights, axis=0) - np.log(4)).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(terms['reconstruction'], -log_prob.mean(), rtol=1e-5)


@pytest.mark.parametrize('kind', ['gaussian', 'masking'])
def test_a_denoising_autoencoder_reconstructs_the_clean_image_from_the_mean(kind):
  """Against SciPy: no draw of latents, no KL, and the noise of the step's own key."""
  config = tiny_config(objective='dae', data__corruption=kind, **DENSE)
  model = cvae.build(config)
  variables = jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0))
  loss_fn = step.make_loss(config, model, Gaussian(0.5), lambda step: 1.0, 0.0)
  (loss, (terms, _)), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(
    variables['params'], {}, IMAGES, jnp.arange(6), jax.random.key(1), jnp.array(0)
  )
  noise_key = jax.random.split(jax.random.key(1), 5)[4]
  seen = 2 * corruption.corrupt(kind, 0.3, noise_key, jnp.float32(IMAGES / 255)) - 1
  mean, _ = model.apply(variables, seen, jnp.arange(6), train=False, method='encode')
  outputs = model.apply(variables, mean, jnp.arange(6), train=False, method='decode')
  expected = -stats.norm.logpdf(IMAGES / 127.5 - 1, outputs, 0.5).sum() / 6
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert terms['reconstruction'] == loss
  assert terms['kl'] == terms['beta'] == 0
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient['logvar_head']))


@pytest.mark.parametrize('num_importance_samples', [1, 3])
def test_the_loss_of_l2_is_the_sum_of_squares_and_its_reconstruction_a_likelihood(
  num_importance_samples,
):
  changes = {'likelihood': 'l2', 'num_importance_samples': num_importance_samples}
  loss, terms, _ = loss_and_terms(beta=0.0, **changes)
  same, _, _ = loss_and_terms(Gaussian(np.sqrt(0.5)), beta=0.0, **changes)
  constant = 64 * 0.5 * np.log(np.pi)
  assert loss == pytest.approx(same - constant, rel=1e-5)
  if num_importance_samples == 1:
    assert terms['reconstruction'] == pytest.approx(loss + constant, rel=1e-5)


def test_augmentation_changes_what_is_trained_on_and_nothing_else_is_drawn_anew():
  plain, terms, _ = loss_and_terms()
  flipped, flipped_terms, _ = loss_and_terms(data__augment__flip_probability=1.0)
  twice, _, _ = loss_and_terms(data__augment__flip_probability=1e-9)
  assert flipped != plain
  assert flipped_terms['reconstruction'] != terms['reconstruction']
  assert twice == pytest.approx(plain, rel=1e-6)


def test_dropout_is_drawn_by_the_step_s_key():
  losses = [
    loss_and_terms(model__dropout=rate, key=key)[0] for rate, key in ((0.5, 1), (0.5, 1), (0.0, 1))
  ]
  assert losses[0] == losses[1] != losses[2]


def test_each_step_binarizes_anew():
  model = cvae.build(tiny_config(**DENSE))
  variables = cvae.init(model, jax.random.key(0))
  images = np.full((4, 8, 8, 1), 128, np.uint8)

  def reconstruction(binarize, key):
    config = tiny_config(data__binarize=binarize, **DENSE)
    loss_fn = jax.jit(step.make_loss(config, model, Gaussian(0.5), lambda step: 0.0, 0.0))
    inputs = (variables['params'], {}, images, jnp.zeros(4, jnp.int32), jax.random.key(key))
    return float(loss_fn(*inputs, jnp.array(0))[1][0]['reconstruction'])

  # Grey is near the untrained mean, black and white are one unit off: 1 / (2 σ²) · 64 nats more.
  assert reconstruction('dynamic', 0) > reconstruction('none', 0) + 100
  assert reconstruction('dynamic', 0) != reconstruction('dynamic', 1)


def test_the_same_steps_in_one_chunk_or_many(prog):
  (whole,) = prog.chunks([(0, 3)])
  together, terms = prog.chunk(prog.initial_state(), whole.data, num_steps=3)
  state, pieces = prog.initial_state(), []
  for _, _, data in prog.chunks([(0, 1), (1, 2), (2, 3)]):
    state, piece = prog.chunk(state, data, num_steps=1)
    pieces.append(piece)
  assert int(together.step) == int(state.step) == 3
  for name in step.TERMS:
    separate = np.concatenate([piece[name] for piece in pieces])
    np.testing.assert_allclose(terms[name], separate, rtol=1e-4)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  jax.tree.map(close, together.variables, state.variables)
  jax.tree.map(close, together.ema, state.ema)


def test_no_recompilation_after_the_first_step_and_no_transfer_within(prog):
  state = prog.initial_state()
  prog.compiled_chunk.clear_cache()
  chunks = list(prog.chunks([(number, number + 1) for number in range(6)]))
  with jax.transfer_guard('disallow'):
    for _, _, data in chunks:
      state, _ = prog.chunk(state, data, num_steps=1)
  assert prog.compiled_chunk._cache_size() == 1


def test_each_step_draws_anew():
  """With hardly a change of the weights and the same images, only the noise moves the terms."""
  prog = program.build(tiny_config(learning_rate=1e-30, learning_rate_schedule='constant', **DENSE))
  same = np.tile(np.arange(32, dtype=np.int32), (3, 1))
  order = jax.device_put(same, prog.train.labels.sharding)
  data = (prog.train.images, prog.train.labels, order)
  _, terms = prog.chunk(prog.initial_state(), data, num_steps=3)
  np.testing.assert_allclose(terms['kl'], terms['kl'][0], rtol=1e-5)
  assert len(set(np.asarray(terms['reconstruction']).tolist())) == 3


def test_the_gradient_norm_is_that_before_the_clip():
  config = tiny_config(clip_norm=1e-3, **DENSE)
  model, optimizer = (
    cvae.build(config),
    build_optimizer(config),
  )
  current = state.create(config, optimizer, cvae.init(model, jax.random.key(0)))
  loss_fn = step.make_loss(config, model, Gaussian(0.5), lambda step: 1.0, 0.0)
  images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
  batch, key = (images, jnp.arange(6)), jax.random.key(1)
  train_step = jax.jit(step.make_train_step(config, loss_fn, optimizer, lambda step: 0.1))
  _, terms = train_step(current, batch, key)
  gradient = jax.jit(jax.grad(lambda params: loss_fn(params, {}, *batch, key, 0)[0]))(
    current.variables['params']
  )
  leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gradient)]
  expected = np.linalg.norm(np.concatenate(leaves))
  assert expected > 1
  np.testing.assert_allclose(terms['gradient_norm'], expected, rtol=1e-4)


@pytest.mark.parametrize(
  ('changes', 'skipped'),
  [
    ({'on_nonfinite': 'skip'}, [2]),
    ({'on_nonfinite': 'skip', 'max_gradient_norm': 50.0}, [1, 2]),
    ({'max_gradient_norm': 50.0}, []),  # the host stops the run instead
  ],
)
def test_a_step_that_is_not_usable_changes_only_counts(changes, skipped):
  config = tiny_config(learning_rate_schedule='constant', **changes)
  optimizer = build_optimizer(config)
  current = state.create(config, optimizer, {'params': {'w': jnp.ones(2)}})
  factors = jnp.array([1.0, 100.0, jnp.nan, 2.0])  # of the loss, by step

  def loss_fn(params, batch_stats, images, labels, key, step):
    loss = factors[step] * jnp.sum(params['w'] ** 2)
    return loss, ({'loss': loss}, {})

  train_step = jax.jit(step.make_train_step(config, loss_fn, optimizer, lambda step: 0.1))
  batch, key = (jnp.zeros(1), jnp.zeros(1, jnp.int32)), jax.random.key(0)
  for number in range(4 if skipped else 2):
    before, (current, terms) = current, train_step(current, batch, key)
    assert int(current.step) == number + 1
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(current), strict=True))
    assert all(int(new) == int(old) + 1 for old, new in pairs if new.dtype == jnp.int32)
    floats = [(old, new) for old, new in pairs if new.dtype == jnp.float32]
    assert len(floats) == 4  # the weight, its average, two moments
    is_same = [np.array_equal(old, new) for old, new in floats]
    assert is_same == [number in skipped] * 4
    assert step.is_usable(terms, config.max_gradient_norm) == (
      number not in ([1, 2] if config.max_gradient_norm else [2])
    )


def test_the_state_is_donated(prog):
  state = prog.initial_state()
  prog.chunk(state, next(prog.chunks([(0, 1)])).data, num_steps=1)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.variables))
