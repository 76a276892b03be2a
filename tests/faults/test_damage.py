"""Checkpoints that something has happened to on disk."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import ROOT
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import checkpoints, loop
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.state import TrainState
from tiny import rows, tiny_config


def state_of(step):
  random = np.random.RandomState(step)
  variables = {
    'params': {'w': jnp.float32(random.randn(40, 30)), 'b': jnp.float32(random.randn(3))}
  }
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    variables=variables,
    ema=jax.tree.map(lambda leaf: leaf / 2, variables),
    opt_state=(jnp.asarray(step), {'mu': jnp.float32(random.randn(40, 30))}),
  )


CONFIG = tiny_config()
WINDOW = {'loss': np.float32([1.5, 2.5, 3.5])}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Checkpoints 1 and 2, the second with all that one can hold."""
  run = tmp_path_factory.mktemp('run')
  saved = Checkpoints(run, 5, CONFIG)
  saved.save(state_of(1), 1, {}, {'negative_elbo': 4.0, 'kl': 2.0})
  saved.save(state_of(2), 2, WINDOW, {'negative_elbo': 3.0, 'kl': 1.0})
  saved.close()
  return run


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0b100
  path.write_bytes(content)


def empty(path):
  path.write_bytes(b'')


def files_of(run, step):
  return sorted(path for path in (run / 'checkpoints' / str(step)).rglob('*') if path.is_file())


@pytest.mark.parametrize(
  ('damage', 'of_files'),
  [
    (flip, 4),
    *(
      pytest.param(way, 1, marks=pytest.mark.faults) for way in (flip, Path.unlink, truncate, empty)
    ),
  ],
)
def test_whatever_happens_to_a_file_no_other_state_comes_back(run, tmp_path, damage, of_files):
  """Either nothing was lost, or the checkpoint before is taken and the damaged one kept."""
  outcomes = set()
  for number, path in enumerate(files_of(run, 2)[::of_files]):
    copy = tmp_path / str(number)
    shutil.copytree(run, copy)
    damage(copy / path.relative_to(run))
    state, window, damaged = checkpoints.resume(copy, CONFIG, state_of(0))
    step = int(state.step)
    jax.tree.map(np.testing.assert_array_equal, state, state_of(step))
    jax.tree.map(np.testing.assert_array_equal, window, WINDOW if step == 2 else {})
    assert (step, list(damaged)) in ((2, []), (1, [2])), path
    assert (copy / 'damaged' / '2').is_dir() == bool(damaged)
    outcomes.add(step)
    saved = Checkpoints(copy, 5, CONFIG)
    assert saved.best == ((3.0, 2) if step == 2 else (4.0, 1))
    if step == 1:  # where training goes on, the same step is written again
      saved.save(state_of(2), 2, WINDOW, None)
    saved.close()
    jax.tree.map(
      np.testing.assert_array_equal,
      checkpoints.restore(copy, 2, CONFIG, state)[0],
      state_of(2),
    )
  assert 1 in outcomes


@pytest.mark.parametrize('item', ['model', 'ema', 'optimizer', 'window', 'config', 'digests'])
def test_an_item_that_is_lost_is_noticed(run, tmp_path, item):
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  shutil.rmtree(copy / 'checkpoints' / '2' / item)
  with pytest.raises(InputError, match=f'it has lost {item}'):
    checkpoints.restore_variables(copy, 'last', CONFIG, state_of(0).variables)
  state, _, damaged = checkpoints.resume(copy, CONFIG, state_of(0))
  assert (int(state.step), list(damaged)) == (1, [2])


def test_the_best_is_looked_at_too(tmp_path):
  """A run would end with it, after hours, and find it damaged then."""
  saved = Checkpoints(tmp_path, 5, CONFIG)
  for step, value in ((1, 1.0), (2, 3.0)):
    saved.save(state_of(step), step, {}, {'negative_elbo': value})
  saved.close()
  for path in files_of(tmp_path, 1):
    if 'ema' in path.parts and 'd' in path.parts:
      empty(path)
  state, _, damaged = checkpoints.resume(tmp_path, CONFIG, state_of(0))
  assert (int(state.step), list(damaged)) == (2, [1])
  assert (tmp_path / 'damaged' / '1').is_dir()


def test_if_all_are_damaged_nothing_is_touched(run, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  for step in (1, 2):
    for path in files_of(copy, step):
      empty(path)
  before = {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()}
  with pytest.raises(InputError, match=r'None of the 2 checkpoints of .* can be read'):
    checkpoints.resume(copy, CONFIG, state_of(0))
  assert {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()} == before


def test_a_run_goes_on_from_the_checkpoint_before_to_the_same_end(tiny_run, tmp_path, capsys):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in files_of(run, 6):
    if 'ema' in path.parts:
      flip(path)
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  said = capsys.readouterr().out
  assert 'checkpoint 6 is damaged (' in said
  assert 'resuming at step 4' in said
  assert rows(run) == rows(tiny_run)
  assert (run / 'damaged' / '6').is_dir()


def test_a_command_says_it_in_one_line(tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in files_of(run, 6):
    if 'ema' in path.parts:
      truncate(path)
  command = [sys.executable, str(ROOT / 'sample.py'), '--workdir', str(run), '--checkpoint=last']
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert done.stderr.count('\n') == 1, done.stderr
  assert 'checkpoints/6 cannot be read: it is damaged' in done.stderr
