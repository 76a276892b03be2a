"""What is read back of a run: the variables, its whole state, or a plain error."""

import shutil

import jax
import numpy as np
import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.training import restoring
from cvae_jax.training.checkpoints import Checkpoints
from tiny import steps, tiny_config, toy_state

CONFIG = tiny_config()
VARIABLES = toy_state(0).variables
SCORES = {2: 1.0, 4: 5.0, 5: None}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Checkpoints 2, 4 and 5; the best is 2, and 5 was not validated. Read only: copy it."""
  folder = tmp_path_factory.mktemp('run')
  saved = Checkpoints(folder, 3, CONFIG)
  for step, score in SCORES.items():
    saved.save(toy_state(step), step, {}, score and {'negative_elbo': score, 'kl': 0.0})
  saved.close()
  return folder


@pytest.fixture
def copy(run, tmp_path):
  shutil.copytree(run, tmp_path / 'copy')
  return tmp_path / 'copy'


@pytest.fixture
def without_average(tmp_path):
  """A run of one checkpoint, of step 7, without a moving average of its weights."""
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(toy_state(7).replace(ema=None), 7, {}, None)
  saved.close()
  return tmp_path


@pytest.mark.parametrize(('which', 'step'), [('best', 2), ('last', 5), ('4', 4)])
def test_variables_are_the_average_of_the_checkpoint_asked_for(run, which, step):
  variables, found = restoring.restore_variables(run, which, CONFIG, VARIABLES)
  assert found == step == restoring.choose(run, which, CONFIG)
  jax.tree.map(np.testing.assert_array_equal, variables, toy_state(step).ema)


def test_of_two_equally_good_checkpoints_the_later_is_the_best(tmp_path):
  saved = Checkpoints(tmp_path, 3, CONFIG)
  for step in (1, 2):
    saved.save(toy_state(step), step, {}, {'negative_elbo': 1.0})
  saved.close()
  assert restoring.choose(tmp_path, 'best', CONFIG) == 2


def test_metrics_are_those_of_validated_checkpoints(run):
  found = restoring.read_metrics(run, CONFIG)
  assert found == {step: {'negative_elbo': SCORES[step], 'kl': 0.0} for step in (2, 4)}


def test_variables_themselves_where_there_is_no_average(without_average):
  variables, _ = restoring.restore_variables(without_average, 'best', CONFIG, VARIABLES)
  jax.tree.map(np.testing.assert_array_equal, variables, toy_state(7).variables)


def test_a_run_without_an_average_lends_its_weights_to_begin_one(without_average):
  restored, _ = restoring.restore(without_average, 7, CONFIG, toy_state(0))
  jax.tree.map(np.testing.assert_array_equal, restored.ema, toy_state(7).variables)
  without, _ = restoring.restore(without_average, 7, CONFIG, toy_state(0).replace(ema=None))
  assert without.ema is None


@pytest.mark.parametrize('which', ['3', '99', 'worst', '-1'])
def test_a_missing_checkpoint_is_named_with_those_that_are_there(run, which):
  with pytest.raises(InputError, match=rf"'{which}'.* best, last, or one of 2, 4, 5") as error:
    restoring.restore_variables(run, which, CONFIG, VARIABLES)
  assert str(run) in str(error.value)


def test_damaged_metrics_hide_no_other_checkpoint(copy):
  (copy / 'checkpoints' / '4' / 'metrics' / 'metrics').write_text('{')
  _, step = restoring.restore_variables(copy, 'best', CONFIG, VARIABLES)
  assert step == 2
  state, _, damaged = restoring.resume(copy, CONFIG, toy_state(0))
  assert (int(state.step), list(damaged)) == (5, [4])
  assert steps(copy) == [2, 5]
  Checkpoints(copy, 2, CONFIG).close()


def test_a_run_without_a_checkpoint(tmp_path):
  for make in (lambda: None, (tmp_path / 'checkpoints').mkdir):
    make()
    with pytest.raises(InputError, match=f'{tmp_path} has no checkpoint'):
      restoring.restore_variables(tmp_path, 'best', CONFIG, {})
