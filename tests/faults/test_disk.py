"""A folder that cannot be written to, before a run or in the middle of it."""

import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from cvae_jax.runtime.errors import StoppedError
from cvae_jax.training import checkpoints, loop, program
from long_run import LongRun

FIELDS = {'num_epochs': 2, 'checkpoint_every_steps': 5, 'keep_checkpoints': 50}
RUN = LongRun(**FIELDS)
COMMON = 'cannot be written to: {}. Every checkpoint in it is whole: once that is mended, '


def in_namespace(script, *arguments, env=None):
  """Runs a shell script that may mount what it likes; skips where that is not allowed."""
  unshare = ['unshare', '--mount', '--map-root-user']
  if shutil.which('unshare') is None:
    pytest.skip('no unshare(1) here')
  if subprocess.run([*unshare, 'true'], capture_output=True, check=False).returncode:
    pytest.skip('mount namespaces are not allowed here')
  return subprocess.run(
    [*unshare, 'sh', '-c', script, 'sh', *map(str, arguments)],
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )


def assert_whole(run, steps):
  """That the checkpoints of a run are these, and can all be read."""
  names = sorted(int(path.name) for path in (run / 'checkpoints').glob('*') if path.name.isdigit())
  assert names == steps
  like = program.build(RUN.config()).fresh_state()
  for step in names:
    assert int(checkpoints.restore(run, step, RUN.config(), like)[0].step) == step
  assert not list(run.rglob('*.tmp'))


@pytest.mark.parametrize(
  ('size', 'tensorflow'),
  [
    pytest.param('600k', False, marks=pytest.mark.slow),
    pytest.param('1m', True, marks=pytest.mark.faults),
  ],
)
def test_a_disk_that_is_full_ends_a_run_with_one_line(size, tensorflow, tmp_path, capsys):
  disk, kept = tmp_path / 'disk', tmp_path / 'kept'
  disk.mkdir()
  done = in_namespace(
    'mount -t tmpfs -o size="$1" tmpfs "$2" && shift && cd "$1" && out="$2" && shift 2 && '
    '"$@"; status=$?; cp -r run "$out"; exit $status',
    size,
    disk,
    kept,
    *RUN.command('run'),
    env=LongRun(**FIELDS, tensorflow=tensorflow).environment,
  )
  assert done.returncode == 1, done.stderr
  assert done.stderr.splitlines() == [
    f'train.py: run {COMMON.format("No space left on device")}'
    'the same command goes on from the newest.'
  ]
  steps = sorted(int(path.name) for path in (kept / 'checkpoints').glob('*') if path.name.isdigit())
  assert steps == list(range(5, 5 * len(steps) + 1, 5))
  assert 0 < len(steps) < 10
  assert_whole(kept, steps)
  # With room again, the run goes on to its end.
  loop.train(RUN.config(), kept)
  assert f'resuming at step {steps[-1]}' in capsys.readouterr().out


@pytest.fixture
def begun(tmp_path):
  """A run that has come to its first checkpoint, and the step of that."""
  with pytest.raises(StoppedError):
    loop.train(RUN.config(max_train_seconds=1e-9), tmp_path / 'run')
  (step,) = (int(path.name) for path in (tmp_path / 'run' / 'checkpoints').iterdir())
  return tmp_path / 'run', step


@pytest.mark.faults
def test_a_limit_on_the_size_of_files(begun, tmp_path):
  run, step = begun
  if shutil.which('prlimit') is None:
    pytest.skip('no prlimit(1) here')
  done = RUN.complete(tmp_path, 'run', before=['prlimit', '--fsize=200'])
  assert done.returncode == 1
  assert done.stderr.startswith(f'train.py: run {COMMON.format("File too large")}'), done.stderr
  assert done.stderr.count('\n') == 1
  assert_whole(run, [step])


@pytest.mark.faults
def test_a_folder_that_may_only_be_read(begun, tmp_path):
  run, step = begun
  done = in_namespace(
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" && shift 2 && "$@"',
    run,
    tmp_path,
    *RUN.command('run'),
  )
  assert done.returncode == 2
  assert done.stderr == (
    'train.py: run cannot be written: Read-only file system. Name another --workdir.\n'
  )
  assert_whole(run, [step])
  # It can still be drawn from, to somewhere else.
  done = in_namespace(
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" && shift 2 && "$@"',
    run,
    tmp_path,
    *[sys.executable, ROOT / 'sample.py', '--workdir=run', '--output=three.png', '--digit=3'],
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert (tmp_path / 'three.png').is_file()


@pytest.mark.faults
def test_a_folder_of_someone_else(begun, tmp_path):
  run, step = begun
  nobody = ['setpriv', '--reuid=65534', '--clear-groups']
  probe = [*nobody, sys.executable, '-c', 'import jax']
  if shutil.which('setpriv') is None or subprocess.run(probe, check=False, cwd='/').returncode:
    pytest.skip('this user may not become another one, or that one may not run this Python')
  for folder in (tmp_path, *tmp_path.parents[:2]):
    folder.chmod(0o755)
  done = RUN.complete(tmp_path, 'run', before=nobody)
  assert done.returncode == 2
  assert (
    done.stderr == 'train.py: run cannot be written: Permission denied. Name another --workdir.\n'
  )
  assert_whole(run, [step])
