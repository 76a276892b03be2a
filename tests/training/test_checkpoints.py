"""Checkpoints: which are kept, what is read back."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.training import checkpoints, program
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.state import TrainState
from tiny import tiny_config

CONFIG = tiny_config()


def toy_state(value, step):
  variables = {'params': {'w': jnp.full((2, 2), value)}}
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    variables=variables,
    ema=jax.tree.map(lambda leaf: leaf + 0.5, variables),
    opt_state=({'mu': jnp.full(3, -value)},),
  )


@pytest.fixture
def saved(tmp_path):
  """Steps 1 to 5; the best is 2, and 3 and 5 were not validated."""
  with_best = Checkpoints(tmp_path, 2, CONFIG)
  for step, score in ((1, 9.0), (2, 1.0), (3, None), (4, 5.0), (5, None)):
    validation = None if score is None else {'negative_elbo': score, 'kl': 0.0}
    with_best.save(toy_state(float(step), step), step, {}, validation)
  with_best.wait()
  yield with_best
  with_best.close()


def kept(folder):
  return sorted(int(path.name) for path in (folder / 'checkpoints').iterdir())


def test_the_newest_and_the_best_stay(saved, tmp_path):
  assert kept(tmp_path) == [2, 4, 5]
  assert saved.latest_step == 5
  assert saved.best == (1.0, 2)


@pytest.mark.parametrize(('which', 'step'), [('best', 2), ('last', 5), ('4', 4)])
def test_variables_are_the_average_of_the_checkpoint_asked_for(saved, tmp_path, which, step):
  variables, found = checkpoints.restore_variables(
    tmp_path, which, CONFIG, toy_state(0.0, 0).variables
  )
  assert found == step
  np.testing.assert_array_equal(variables['params']['w'], step + 0.5)


def test_variables_themselves_where_there_is_no_average(tmp_path):
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(toy_state(3.0, 1).replace(ema=None), 1, {}, None)
  saved.close()
  variables, _ = checkpoints.restore_variables(
    tmp_path, 'best', CONFIG, toy_state(0.0, 0).variables
  )
  np.testing.assert_array_equal(variables['params']['w'], 3.0)


@pytest.mark.parametrize('which', ['3', '99', 'worst', '-1'])
def test_a_checkpoint_that_is_not_there(saved, tmp_path, which):
  with pytest.raises(InputError, match=rf'{which}.* best, last, or one of 2, 4, 5'):
    checkpoints.restore_variables(tmp_path, which, CONFIG, toy_state(0.0, 0).variables)


def test_everything_comes_back(tmp_path):
  state, window = toy_state(3.0, 7), {'loss': np.array([1.5, 2.5], np.float32)}
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(state, 7, window, None)
  saved.wait()
  restored, restored_window, _ = checkpoints.resume(tmp_path, CONFIG, toy_state(0.0, 0))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  assert restored_window['loss'].tolist() == [1.5, 2.5]
  saved.close()
  elsewhere, _ = checkpoints.restore(tmp_path, 7, CONFIG, toy_state(0.0, 0))
  jax.tree.map(np.testing.assert_array_equal, elsewhere, state)


def test_a_run_without_an_average_lends_its_weights_to_begin_one(tmp_path):
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(toy_state(3.0, 7).replace(ema=None), 7, {}, None)
  saved.close()
  restored, _ = checkpoints.restore(tmp_path, 7, CONFIG, toy_state(0.0, 0))
  np.testing.assert_array_equal(restored.ema['params']['w'], 3.0)
  without, _ = checkpoints.restore(tmp_path, 7, CONFIG, toy_state(0.0, 0).replace(ema=None))
  assert without.ema is None


def test_a_save_holds_the_state_of_its_step_though_the_buffers_are_donated_at_once(tmp_path):
  prog = program.build(CONFIG)
  state = prog.fresh_state()
  before = jax.tree.map(np.array, state.variables)
  saved = Checkpoints(tmp_path, 9, CONFIG)
  for begin, _, data in prog.chunks([(0, 1), (1, 2), (2, 3)]):
    saved.save(state, begin, {}, None)
    state, _ = prog.chunk(state, data, num_steps=1)
  saved.wait()
  restored, _ = checkpoints.restore(tmp_path, 0, CONFIG, prog.fresh_state())
  jax.tree.map(np.testing.assert_array_equal, restored.variables, before)
  saved.close()


def test_damaged_metrics_hide_no_other_checkpoint(saved, tmp_path):
  (tmp_path / 'checkpoints' / '4' / 'metrics' / 'metrics').write_text('{')
  _, step = checkpoints.restore_variables(tmp_path, 'best', CONFIG, toy_state(0.0, 0).variables)
  assert step == 2
  state, _, damaged = checkpoints.resume(tmp_path, CONFIG, toy_state(0.0, 0))
  assert (int(state.step), list(damaged)) == (5, [4])
  assert kept(tmp_path) == [2, 5]
  Checkpoints(tmp_path, 2, CONFIG).close()


def test_no_checkpoint(tmp_path):
  with pytest.raises(InputError, match='has no checkpoint'):
    checkpoints.restore_variables(tmp_path, 'best', CONFIG, {})
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(InputError, match='has no checkpoint'):
    checkpoints.restore_variables(tmp_path, 'best', CONFIG, {})


def test_other_shapes_and_missing_files_are_named(saved, tmp_path):
  with pytest.raises(InputError, match=r'checkpoints/5 cannot be read'):
    checkpoints.restore_variables(tmp_path, 'last', CONFIG, {'params': {'w': jnp.zeros((3, 2))}})
  shutil.rmtree(tmp_path / 'checkpoints' / '5' / 'ema' / 'd')
  with pytest.raises(InputError, match=r'checkpoints/5 cannot be read'):
    checkpoints.restore_variables(tmp_path, 'last', CONFIG, toy_state(0.0, 0).variables)
