"""Folders with odd names, moved or linked; a clock that jumps."""

import os
import random
import time
from pathlib import Path

import pytest

import cvae_jax
from cvae_jax.runtime.errors import StoppedError, WriteError
from cvae_jax.training import hooks, loop
from long_run import LongRun

RUN = LongRun(num_epochs=2, checkpoint_every_steps=10)
STOP = 1e-9  # seconds: stops after the first step


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An undisturbed run."""
  run = tmp_path_factory.mktemp('whole')
  loop.train(RUN.config(), run)
  return run


def test_a_run_may_be_moved_linked_and_named_oddly(tmp_path, whole, monkeypatch, capsys):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  odd = tmp_path / os.fsdecode('Läufe, 試行 [1] \\ '.encode() + b'\xe9')
  odd.mkdir()
  monkeypatch.chdir(odd)
  begun = os.path.join('a  β=4', "it's new")
  with pytest.raises(StoppedError):
    loop.train(RUN.config(max_train_seconds=STOP), Path(begun))
  (odd / 'a  β=4').rename(tmp_path / 'moved')
  monkeypatch.chdir(tmp_path)
  moved = tmp_path / 'moved' / "it's new"
  (tmp_path / 'link').symlink_to(moved, target_is_directory=True)
  with pytest.raises(StoppedError):
    loop.train(RUN.config(max_train_seconds=STOP), Path('link'))
  assert len(list((moved / 'checkpoints').iterdir())) == 2
  monkeypatch.chdir(moved)
  loop.train(RUN.config(), Path('..', "it's new"))
  assert 'resuming at step 2' in capsys.readouterr().out
  RUN.assert_same(moved, whole)
  for path in ('.', '../../link', moved / 'checkpoints' / '50', tmp_path / 'link' / 'checkpoints'):
    assert cvae_jax.load(path).step == 50


def test_a_folder_that_is_moved_while_training(tmp_path, whole, monkeypatch):
  run, moved = tmp_path / 'run', tmp_path / 'moved'

  class Move(hooks.Hook):
    def __call__(self, event):
      if event.end == 15:
        self._run.checkpoints.wait()
        run.rename(moved)

  with monkeypatch.context() as patch:
    patch.setattr(hooks, 'HOOKS', (*hooks.HOOKS, Move))
    with pytest.raises(WriteError, match='moved or deleted'):
      loop.train(RUN.config(), run)
  assert not run.exists()
  loop.train(RUN.config(), moved)
  RUN.assert_same(moved, whole)


@pytest.mark.faults
def test_a_clock_that_jumps_changes_nothing(tmp_path, whole, monkeypatch):
  run, chance = tmp_path / 'run', random.Random(0)
  with monkeypatch.context() as patch:
    now = time.time
    # By up to a year, back and forth, at each call.
    patch.setattr(time, 'time', lambda: now() + chance.uniform(-3e7, 3e7))
    with pytest.raises(StoppedError):
      loop.train(RUN.config(max_train_seconds=STOP), run)
    for path in run.rglob('*'):
      os.utime(path, (0, 0) if chance.random() < 0.5 else (4e9, 4e9))
    loop.train(RUN.config(), run)
  RUN.assert_same(run, whole)
  assert cvae_jax.load(run, checkpoint='last').step == 50
