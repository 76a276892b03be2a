"""Checkpoints: which are kept, and what they hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import refusing_kernel

from conftest import ROOT
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError, WriteError
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


KEEPS_ONE = """
import errno, sys
from pathlib import Path
from cvae_jax.training.checkpoints import Checkpoints
from refusing_kernel import refuse
from tiny import steps, tiny_config, toy_state

run = Path(sys.argv[1])
saved = Checkpoints(run, 1, tiny_config())
refuse(errno.EBUSY, 'rmdir', 'unlinkat')
for step in (1, 2, 3):
  saved.save(toy_state(step), step, {}, {'negative_elbo': 5.0 - step, 'kl': 0.0})
saved.wait()
saved.close()
print(steps(run), sorted(path.name for path in (run / 'checkpoints' / 'deleted').iterdir()))
"""


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_end_the_run(tmp_path):
  if not refusing_kernel.NUMBERS:
    pytest.skip('the numbers of the system calls are not known here')
  done = subprocess.run(
    [sys.executable, '-c', KEEPS_ONE, str(tmp_path)],
    env=os.environ | {'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "[3] ['1', '2']\n"
  assert restoring.choose(tmp_path, 'best', CONFIG) == 3
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.close()
  assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['3']


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


@pytest.mark.parametrize(
  'name', ['w[1]', '[w', 'a\\b', 'gs:', '**', 'a?', 'two\nlines', os.fsdecode(b'\xe9t\xe9')]
)
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, name):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  run, state = tmp_path / name / 'run', toy_state(7)
  saved = Checkpoints(run, 1, CONFIG)
  saved.save(state, 7, {}, {'negative_elbo': 1.0})
  saved.close()
  assert steps(run) == [7]
  restored, _ = restoring.restore(run, 7, CONFIG, toy_state(0))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  with pytest.raises(InputError) as error:
    restoring.restore(run, 8, CONFIG, toy_state(0))
  assert str(run) in str(error.value)  # not the link to it


def test_a_checkpoint_that_cannot_be_read_back_ends_the_run(tmp_path, monkeypatch):
  monkeypatch.setattr(paths, 'plain', Path.absolute)  # Orbax leaves its pieces unmerged there
  saved = Checkpoints(tmp_path / 'w[1]', 1, CONFIG)
  with pytest.raises(WriteError, match=r'checkpoint 7 .*read back'):
    saved.save(toy_state(7), 7, {}, None)


def test_the_files_of_each_checkpoint_are_looked_for(tmp_path):
  saved = Checkpoints(tmp_path, 3, CONFIG)
  for step in (1, 2):
    saved.save(toy_state(step), step, {}, None)
  saved._manager.wait_until_finished()
  (tmp_path / 'checkpoints' / '2' / 'ema' / 'manifest.ocdbt').unlink()
  with pytest.raises(WriteError, match=r'checkpoint 2 .*ema'):
    saved.save(toy_state(3), 3, {}, None)
  assert steps(tmp_path) == [1, 2]


def test_the_last_checkpoint_is_read_back_too(tmp_path):
  saved = Checkpoints(tmp_path, 2, CONFIG)
  saved.save(toy_state(1), 1, {}, None)
  saved.save(toy_state(2), 2, {}, None)
  saved._manager.wait_until_finished()
  (tmp_path / 'checkpoints' / '2' / 'optimizer' / 'manifest.ocdbt').unlink()
  shutil.rmtree(tmp_path / 'checkpoints' / '2' / 'optimizer' / 'ocdbt.process_0')
  with pytest.raises(WriteError, match=r'checkpoint 2 .*read back'):
    saved.wait()


def test_pieces_that_were_left_unmerged_are_merged_when_they_are_read(tmp_path):
  state = toy_state(7)
  saved = Checkpoints(tmp_path, 1, CONFIG)
  saved.save(state, 7, {'loss': np.ones(2, np.float32)}, None)
  saved.close()
  for item in ('model', 'ema', 'optimizer', 'window'):  # what a path with brackets left behind
    folder = tmp_path / 'checkpoints' / '7' / item
    assert (folder / 'ocdbt.process_0').is_dir()
    (folder / 'manifest.ocdbt').unlink()
    shutil.rmtree(folder / 'd')
  restored, window = restoring.restore(tmp_path, 7, CONFIG, toy_state(0))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  assert window['loss'].tolist() == [1.0, 1.0]


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
