"""The loss as a sum of its terms, and chunks of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvae_jax.models import cvae
from cvae_jax.objectives.likelihoods import Gaussian
from cvae_jax.training import program, state, step
from tiny import tiny_config


@pytest.fixture(scope='module')
def prog():
  return program.build(tiny_config())


def test_loss_is_reconstruction_plus_beta_times_kl():
  """Against SciPy, on the outputs of the network: sums over pixels and latents, mean of images."""
  config = tiny_config()
  model = cvae.build(config)
  variables = cvae.init(model, jax.random.key(0))
  images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
  labels = jnp.arange(6)
  loss_fn = step.make_loss(model, Gaussian(0.5), lambda step: 0.25 * step, 'none')
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


def test_each_step_binarizes_anew():
  config = tiny_config()
  model = cvae.build(config)
  variables = cvae.init(model, jax.random.key(0))
  images = np.full((4, 8, 8, 1), 128, np.uint8)

  def reconstruction(binarize, key):
    loss_fn = jax.jit(step.make_loss(model, Gaussian(0.5), lambda step: 0.0, binarize))
    inputs = (variables['params'], {}, images, jnp.zeros(4, jnp.int32), jax.random.key(key))
    return float(loss_fn(*inputs, jnp.array(0))[1][0]['reconstruction'])

  # Grey is near the untrained mean, black and white are one unit off: 1 / (2 σ²) · 64 nats more.
  assert reconstruction('dynamic', 0) > reconstruction('none', 0) + 100
  assert reconstruction('dynamic', 0) != reconstruction('dynamic', 1)


def test_the_same_steps_in_one_chunk_or_many(prog):
  together, terms = prog.chunk(prog.initial_state(), *prog.train, prog.order(0), num_steps=3)
  state, pieces = prog.initial_state(), []
  for _ in range(3):
    state, piece = prog.chunk(state, *prog.train, prog.order(0), num_steps=1)
    pieces.append(piece)
  assert int(together.step) == int(state.step) == 3
  for name in step.TERMS:
    separate = np.concatenate([piece[name] for piece in pieces])
    np.testing.assert_allclose(terms[name], separate, rtol=1e-4)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  jax.tree.map(close, together.variables, state.variables)
  jax.tree.map(close, together.ema, state.ema)


def test_no_recompilation_after_the_first_step_and_no_transfer_within(prog):
  chunk, state = prog.chunk, prog.initial_state()
  chunk.clear_cache()
  orders = [prog.order(epoch) for epoch in range(2)]
  with jax.transfer_guard('disallow'):
    for number in range(6):
      state, _ = chunk(state, *prog.train, orders[number // 3], num_steps=1)
  assert chunk._cache_size() == 1


def test_each_step_draws_anew():
  """With hardly a change of the weights and the same images, only the noise moves the terms."""
  prog = program.build(tiny_config(learning_rate=1e-30, learning_rate_schedule='constant'))
  same = np.tile(np.arange(32, dtype=np.int32), (3, 1))
  order = jax.device_put(same, prog.train.labels.sharding)
  _, terms = prog.chunk(prog.initial_state(), *prog.train, order, num_steps=3)
  np.testing.assert_allclose(terms['kl'], terms['kl'][0], rtol=1e-5)
  assert len(set(np.asarray(terms['reconstruction']).tolist())) == 3


def test_the_gradient_norm_is_that_before_the_clip():
  config = tiny_config(clip_norm=1e-3)
  model, optimizer = cvae.build(config), state.build_optimizer(config, 3)
  current = state.create(config, optimizer, cvae.init(model, jax.random.key(0)))
  loss_fn = step.make_loss(model, Gaussian(0.5), lambda step: 1.0, 'none')
  images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
  batch, key = (images, jnp.arange(6)), jax.random.key(1)
  train_step = jax.jit(step.make_train_step(loss_fn, optimizer, lambda step: 0.1, 0.9))
  _, terms = train_step(current, batch, key)
  gradient = jax.jit(jax.grad(lambda params: loss_fn(params, {}, *batch, key, 0)[0]))(
    current.variables['params']
  )
  leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gradient)]
  expected = np.linalg.norm(np.concatenate(leaves))
  assert expected > 1
  np.testing.assert_allclose(terms['gradient_norm'], expected, rtol=1e-4)


def test_the_state_is_donated(prog):
  state = prog.initial_state()
  prog.chunk(state, *prog.train, prog.order(0), num_steps=1)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.variables))
