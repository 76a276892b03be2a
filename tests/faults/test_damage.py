"""Checkpoints that were damaged on disk."""

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
from cvae_jax.training import loop, restoring
from cvae_jax.training.checkpoints import Checkpoints
from tiny import rows, tiny_config, toy_state

CONFIG = tiny_config()
WINDOW = {'loss': np.float32([1.5, 2.5, 3.5])}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Checkpoints 1 and 2, the second with all that one can hold."""
  run = tmp_path_factory.mktemp('run')
  saved = Checkpoints(run, 5, CONFIG)
  saved.save(toy_state(1), 1, {}, {'negative_elbo': 4.0, 'kl': 2.0})
  saved.save(toy_state(2), 2, WINDOW, {'negative_elbo': 3.0, 'kl': 1.0})
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
      pytest.param(damage, 1, marks=pytest.mark.faults)
      for damage in (flip, Path.unlink, truncate, empty)
    ),
  ],
)
def test_damage_of_a_file_never_gives_another_state(run, tmp_path, damage, of_files):
  """Either nothing was lost, or the checkpoint before is read and the damaged one set aside."""
  outcomes = set()
  for number, path in enumerate(files_of(run, 2)[::of_files]):
    copy = tmp_path / str(number)
    shutil.copytree(run, copy)
    damage(copy / path.relative_to(run))
    state, window, damaged = restoring.resume(copy, CONFIG, toy_state(0))
    step = int(state.step)
    jax.tree.map(np.testing.assert_array_equal, state, toy_state(step))
    jax.tree.map(np.testing.assert_array_equal, window, WINDOW if step == 2 else {})
    assert (step, list(damaged)) in ((2, []), (1, [2])), path
    assert (copy / 'damaged' / '2').is_dir() == bool(damaged)
    outcomes.add(step)
    saved = Checkpoints(copy, 5, CONFIG)
    assert saved.best == ((3.0, 2) if step == 2 else (4.0, 1))
    if step == 1:  # resumed training writes the same step again
      saved.save(toy_state(2), 2, WINDOW, None)
    saved.close()
    jax.tree.map(
      np.testing.assert_array_equal,
      restoring.restore(copy, 2, CONFIG, state)[0],
      toy_state(2),
    )
  assert 1 in outcomes


def test_other_shapes_and_missing_files_are_named(run, tmp_path):
  other = toy_state(0).variables
  other['params']['w'] = jnp.zeros((3, 2))
  with pytest.raises(InputError, match='checkpoints/2'):
    restoring.restore_variables(run, 'last', CONFIG, other)
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  shutil.rmtree(copy / 'checkpoints' / '2' / 'ema' / 'd')
  with pytest.raises(InputError, match='checkpoints/2'):
    restoring.restore_variables(copy, 'last', CONFIG, toy_state(0).variables)


@pytest.mark.parametrize('item', ['model', 'ema', 'optimizer', 'window', 'config', 'digests'])
def test_a_lost_item_is_named(run, tmp_path, item):
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  shutil.rmtree(copy / 'checkpoints' / '2' / item)
  with pytest.raises(InputError, match=rf'checkpoints/2 .*\b{item}\b'):
    restoring.restore_variables(copy, 'last', CONFIG, toy_state(0).variables)
  state, _, damaged = restoring.resume(copy, CONFIG, toy_state(0))
  assert (int(state.step), list(damaged)) == (1, [2])


def test_a_damaged_best_checkpoint_is_found_when_the_run_resumes(tmp_path):
  """Otherwise the run would find it hours later, at its end."""
  saved = Checkpoints(tmp_path, 5, CONFIG)
  for step, value in ((1, 1.0), (2, 3.0)):
    saved.save(toy_state(step), step, {}, {'negative_elbo': value})
  saved.close()
  for path in files_of(tmp_path, 1):
    if 'ema' in path.parts and 'd' in path.parts:
      empty(path)
  state, _, damaged = restoring.resume(tmp_path, CONFIG, toy_state(0))
  assert (int(state.step), list(damaged)) == (2, [1])
  assert (tmp_path / 'damaged' / '1').is_dir()


def test_if_all_are_damaged_nothing_is_moved(run, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  for step in (1, 2):
    for path in files_of(copy, step):
      empty(path)
  before = {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()}
  with pytest.raises(InputError, match=rf'2 checkpoints of {copy} '):
    restoring.resume(copy, CONFIG, toy_state(0))
  assert {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()} == before


def test_a_run_resumes_at_the_checkpoint_before_and_ends_the_same(tiny_run, tmp_path, capsys):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in files_of(run, 6):
    if 'ema' in path.parts:
      flip(path)
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  out = capsys.readouterr().out
  assert 'checkpoint 6 is damaged' in out
  assert 'resuming at step 4' in out
  assert rows(run) == rows(tiny_run)
  assert (run / 'damaged' / '6').is_dir()


def test_a_command_names_it_in_one_line(tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in files_of(run, 6):
    if 'ema' in path.parts:
      truncate(path)
  command = [sys.executable, str(ROOT / 'sample.py'), '--workdir', str(run), '--checkpoint=last']
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert done.stderr.count('\n') == 1, done.stderr
  assert 'checkpoints/6 ' in done.stderr


def test_a_renamed_checkpoint_is_not_the_step_of_its_name(run, tmp_path):
  copy = tmp_path / 'run'
  shutil.copytree(run, copy)
  shutil.copytree(copy / 'checkpoints' / '2', copy / 'checkpoints' / '5')
  with pytest.raises(InputError, match='step 2, renamed'):
    restoring.restore(copy, 5, CONFIG, toy_state(0))
  state, _, damaged = restoring.resume(copy, CONFIG, toy_state(0))
  assert (int(state.step), list(damaged)) == (2, [5])
  jax.tree.map(np.testing.assert_array_equal, state, toy_state(2))
