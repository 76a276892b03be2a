"""Optimizer, schedules of the learning rate, moving average, a new state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvae_jax.training import state
from tiny import RESNET, build_optimizer, task_of, tiny_config


def test_learning_rate_warms_up_and_decays_to_zero():
  schedule = state.learning_rate_schedule(tiny_config(num_epochs=11), 1.0, 10)
  actual = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
  np.testing.assert_allclose(actual, [0, 0.5, 1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize('warmup_epochs', [0.0, 1.0, 5.0])
def test_the_learning_rate_of_a_run_shorter_than_its_warm_up_is_finite(warmup_epochs):
  config = tiny_config(num_epochs=1, learning_rate_warmup_epochs=warmup_epochs)
  schedule = state.learning_rate_schedule(config, 1.0, steps_per_epoch=1)
  assert np.isfinite([schedule(step) for step in range(3)]).all()


def test_constant_learning_rate():
  schedule = state.learning_rate_schedule(tiny_config(learning_rate_schedule='constant'), 0.25, 10)
  assert schedule(0) == schedule(10**6) == 0.25


def first_update(**changes):
  config = tiny_config(learning_rate_schedule='constant', learning_rate=0.1, **changes)
  optimizer = build_optimizer(config)
  params = {'w': jnp.array([3.0, 0.0])}
  gradient = {'w': jnp.array([30.0, 40.0])}
  updates, opt_state = optimizer.update(gradient, optimizer.init(params), params)
  return updates['w'], opt_state


def test_adamw_decays_weights_apart_from_the_gradient():
  # Adam's first update is the sign of the gradient; the decay adds −rate · decay · weight.
  updates, _ = first_update(weight_decay=0.5, clip_norm=0.0)
  np.testing.assert_allclose(updates, [-0.1 - 0.1 * 0.5 * 3, -0.1], rtol=1e-5)


def test_adam_decays_nothing():
  updates, _ = first_update(optimizer='adam', weight_decay=0.5, clip_norm=0.0)
  np.testing.assert_allclose(updates, [-0.1, -0.1], rtol=1e-5)


def test_clipping_scales_the_whole_gradient():
  for clip_norm, expected in ((0.0, [30, 40]), (1.0, [0.6, 0.8]), (100.0, [30, 40])):
    _, opt_state = first_update(clip_norm=clip_norm)
    mu = optax.tree_utils.tree_get(opt_state, 'mu')['w']
    np.testing.assert_allclose(mu, 0.1 * np.array(expected), rtol=1e-5)  # 1 − b1 = 0.1


def test_moving_average_reaches_its_decay_after_a_rise():
  new, old = {'w': jnp.array(1.0)}, {'w': jnp.array(0.0)}
  early = state.update_ema(old, new, 0.999, step=0)['w']
  late = state.update_ema(old, new, 0.999, step=10**6)['w']
  np.testing.assert_allclose([early, late], [0.9, 0.001], rtol=1e-4)


@pytest.mark.parametrize('norm', ['none', pytest.param('batch', marks=pytest.mark.slow)])
def test_a_new_state(norm):
  config = tiny_config(**(RESNET if norm == 'batch' else {}) | {'model__norm': norm})
  variables = jax.jit(task_of(config).init)(jax.random.key(0))
  fresh = state.create(config, build_optimizer(config), variables)
  assert fresh.step == 0
  assert ('batch_stats' in fresh.variables) == (norm == 'batch')
  jax.tree.map(np.testing.assert_array_equal, fresh.variables, fresh.ema)
  assert fresh.eval_variables is fresh.ema
  shared = {id(leaf) for leaf in jax.tree.leaves(fresh.variables)}
  assert not shared & {id(leaf) for leaf in jax.tree.leaves(fresh.ema)}


def test_without_a_decay_there_is_no_average():
  config = tiny_config(ema_decay=0.0)
  fresh = state.create(config, build_optimizer(config), {'params': {'w': jnp.ones(2)}})
  assert fresh.ema is None
  assert fresh.eval_variables is fresh.variables
