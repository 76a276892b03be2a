"""A run that is killed repeatedly, at any moment, loses nothing; one process trains in a folder."""

import os
import random
import signal
import socket
import time

import pytest

from cvae_jax.training import loop, run_folder
from long_run import LongRun, last_step, wait_until

LONGEST_SECONDS = 0.1  # from the first line of a process until it is killed


def is_writing(run):
  """Whether a checkpoint is being written."""
  return any('tmp' in path.name for path in (run / 'checkpoints').glob('*'))


def test_a_second_process_is_refused_and_a_dead_one_holds_no_lock(tmp_path):
  run, long = tmp_path / 'run', LongRun(num_epochs=1_000)
  first = long.begin(tmp_path, 'run')
  wait_until(lambda: last_step(run) > 0, first)
  first.send_signal(signal.SIGSTOP)
  second = long.complete(tmp_path, 'run')
  assert second.returncode == 2
  holder = f'process {first.pid} on {socket.gethostname()}'
  (line,) = second.stderr.splitlines()
  assert line.startswith('train.py: run ')
  assert holder in line
  first.kill()
  first.communicate()
  assert (run / '.lock').read_text() == holder
  with run_folder.lock(run):
    assert f'process {os.getpid()} on' in (run / '.lock').read_text()


@pytest.mark.parametrize(
  'num_kills',
  [
    pytest.param(3, marks=pytest.mark.slow),
    pytest.param(20, marks=pytest.mark.faults),
  ],
)
def test_a_killed_run_ends_as_one_that_was_not(num_kills, tmp_path):
  long = LongRun(num_epochs=1 + 2 * num_kills, checkpoint_every_steps=10, tensorflow=num_kills > 3)
  chance, run = random.Random(num_kills), tmp_path / 'killed'
  for number in range(num_kills):
    process = long.begin(tmp_path, 'killed')
    before = last_step(run)
    # Not only by chance: every second time in the middle of a checkpoint.
    wait_until(lambda before=before: last_step(run) > before, process)
    if number % 2:
      wait_until(lambda: is_writing(run), process)
    else:
      time.sleep(chance.uniform(0, LONGEST_SECONDS))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
  done = long.complete(tmp_path, 'killed')
  assert (done.returncode, done.stderr) == (0, '')
  assert 'resuming at step' in done.stdout
  loop.train(long.config(), tmp_path / 'whole')
  long.assert_same(run, tmp_path / 'whole')
