"""A run of a tiny model that takes many steps, as a process that something can happen to."""

import os
import subprocess
import sys
import time

import jax
import numpy as np

from conftest import ROOT
from cvae_jax.training import checkpoints, program
from tiny import DENSE, DENSE_FLAGS, TINY_FLAGS, rows, tiny_config


class LongRun:
  """Epochs of 25 steps, so that few steps are the last of one.

  Its processes spend most of their time on importing TensorFlow, where that is not hidden.
  """

  def __init__(self, num_epochs, tensorflow=False, **changes):
    # No bytecode, which would be cut off where a test does not let files grow.
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
    return tiny_config(**DENSE, **(self.fields | changes))

  def command(self, workdir):
    flags = [f'--config.{name}={value}' for name, value in self.fields.items()]
    config = ['--config', str(ROOT / 'configs/default.py')]
    train = [sys.executable, str(ROOT / 'train.py')]
    return [*train, *config, *TINY_FLAGS, *DENSE_FLAGS, *flags, '--workdir', str(workdir)]

  def begin(self, folder, workdir):
    """The command, begun in `folder`."""
    return subprocess.Popen(
      self.command(workdir),
      cwd=folder,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      env=self.environment,
      text=True,
    )

  def complete(self, folder, workdir, before=()):
    """The command, run in `folder` to its end; by another command, where there is one before it."""
    return subprocess.run(
      [*before, *self.command(workdir)],
      cwd=folder,
      env=self.environment,
      capture_output=True,
      text=True,
      check=False,
    )

  def assert_same(self, one, two):
    """That two runs ended with the same bits: the table, the grid and the whole state."""
    assert rows(one) == rows(two)
    grids = [run / 'samples' / f'step_{self.last}.png' for run in (one, two)]
    assert grids[0].read_bytes() == grids[1].read_bytes()
    like = program.build(self.config()).fresh_state()
    states = [checkpoints.restore(run, self.last, self.config(), like)[0] for run in (one, two)]
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
