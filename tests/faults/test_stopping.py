"""A run that is asked to end: by a person, a scheduler, or the time it was given."""

import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT
from cvae_jax.errors import StoppedError
from cvae_jax.training import loop, stopping
from tiny import DENSE, DENSE_FLAGS, TINY_FLAGS, rows, tiny_config

# Epochs of 25 steps, so that few steps are the last of one.
LONG = {'num_epochs': 60, 'batch_size': 4, 'log_every_steps': 10, 'eval_every_epochs': 60} | DENSE
LONG['checkpoint_every_epochs'] = 30
LAST = 1500
FLAGS = [
  *TINY_FLAGS,
  *DENSE_FLAGS,
  *(f'--config.{name}={value}' for name, value in LONG.items() if not name.startswith('model')),
]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The run that nothing stopped."""
  run = tmp_path_factory.mktemp('whole')
  loop.train(tiny_config(**LONG), run)
  return run


def wait_for_step(process, run, after):
  """Returns once the log has a step greater than `after`."""
  deadline = time.monotonic() + 100
  while True:
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    if (run / 'metrics.csv').is_file() and any(int(row['step']) > after for row in whole_rows(run)):
      return
    time.sleep(0.01)


def whole_rows(run):
  """The rows of metrics.csv, without one that is just being written."""
  return [row for row in rows(run) if row['train/learning_rate'] and row['step'].isdecimal()]


def assert_same_run(one, two):
  assert rows(one) == rows(two)
  grids = [run / 'samples' / f'step_{LAST}.png' for run in (one, two)]
  assert grids[0].read_bytes() == grids[1].read_bytes()


def test_signals_leave_a_checkpoint_from_which_the_run_ends_as_if_none_had_come(tmp_path, whole):
  command = [sys.executable, str(ROOT / 'train.py'), '--config', str(ROOT / 'configs/default.py')]
  command += [*FLAGS, '--workdir', 'stopped']
  steps = [0]
  for number, name in ((signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')):
    process = subprocess.Popen(
      command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for_step(process, tmp_path / 'stopped', steps[-1])
    process.send_signal(number)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    (line,) = said.splitlines()
    assert line.startswith(f'train.py: Stopped by {name} at step ')
    steps.append(int(line.partition('at step ')[2].split()[0]))
    assert steps[-2] < steps[-1] < LAST
    assert (tmp_path / 'stopped' / 'checkpoints' / str(steps[-1])).is_dir()
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stderr) == (0, '')
  assert f'resuming at step {steps[-1]}' in done.stdout
  assert_same_run(tmp_path / 'stopped', whole)


def test_a_run_that_has_had_its_time_goes_on_with_more(tmp_path, whole):
  run = tmp_path / 'run'
  with pytest.raises(StoppedError, match=r'by max_train_seconds=0\.01 at step 1 of 1500') as stop:
    loop.train(tiny_config(max_train_seconds=0.01, **LONG), run)
  assert stop.value.status == 0
  loop.train(tiny_config(max_train_seconds=1e9, **LONG), run)
  assert_same_run(run, whole)


def test_a_second_signal_is_served_as_before(monkeypatch):
  seen = []
  before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
  try:
    with stopping.listening(max_seconds=0) as asked:
      assert asked() is None
      signal.raise_signal(signal.SIGTERM)
      assert (asked(), seen) == (('SIGTERM', 143), [])
      signal.raise_signal(signal.SIGTERM)
      assert (asked(), seen) == (('SIGTERM', 143), [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM] * 2
  finally:
    signal.signal(signal.SIGTERM, before)
