"""A step and its update, and chunks of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.tasks import Task
from cvae_jax.training import program, state, step
from tiny import build_optimizer, tiny_config


@pytest.fixture(scope='module')
def prog():
  return program.build(tiny_config())


def test_the_same_steps_in_one_chunk_or_many(prog):
  (whole,) = prog.chunks([(0, 3)])
  together, terms = prog.chunk(prog.fresh_state(), whole.data, num_steps=3)
  state, pieces = prog.fresh_state(), []
  for _, _, data in prog.chunks([(0, 1), (1, 2), (2, 3)]):
    state, piece = prog.chunk(state, data, num_steps=1)
    pieces.append(piece)
  assert int(together.step) == int(state.step) == 3
  for name in step.term_names(prog.task):
    separate = np.concatenate([piece[name] for piece in pieces])
    np.testing.assert_allclose(terms[name], separate, rtol=1e-4)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  jax.tree.map(close, together.variables, state.variables)
  jax.tree.map(close, together.ema, state.ema)


def test_no_recompilation_after_the_first_step_and_no_transfer_within(prog):
  state = prog.fresh_state()
  prog.compiled_chunk.clear_cache()
  chunks = list(prog.chunks([(number, number + 1) for number in range(6)]))
  with jax.transfer_guard('disallow'):
    for _, _, data in chunks:
      state, _ = prog.chunk(state, data, num_steps=1)
  assert prog.compiled_chunk._cache_size() == 1


def test_each_step_draws_anew():
  """With hardly a change of the weights and the same images, only the noise moves the terms."""
  prog = program.build(tiny_config(learning_rate=1e-30, learning_rate_schedule='constant'))
  same = np.tile(np.arange(32, dtype=np.int32), (3, 1))
  order = jax.device_put(same, prog.train.labels.sharding)
  data = (prog.train.images, prog.train.labels, order)
  _, terms = prog.chunk(prog.fresh_state(), data, num_steps=3)
  np.testing.assert_allclose(terms['kl'], terms['kl'][0], rtol=1e-5)
  assert len(set(np.asarray(terms['reconstruction']).tolist())) == 3


class Toy(Task):
  """A loss of two weights: factor(step) · slope(w)."""

  terms = ('size',)
  slope = staticmethod(lambda w: jnp.sum(w**2))
  factors = (1.0,)

  def loss(self, variables, batch, hyper, key, step):
    w = variables['params']['w']
    return jnp.array(self.factors)[step] * self.slope(w), ({'size': jnp.sum(jnp.abs(w))}, {})


def toy_step(task, **changes):
  """A compiled step of a toy, and the state before it."""
  config = tiny_config(learning_rate_schedule='constant', learning_rate=0.1, **changes)
  current = state.create(config, build_optimizer(config), {'params': {'w': jnp.ones(2)}})
  hyper = state.hyperparameters(config, task)
  take = step.make_step(config, task, 3, pick=lambda data, step: data)
  return jax.jit(lambda current: take(current, None, hyper)), current


def test_the_gradient_norm_is_that_before_the_clip():
  task = Toy()
  task.slope = lambda w: 30 * w[0] + 40 * w[1]
  take, current = toy_step(task, clip_norm=1e-3)
  after, terms = take(current)
  assert set(terms) == set(step.term_names(task))
  assert (float(terms['loss']), float(terms['size'])) == (70, 2)
  assert float(terms['gradient_norm']) == pytest.approx(50)
  assert float(terms['learning_rate']) == np.float32(0.1)
  moments = after.opt_state[1][0].mu['w']  # 1 − b1 = 0.1 of the clipped gradient
  np.testing.assert_allclose(moments, 0.1 * 1e-3 * np.array([0.6, 0.8]), rtol=1e-5)


@pytest.mark.parametrize(
  ('changes', 'skipped'),
  [
    ({'on_nonfinite': 'skip'}, [2]),
    ({'on_nonfinite': 'skip', 'max_gradient_norm': 50.0}, [1, 2]),
    ({'max_gradient_norm': 50.0}, []),  # the host stops the run instead
  ],
)
def test_a_step_that_is_not_usable_changes_only_counts(changes, skipped):
  task = Toy()
  task.factors = (1.0, 100.0, jnp.nan, 2.0)
  take, current = toy_step(task, **changes)
  max_norm = changes.get('max_gradient_norm', 0.0)
  for number in range(4 if skipped else 2):
    before, (current, terms) = current, take(current)
    assert int(current.step) == number + 1
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(current), strict=True))
    assert all(int(new) == int(old) + 1 for old, new in pairs if new.dtype == jnp.int32)
    floats = [(old, new) for old, new in pairs if new.dtype == jnp.float32]
    assert len(floats) == 4  # the weight, its average, two moments
    is_same = [np.array_equal(old, new) for old, new in floats]
    assert is_same == [number in skipped] * 4
    assert step.is_usable(terms, max_norm) == (number not in ([1, 2] if max_norm else [2]))


def test_the_state_is_donated(prog):
  state = prog.fresh_state()
  prog.chunk(state, next(prog.chunks([(0, 1)])).data, num_steps=1)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.variables))
