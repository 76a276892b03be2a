"""A second stage is killed, and its copy of the first stage damaged, as real processes see it."""

import shutil
import signal
import subprocess
import sys

import pytest
from namespaces import assert_refused, in_namespace

from conftest import ROOT
from cvae_jax.runtime import tensor_files
from cvae_jax.training import loop
from long_run import LongRun, last_step, wait_until
from tiny import rows, steps, stopped_at, tiny_config

FLOW = {
  'objective': 'flow_matching',
  'condition_dropout': 0.2,
  'data__augment__flip_probability': 0.5,
  'velocity__width': 32,
  'velocity__depth': 1,
}
COPY = 'first_stage/weights.safetensors'


@pytest.fixture(scope='module')
def firsts(tmp_path_factory):
  """The runs of two first stages, which differ in their seeds alone."""
  folder = tmp_path_factory.mktemp('firsts')
  for seed in (0, 1):
    changes = {'objective': 'autoencoder', 'beta': 0.01, 'conditional': False, 'num_epochs': 1}
    loop.train(tiny_config(seed=seed, **changes), folder / str(seed))
  return folder


def long_run(firsts, num_epochs=2, seed=0, **changes):
  return LongRun(num_epochs, first_stage=str(firsts / str(seed)), **(FLOW | changes))


@pytest.fixture(scope='module')
def whole(firsts, tmp_path_factory):
  """A run of 50 steps with checkpoints every 10."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  loop.train(long_run(firsts, checkpoint_every_steps=10, keep_checkpoints=9).config(), workdir)
  return workdir


@pytest.mark.slow
def test_a_second_stage_that_was_killed_ends_as_one_that_was_not(firsts, tmp_path):
  long, run = long_run(firsts, num_epochs=5, checkpoint_every_steps=10), tmp_path / 'killed'
  for _ in range(2):  # each in the middle of an epoch, after a checkpoint that was not its end
    process = long.begin(tmp_path, 'killed')
    before = max(last_step(run), 1)
    wait_until(lambda before=before: last_step(run) > before, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
  assert last_step(run) < long.last
  done = long.complete(tmp_path, 'killed')
  assert (done.returncode, done.stderr) == (0, '')
  assert 'resuming at step' in done.stdout
  loop.train(long.config(), tmp_path / 'whole')
  long.assert_same(run, tmp_path / 'whole')


def digest(run):
  """Of the arrays in the copy: the notes of a file have no order."""
  return tensor_files.digest(tensor_files.read_arrays(run / COPY)[0])


def truncate(path):
  path.write_bytes(path.read_bytes()[:2000])


def flip(path):
  content = bytearray(path.read_bytes())
  content[-9] ^= 1
  path.write_bytes(content)


DAMAGE = {
  'truncated': truncate,
  'flipped': flip,
  'deleted': lambda path: path.unlink(),
  'folder deleted': lambda path: shutil.rmtree(path.parent),
  'config deleted': lambda path: (path.parent / 'config.json').unlink(),
}


@pytest.mark.slow
@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_copy_of_the_first_stage(damage, firsts, whole, tmp_path):
  """One line; the same command writes it anew, and another first stage is refused still."""
  run, changes = tmp_path / 'run', {'checkpoint_every_steps': 10, 'keep_checkpoints': 9}
  stopped_at(whole, run, 20)
  DAMAGE[damage](run / COPY)
  sample = [sys.executable, str(ROOT / 'sample.py'), '--workdir=run', '--digit=3']
  done = subprocess.run(sample, cwd=tmp_path, capture_output=True, text=True, check=False)
  assert done.returncode == 2, done.stderr
  (line,) = done.stderr.splitlines()
  assert 'first_stage' in line
  assert 'copy of the first stage' in line
  done = long_run(firsts, seed=1, **changes).complete(tmp_path, 'run')
  assert_refused(done, 2, 'run', 'another first stage')
  assert steps(run) == [10, 20]
  long = long_run(firsts, **changes)
  done = long.complete(tmp_path, 'run')
  assert (done.returncode, done.stderr) == (0, '')
  long.assert_same(run, whole)
  assert digest(run) == digest(whole)


@pytest.mark.slow
def test_the_disk_is_full_while_the_first_stage_is_copied(firsts, tmp_path):
  long = long_run(firsts, checkpoint_every_steps=10)
  disk, kept = tmp_path / 'disk', tmp_path / 'kept'
  disk.mkdir()
  done = in_namespace(
    'mount -t tmpfs -o size=12k tmpfs "$1" && cd "$1" && out="$2" && shift 2 && '
    '"$@"; status=$?; cp -r run "$out"; exit $status',
    disk,
    kept,
    *long.command('run'),
    env=long.environment,
  )
  assert_refused(done, 1, 'run', 'No space left on device')
  assert not (kept / COPY).exists()
  assert not list(kept.rglob('*.tmp'))
  loop.train(long.config(), kept)
  assert rows(kept)[-1]['step'] == '50'


@pytest.mark.slow
def test_a_second_stage_in_a_folder_that_may_only_be_read(firsts, whole, tmp_path):
  run = tmp_path / 'run'
  stopped_at(whole, run, 20)
  (run / COPY).unlink()
  remount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" && shift 2 && "$@"'
  command = long_run(firsts, checkpoint_every_steps=10, keep_checkpoints=9).command('run')
  assert_refused(in_namespace(remount, run, tmp_path, *command), 2, 'run', 'Read-only file system')
  shutil.copy(whole / COPY, run / COPY)
  sample = [sys.executable, ROOT / 'sample.py', '--workdir=run', '--output=three.png', '--digit=3']
  done = in_namespace(remount, run, tmp_path, *sample)
  assert (done.returncode, done.stderr) == (0, '')
  assert digest(run) == digest(whole)
