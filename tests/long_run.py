"""A long run of a tiny model, as a process that can be stopped, killed or starved."""

import os
import subprocess
import sys
import time

import jax
import numpy as np

from conftest import ROOT
from tiny import TINY_FLAGS, flags, rows, state_at, tiny_config


class LongRun:
  """Epochs of 25 steps, so that few steps are the last of one.

  Its processes spend most of their time importing TensorFlow, unless that is hidden from them.
  """

  def __init__(self, num_epochs, tensorflow=False, **changes):
    # No bytecode: it would be truncated where a test limits the size of files.
    self.environment = os.environ | {'PYTHONDONTWRITEBYTECODE': '1'}
    if not tensorflow:
      self.environment['PYTHONPATH'] = str(ROOT / 'tests' / 'without_tensorflow')
    self.fields = {
      'num_epochs': num_epochs,
      'batch_size': 4,
      'log_every_steps': 10,
      'eval_every_epochs': num_epochs,
      'checkpoint_every_epochs': num_epochs,
    } | changes
    self.last = num_epochs * 25

  def config(self, **changes):
    return tiny_config(**(self.fields | changes))

  def command(self, workdir):
    config = ['--config', str(ROOT / 'configs/default.py')]
    train = [sys.executable, str(ROOT / 'train.py')]
    return [*train, *config, *TINY_FLAGS, *flags(self.fields), '--workdir', str(workdir)]

  def begin(self, folder, workdir):
    """Starts the command in `folder`."""
    return subprocess.Popen(
      self.command(workdir),
      cwd=folder,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      env=self.environment,
      text=True,
    )

  def complete(self, folder, workdir, before=()):
    """Runs the command in `folder` to its end, behind another command if `before` is given."""
    return subprocess.run(
      [*before, *self.command(workdir)],
      cwd=folder,
      env=self.environment,
      capture_output=True,
      text=True,
      check=False,
    )

  def assert_same(self, one, two):
    """Two runs ended with the same bits: the table, the picture and the whole state."""
    assert rows(one) == rows(two)
    pictures = [run / 'samples' / f'step_{self.last}.png' for run in (one, two)]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    states = [state_at(run, self.config(), self.last) for run in (one, two)]
    assert states[0].ema is not None
    jax.tree.map(np.testing.assert_array_equal, *states)


def last_step(run):
  """The step of the last whole row of metrics.csv; 0 without any."""
  if not (run / 'metrics.csv').is_file():
    return 0
  whole = [row for row in rows(run) if row['train/learning_rate'] and row['step'].isdecimal()]
  return max((int(row['step']) for row in whole), default=0)


def wait_until(condition, process):
  """Returns once `condition()` holds; fails where the process ends before."""
  deadline = time.monotonic() + 100
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.002)
