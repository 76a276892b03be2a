"""train.py as several processes, with simulated CPU devices, that meet on the loopback address."""

import fcntl
import json
import os
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

# What python is called with: train.py, alone or after some lines of Python.
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

  One whose flags are None is expected by the others, but does not come.
  """
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  # JAX warns wherever there is a proxy.
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
      # Not optimized: process 1, for which JAX keeps nothing, compiles all of it anew.
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
    with process:  # which closes its pipes and waits
      pass


@pytest.fixture
def together(start):
  """together(flags, flags) is (exit status, stdout, stderr) of each of two processes."""

  def run(*each, timeout=120, **options):
    processes = start(*each, **options)
    said = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]

  return run


def assert_same_rows(workdir, other):
  for one, two in zip(rows(workdir), rows(other), strict=True):
    for name in one:
      assert bool(one[name]) == bool(two[name]), name
      if one[name]:
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4), name


# Writes down which rows of the training images each process reads.
RECORDED = """
import jax, json, numpy as np
from cvae_jax.training import chunks
class Recorded(np.ndarray):
  def __getitem__(self, rows):
    if isinstance(rows, np.ndarray):
      with open(f'rows{jax.process_index()}', 'a') as file:
        file.write(json.dumps(rows.tolist()) + '\\n')
    return np.asarray(self)[rows]
