"""train.py as several processes with simulated CPU devices, connected by the loopback address."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import cvae_jax
from conftest import ROOT
from cvae_jax.training import loop
from tiny import DENSE, DENSE_FLAGS, TINY_FLAGS, rows, tiny_config

# Arguments of python: train.py, alone or after some lines of Python.
TRAIN = [str(ROOT / 'train.py')]
TRAIN_AFTER = f"""
import runpy, sys
sys.path[0], sys.argv[0] = {str(ROOT)!r}, {TRAIN[0]!r}
{{}}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture
def start(tmp_path):
  """start(flags, flags) starts train.py as two processes, each with its own flags.

  A process whose flags are None is missing: the others wait for it.
  """
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  # JAX warns about a proxy.
  environment = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
  started = []

  def run(*each, first=None, devices=(2, 2)):
    with socket.create_server(('127.0.0.1', 0)) as server:
      address = f'127.0.0.1:{server.getsockname()[1]}'
    program = ['-c', TRAIN_AFTER.format(first)] if first else TRAIN
    for number, flags in enumerate(each):
      if flags is None:
        continue
      own = ['--config', 'configs/default.py', *TINY_FLAGS, *DENSE_FLAGS, '--distributed']
      own += [f'--coordinator_address={address}', f'--num_processes={len(each)}']
      own += [f'--process_id={number}', *flags]
      # Not optimized: JAX caches nothing for process 1, which compiles everything.
      simulated = f'--xla_force_host_platform_device_count={devices[number]}'
      xla_flags = f'{simulated} --xla_backend_optimization_level=0'
      started.append(
        subprocess.Popen(
          [sys.executable, *program, *own],
          cwd=tmp_path,
          env=environment | {'XLA_FLAGS': xla_flags},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
        )
      )
    return started[-len([flags for flags in each if flags is not None]) :]

  yield run
  for process in started:
    process.kill()
    with process:  # closes its pipes and waits
      pass


@pytest.fixture
def together(start):
  """together(flags, flags) gives (exit status, stdout, stderr) of each of two processes."""

  def run(*each, timeout=120, **options):
    processes = start(*each, **options)
    outputs = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *out) for process, out in zip(processes, outputs, strict=True)]

  return run


def assert_same_rows(workdir, other):
  for one, two in zip(rows(workdir), rows(other), strict=True):
    for name in one:
      assert bool(one[name]) == bool(two[name]), name
      if one[name]:
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4), name


# Records which rows of the training images each process reads.
RECORDED = """
import jax, json, numpy as np
from cvae_jax.training import feed
class Recorded(np.ndarray):
  def __getitem__(self, rows):
    if isinstance(rows, np.ndarray):
      with open(f'rows{jax.process_index()}', 'a') as file:
        file.write(json.dumps(rows.tolist()) + '\\n')
    return np.asarray(self)[rows]
streamed = feed.streamed
feed.streamed = lambda dataset, *rest: streamed(
  dataset._replace(images=dataset.images.view(Recorded)), *rest
)
"""


@pytest.mark.slow
@pytest.mark.parametrize('placement', ['device', 'stream'])
def test_two_processes_train_the_run_of_one(together, tmp_path, placement):
  flags = ['--config.checkpoint_every_steps=5', f'--config.data.placement={placement}']
  flags += ['--workdir=two']
  (status, stdout, stderr), other = together(
    flags, flags, first=RECORDED if placement == 'stream' else None
  )
  assert (status, stderr) == (0, '')
  assert other == (0, '', '')  # it prints nothing
  assert 'on 4 cpu device(s)' in stdout
  assert 'Gloo' not in stdout

  one, two = tmp_path / 'one', tmp_path / 'two'
  config = tiny_config(checkpoint_every_steps=5, data__placement=placement, **DENSE)
  loop.train(config, one)
  assert_same_rows(two, one)
  models = map(cvae_jax.load, (two, one))
  priors = [model.prior.moments(model.conditions([3])) for model in models]
  np.testing.assert_allclose(*priors, atol=1e-3)
  # Each line is written once.
  assert [row['step'] for row in rows(two)] == ['2', '3', '4', '6']
  log = (two / 'train.log').read_text()
  assert log.count('817 parameters') == 1
  assert log.count('/2  validation ') == 2
  assert len(list(two.glob('events.out.tfevents.*'))) == 1
  assert (two / 'samples' / 'step_6.png').is_file()

  # One process on one device resumes what two saved between two lines of the log.
  assert (two / 'checkpoints' / '5' / 'window').is_dir()
  shutil.rmtree(two / 'checkpoints' / '6')
  loop.train(config, two)
  assert_same_rows(two, one)

  if placement == 'stream':
    records = [
      [json.loads(line) for line in (tmp_path / f'rows{number}').read_text().splitlines()]
      for number in (0, 1)
    ]
    assert len(records[0]) == len(records[1]) == 6
    for step in zip(*map(sorted, records), strict=True):
      assert all(np.shape(rows) == (1, 16) for rows in step)
    read = np.concatenate([np.ravel(record[:3]) for record in records])
    assert len(np.unique(read)) == 3 * 32  # one epoch: no row twice


