"""A run that is asked to end: by a signal, a time limit, or a lack of progress."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import termios
import time

import pytest

from conftest import ROOT
from cvae_jax.runtime.errors import StoppedError
from cvae_jax.training import loop, stopping
from cvae_jax.training.program import Program
from long_run import LongRun, last_step, wait_until
from tiny import steps, tiny_config


@pytest.mark.slow
def test_a_run_stopped_by_signals_ends_as_one_that_was_not(tmp_path):
  long = LongRun(num_epochs=60)
  run, stops = tmp_path / 'stopped', [0]
  numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
  for number in numbers:
    name = 'Ctrl-C' if number == signal.SIGINT else number.name
    process = long.begin(tmp_path, 'stopped')
    wait_until(lambda: last_step(run) > stops[-1], process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    (line,) = errors.splitlines()
    assert line.startswith('train.py: ')
    assert name in line
    stops.append(steps(run)[-1])
    assert stops[-2] < stops[-1] < long.last
    assert f'step {stops[-1]} ' in line
  done = long.complete(tmp_path, 'stopped')
  assert (done.returncode, done.stderr) == (0, '')
  assert f'resuming at step {stops[-1]}' in done.stdout
  loop.train(long.config(), tmp_path / 'whole')
  long.assert_same(run, tmp_path / 'whole')


@pytest.mark.slow
def test_a_run_whose_terminal_is_gone_leaves_a_checkpoint(tmp_path):
  long = LongRun(num_epochs=60)
  run, (ours, theirs) = tmp_path / 'run', os.openpty()

  def take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

  process = subprocess.Popen(
    long.command('run'),
    cwd=tmp_path,
    env=long.environment | {'TERM': 'dumb'},
    stdin=theirs,
    stdout=theirs,
    stderr=theirs,
    preexec_fn=take_terminal,
  )
  os.close(theirs)
  os.set_blocking(ours, False)

  def has_begun():
    with contextlib.suppress(BlockingIOError):
      os.read(ours, 1 << 16)
    return last_step(run) > 0

  wait_until(has_begun, process)
  os.close(ours)  # sends SIGHUP; what is printed from now on is an error
  assert process.wait(timeout=15) == 128 + signal.SIGHUP
  assert 0 < steps(run)[-1] < long.last


@pytest.mark.slow
def test_a_run_under_nohup_ignores_hang_ups(tmp_path):
  long = LongRun(num_epochs=60)
  ignoring = ['nohup', *long.command('run')]
  process = subprocess.Popen(
    ignoring, cwd=tmp_path, env=long.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
  )
  wait_until(lambda: last_step(tmp_path / 'run') > 0, process)
  process.send_signal(signal.SIGHUP)
  before = last_step(tmp_path / 'run')
  wait_until(lambda: last_step(tmp_path / 'run') > before, process)
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=15)
  assert process.returncode == 128 + signal.SIGTERM, errors


def test_ctrl_c_ends_a_command_at_once_while_a_library_computes(tmp_path):
  program = (
    'import hashlib; from cvae_jax import cli;'
    "main = lambda: (print('begun', flush=True), hashlib.pbkdf2_hmac('md5', b'', b'', 2**30));"
    "cli.run(main, '')"
  )
  process = subprocess.Popen(
    [sys.executable, '-c', program],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'begun\n'
  time.sleep(0.5)  # so that it is in the library
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=10)
  assert (process.returncode, errors.count('\n')) == (130, 1)


def test_a_run_stopped_by_its_time_limit_resumes_with_a_longer_one(tmp_path):
  long = LongRun(num_epochs=2)
  run = tmp_path / 'run'
  with pytest.raises(StoppedError, match=r'max_train_seconds=0\.01 .*step 1 of 50') as stop:
    loop.train(long.config(max_train_seconds=0.01), run)
  assert stop.value.status == 0
  loop.train(long.config(max_train_seconds=1e9), run)
  loop.train(long.config(), tmp_path / 'whole')
  long.assert_same(run, tmp_path / 'whole')


def test_a_second_signal_acts_as_outside_of_the_block():
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


@pytest.mark.parametrize('first', stopping.WARNINGS)
def test_a_warning_is_followed_by_others_without_ending_the_process(first):
  with stopping.listening(max_seconds=0) as asked:
    asked()
    for number in (first, first, signal.SIGTERM):  # SLURM's order; a shell's hang-up comes twice
      signal.raise_signal(number)
    assert asked() == (first.name, 128 + first)


def test_an_ignored_hang_up_stays_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with stopping.listening(max_seconds=0) as asked:
      asked()
      signal.raise_signal(signal.SIGHUP)
      assert asked() is None
  finally:
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
  ('now', 'best', 'warmup', 'expected'),
  [
    (10, 7, 0, False),
    (11, 7, 0, True),  # four steps without a better validation
    (11, 2, 8, False),  # three of them since the warm-up
    (12, 2, 8, True),
    (12, 9, 8, False),
    (99, None, 0, False),
  ],
)
def test_a_run_stagnates_if_nothing_improves_for_as_many_steps_after_the_warm_up(
  now, best, warmup, expected
):
  assert stopping.is_stagnant(now, best, warmup, patience=4) == expected
  assert not stopping.is_stagnant(now, best, warmup, patience=0)


def test_a_run_that_stopped_early_is_complete_until_it_is_given_more_patience(
  tmp_path, monkeypatch, capsys
):
  scores = iter([30.0, 20.0, 25.0, 24.0, 21.0, 19.0])
  terms = {'reconstruction': 1.0, 'kl': 1.0}
  monkeypatch.setattr(Program, 'validate', lambda *_: {'negative_elbo': next(scores)} | terms)
  config = tiny_config(num_epochs=9, early_stopping_epochs=3)
  loop.train(config, tmp_path / 'run')
  out = capsys.readouterr().out
  assert 'epoch 2 (early_stopping_epochs=3)' in out
  assert 'best: epoch 2, step 6, validation  negative_elbo 20.0' in out
  assert 'last: epoch 5, step 15, validation  negative_elbo 21.0' in out
  assert f'python evaluate.py --workdir={tmp_path}/run' in out
  assert (tmp_path / 'run' / 'samples' / 'step_15.png').is_file()
  loop.train(config, tmp_path / 'run')
  assert 'complete: 5 epochs, step 15' in capsys.readouterr().out
  config.early_stopping_epochs, config.max_train_seconds = 4, 1e-9
  with pytest.raises(StoppedError, match='step 16 of 27'):
    loop.train(config, tmp_path / 'run')