streamed = chunks.streamed
chunks.streamed = lambda dataset, *rest: streamed(
  dataset._replace(images=dataset.images.view(Recorded)), *rest
)
"""


@pytest.mark.slow
@pytest.mark.parametrize('placement', ['device', 'stream'])
def test_two_processes_train_the_run_of_one(together, tmp_path, placement):
  flags = ['--config.checkpoint_every_steps=5', f'--config.data.placement={placement}']
  flags += ['--workdir=two']
  (status, said, complaints), other = together(
    flags, flags, first=RECORDED if placement == 'stream' else None
  )
  assert (status, complaints) == (0, '')
  assert other == (0, '', '')  # not a word
  assert 'on 4 cpu device(s)' in said
  assert 'Gloo' not in said

  one, two = tmp_path / 'one', tmp_path / 'two'
  config = tiny_config(checkpoint_every_steps=5, data__placement=placement, **DENSE)
  loop.train(config, one)
  assert_same_rows(two, one)
  priors = [cvae_jax.load(run).priors.moments(3) for run in (two, one)]
  np.testing.assert_allclose(*priors, atol=1e-3)
  # Each thing is said once.
  assert [row['step'] for row in rows(two)] == ['2', '3', '4', '6']
  log = (two / 'train.log').read_text()
  assert log.count('817 parameters') == 1
  assert log.count('/2  validation −ELBO') == 2
  assert len(list(two.glob('events.out.tfevents.*'))) == 1
  assert (two / 'samples' / 'step_6.png').is_file()

  # What two processes saved in the middle of a line of the log goes on in one, on one device.
  assert (two / 'checkpoints' / '5' / 'window').is_dir()
  shutil.rmtree(two / 'checkpoints' / '6')
  loop.train(config, two)
  assert_same_rows(two, one)

  if placement == 'stream':
    shares = [
      [json.loads(line) for line in (tmp_path / f'rows{number}').read_text().splitlines()]
      for number in (0, 1)
    ]
    assert len(shares[0]) == len(shares[1]) == 6
    for step in zip(*map(sorted, shares), strict=True):
      assert all(np.shape(rows) == (1, 16) for rows in step)
    read = np.concatenate([np.ravel(share[:3]) for share in shares])
    assert len(np.unique(read)) == 3 * 32  # one epoch: no row twice


@pytest.mark.slow
def test_two_processes_go_on_from_a_checkpoint_of_one(together, tmp_path):
  config = tiny_config(checkpoint_every_steps=5, **DENSE)
  one, two = tmp_path / 'one', tmp_path / 'two'
  loop.train(config, one)
  flags = ['--config.checkpoint_every_steps=5', f'--resume_from={one / "checkpoints" / "5"}']
  flags += [f'--workdir={two}']
  (status, said, complaints), other = together(flags, flags)
  assert (status, complaints) == (0, '')
  assert other == (0, '', '')
  assert 'resuming at step 5' in said
  last = rows(one)[-1]
  for name, value in rows(two)[-1].items():
    assert value == last[name] or float(value) == pytest.approx(float(last[name]), rel=1e-4)

  # And at the end, in the same folder, there is nothing to do but to say so.
  finished = together(flags[:1] + flags[2:], flags[:1] + flags[2:])
  assert [status for status, _, _ in finished] == [0, 0]
  assert 'is complete' in finished[0][1]


@pytest.mark.slow
def test_smoke_and_other_weights_with_two_processes(together, tmp_path):
  loop.train(tiny_config(**DENSE), tmp_path / 'one')
  before = sorted(tmp_path.rglob('*'))
  flags = ['--smoke', '--config.init_from=one']
  (status, said, complaints), other = together(flags, flags)
  assert (status, complaints) == (0, '')
  assert other == (0, '', '')
  assert 'All works' in said
  assert sorted(tmp_path.rglob('*')) == before


def test_processes_with_different_commands_are_refused_together(together, tmp_path):
  before = sorted(tmp_path.rglob('*'))
  for status, said, complaint in together([], ['--config.beta=4']):
    assert (status, said) == (2, '')
    assert complaint.count('\n') == 1
    assert '--config.beta is 1.0 in process 0, 4.0 in process 1' in complaint
  assert set(tmp_path.rglob('*')) == {*before, tmp_path / 'configs'}


@pytest.mark.slow
def test_what_stops_process_0_stops_the_others(together, tmp_path):
  (tmp_path / 'locked').mkdir()
  with open(tmp_path / 'locked' / '.lock', 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    done = together(['--workdir=locked'], ['--workdir=locked'])
  assert [status for status, _, _ in done] == [2, 2]
  assert done[0][2].startswith('train.py: locked is being trained in by')
  assert done[1][2].startswith('train.py: Process 0 stopped: locked is being trained in by')


@pytest.mark.slow
@pytest.mark.parametrize(
  ('flags', 'first', 'message'),
  [
    (['--config.beta=-4'], None, 'Process 1 stopped: beta=-4.0 is not a number'),
    (
      [],
      'import jax\n'
      'from cvae_jax.data import splits\n'
      'splits.fingerprint = lambda *_: f"abc{jax.process_index()}"',
      "images and labels is 'abc0' in process 0, 'abc1' in process 1",
    ),
  ],
)
def test_what_is_wrong_in_process_1_is_heard_of_from_process_0(together, flags, first, message):
  done = together([], flags, first=first)
  assert [status for status, _, _ in done] == [2, 2]
  assert message in done[0][2]


@pytest.mark.slow
def test_different_numbers_of_devices_are_refused(together):
  for status, _, complaint in together([], [], devices=(2, 4)):
    assert status == 2
    assert '2 in process 0, 4 in process 1' in complaint


@pytest.mark.slow
def test_where_one_process_dies_the_other_ends(start, tmp_path):
  # Between two checkpoints; one that is being written would be waited for longer.
  seldom = ['--config.checkpoint_every_epochs=3000', '--config.eval_every_epochs=3000']
  # A connection that breaks is noticed at once, but for some, which JAX misses by its heartbeat.
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
  _, complaint = first.communicate(timeout=60)
  assert first.returncode in (1, -signal.SIGABRT)  # JAX may be quicker than we, and aborts
  assert time.monotonic() - began < 40
  assert 'another' in complaint


def test_without_a_cluster_flags_are_missed_by_name(refused):
  said = refused('train.py', '--config', 'configs/default.py', '--distributed')
  assert '--coordinator_address, --num_processes, --process_id' in said
  assert 'no SLURM, Open MPI or cloud TPU job' in said


@pytest.mark.slow
def test_processes_that_do_not_come_are_not_waited_for_forever(together):
  ((status, said, complaint),) = together(
    None, [], first='from cvae_jax import processes; processes.CONNECT_SECONDS = 3'
  )
  assert (status, said) == (2, '')
  assert complaint.count('\n') == 1
  assert 'did not meet at 127.0.0.1:' in complaint