@pytest.mark.slow
def test_two_processes_resume_a_checkpoint_of_one(together, tmp_path):
  config = tiny_config(checkpoint_every_steps=5, **DENSE)
  one, two = tmp_path / 'one', tmp_path / 'two'
  loop.train(config, one)
  flags = ['--config.checkpoint_every_steps=5', f'--resume_from={one / "checkpoints" / "5"}']
  flags += [f'--workdir={two}']
  (status, stdout, stderr), other = together(flags, flags)
  assert (status, stderr) == (0, '')
  assert other == (0, '', '')
  assert 'resuming at step 5' in stdout
  last = rows(one)[-1]
  for name, value in rows(two)[-1].items():
    assert value == last[name] or float(value) == pytest.approx(float(last[name]), rel=1e-4)

  # The same command on the finished run only says that it is complete.
  finished = together(flags[:1] + flags[2:], flags[:1] + flags[2:])
  assert [status for status, _, _ in finished] == [0, 0]
  assert 'complete' in finished[0][1]


@pytest.mark.slow
def test_two_processes_smoke_with_initial_weights(together, tmp_path):
  loop.train(tiny_config(**DENSE), tmp_path / 'one')
  before = sorted(tmp_path.rglob('*'))
  flags = ['--smoke', '--config.init_from=one']
  (status, stdout, stderr), other = together(flags, flags)
  assert (status, stderr) == (0, '')
  assert other == (0, '', '')
  assert 'Nothing was written' in stdout
  assert sorted(tmp_path.rglob('*')) == before


def test_processes_with_different_commands_are_refused_together(together, tmp_path):
  before = sorted(tmp_path.rglob('*'))
  for status, stdout, stderr in together([], ['--config.beta=4']):
    assert (status, stdout) == (2, '')
    assert stderr.count('\n') == 1
    assert re.search(r'--config\.beta.* 1\.0 .*0.* 4\.0 .*1', stderr)
  assert set(tmp_path.rglob('*')) == {*before, tmp_path / 'configs'}


@pytest.mark.slow
def test_an_error_of_process_0_stops_the_others(together, tmp_path):
  (tmp_path / 'locked').mkdir()
  with open(tmp_path / 'locked' / '.lock', 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    done = together(['--workdir=locked'], ['--workdir=locked'])
  assert [status for status, _, _ in done] == [2, 2]
  assert done[0][2].startswith('train.py: locked ')
  assert done[1][2].startswith('train.py: Process 0 stopped: locked ')


@pytest.mark.slow
@pytest.mark.parametrize(
  ('flags', 'first', 'named'),
  [
    (['--config.beta=-4'], None, 'Process 1 stopped: beta=-4.0 '),
    (
      [],
      'import jax\n'
      'from cvae_jax.data import datasets\n'
      'datasets.fingerprint = lambda *_: f"abc{jax.process_index()}"',
      "'abc0' in process 0, 'abc1' in process 1",
    ),
  ],
)
def test_process_0_reports_an_error_of_process_1(together, flags, first, named):
  done = together([], flags, first=first)
  assert [status for status, _, _ in done] == [2, 2]
  assert named in done[0][2]


@pytest.mark.slow
def test_different_numbers_of_devices_are_refused(together):
  for status, _, stderr in together([], [], devices=(2, 4)):
    assert status == 2
    assert '2 in process 0, 4 in process 1' in stderr


@pytest.mark.slow
def test_if_one_process_dies_the_other_ends(start, tmp_path):
  # Killed between two checkpoints: the other process would wait longer for one being written.
  seldom = ['--config.checkpoint_every_epochs=3000', '--config.eval_every_epochs=3000']
  # JAX notices most broken connections at once, and the others by a missing heartbeat.
  sooner = (
    'import functools, jax\n'
    'jax.distributed.initialize = functools.partial(\n'
    '  jax.distributed.initialize, heartbeat_timeout_seconds=10\n'
    ')'
  )
  first, second = start(*[['--config.num_epochs=3000', *seldom]] * 2, first=sooner)
  limit = threading.Timer(120, first.kill)
  limit.start()
  while 'step     20' not in (line := first.stdout.readline()):
    assert line
  limit.cancel()
  second.send_signal(signal.SIGKILL)
  began = time.monotonic()
  _, stderr = first.communicate(timeout=60)
  assert first.returncode in (1, -signal.SIGABRT)  # JAX may abort before this package ends it
  assert time.monotonic() - began < 40
  assert 'another' in stderr


def test_without_a_cluster_the_missing_flags_are_named(refused):
  message = refused('train.py', '--config', 'configs/default.py', '--distributed')
  for named in ('--coordinator_address', '--num_processes', '--process_id', 'SLURM'):
    assert named in message


@pytest.mark.slow
def test_waiting_for_missing_processes_ends(together):
  ((status, stdout, stderr),) = together(
    None, [], first='from cvae_jax.runtime import processes; processes.CONNECT_SECONDS = 3'
  )
  assert (status, stdout) == (2, '')
  assert stderr.count('\n') == 1
  assert '127.0.0.1:' in stderr
