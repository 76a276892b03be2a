"""Checkpoints: which are kept, and what they hold."""

import jax
import numpy as np

from cvae_jax.training import program, restoring
from cvae_jax.training.checkpoints import Checkpoints
from tiny import steps, tiny_config, toy_state

CONFIG = tiny_config()


def test_the_newest_and_the_best_stay(tmp_path):
  saved = Checkpoints(tmp_path, 2, CONFIG)
  for step, score in ((1, 9.0), (2, 1.0), (3, None), (4, 5.0), (5, None)):
    saved.save(toy_state(step), step, {}, score and {'negative_elbo': score, 'kl': 0.0})
  saved.wait()
  assert steps(tmp_path) == [2, 4, 5]
  assert saved.latest_step == 5
  assert saved.latest_path == tmp_path / 'checkpoints' / '5'
  assert saved.best == (1.0, 2)
  saved.close()


def test_the_score_of_the_task_picks_the_best(tmp_path):
  saved = Checkpoints(tmp_path, 1, tiny_config(objective='dae'))
  for step, score in ((1, 1.0), (2, 3.0), (3, 2.0)):
    saved.save(toy_state(step), step, {}, {'reconstruction': score, 'negative_elbo': -score})
  saved.wait()
  assert saved.best == (1.0, 1)
  assert steps(tmp_path) == [1, 3]
  saved.close()


def test_state_and_window_come_back_and_may_be_read_elsewhere(tmp_path):
  state, window = toy_state(7), {'loss': np.array([1.5, 2.5], np.float32)}
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(state, 7, window, None)
  saved.wait()
  restored, restored_window, damaged = restoring.resume(tmp_path, CONFIG, toy_state(0))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  assert restored_window['loss'].tolist() == [1.5, 2.5]
  assert damaged == {}
  saved.close()
  elsewhere, _ = restoring.restore(tmp_path, 7, CONFIG, toy_state(0))
  jax.tree.map(np.testing.assert_array_equal, elsewhere, state)


def test_a_save_holds_the_state_of_its_step_though_the_buffers_are_donated_at_once(tmp_path):
  prog = program.build(CONFIG)
  state = prog.fresh_state()
  before = jax.tree.map(np.array, state.variables)
  saved = Checkpoints(tmp_path, 9, CONFIG)
  for begin, _, data in prog.chunks([(0, 1), (1, 2), (2, 3)]):
    saved.save(state, begin, {}, None)
    state, _ = prog.chunk(state, data, num_steps=1)
  saved.wait()
  restored, _ = restoring.restore(tmp_path, 0, CONFIG, prog.fresh_state())
  jax.tree.map(np.testing.assert_array_equal, restored.variables, before)
  saved.close()
