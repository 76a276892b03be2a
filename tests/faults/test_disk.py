"""A folder that cannot be written, before a run or in the middle of it."""

import os
import shutil
import subprocess
import sys

import pytest
from namespaces import assert_refused, in_namespace

from conftest import ROOT
from cvae_jax.runtime.errors import StoppedError
from cvae_jax.training import loop
from long_run import LongRun
from tiny import state_at, steps

FIELDS = {'num_epochs': 2, 'checkpoint_every_steps': 5, 'keep_checkpoints': 50}
RUN = LongRun(**FIELDS)


def assert_whole(run, expected):
  """The checkpoints of a run are these, and can all be read."""
  assert whole_steps(run) == expected
  for step in expected:
    assert int(state_at(run, RUN.config(), step).step) == step
  assert not list(run.rglob('*.tmp'))


def whole_steps(run):
  """The steps of its checkpoints; unfinished ones have other names."""
  return sorted(int(path.name) for path in (run / 'checkpoints').glob('*') if path.name.isdigit())


@pytest.mark.parametrize(
  ('size', 'tensorflow'),
  [
    pytest.param('600k', False, marks=pytest.mark.slow),
    pytest.param('1m', True, marks=pytest.mark.faults),
  ],
)
def test_a_full_disk_ends_a_run_with_one_line(size, tensorflow, tmp_path, capsys):
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
  assert_refused(done, 1, 'run', 'No space left on device')
  written = whole_steps(kept)
  assert written == list(range(5, 5 * len(written) + 1, 5))
  assert 0 < len(written) < 10
  assert_whole(kept, written)
  # With room again, the run resumes to its end.
  loop.train(RUN.config(), kept)
  assert f'resuming at step {written[-1]}' in capsys.readouterr().out


@pytest.fixture
def begun(tmp_path):
  """A run that stopped at its first checkpoint, and the step of that."""
  with pytest.raises(StoppedError):
    loop.train(RUN.config(max_train_seconds=1e-9), tmp_path / 'run')
  (step,) = steps(tmp_path / 'run')
  return tmp_path / 'run', step


@pytest.mark.faults
def test_a_limit_on_the_size_of_files(begun, tmp_path):
  run, step = begun
  if shutil.which('prlimit') is None:
    pytest.skip('no prlimit(1) here')
  done = RUN.complete(tmp_path, 'run', before=['prlimit', '--fsize=200'])
  assert_refused(done, 1, 'run', 'File too large')
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
  assert_refused(done, 2, 'run', 'Read-only file system')
  assert_whole(run, [step])
  # It can still be drawn from, into another folder.
  done = in_namespace(
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" && shift 2 && "$@"',
    run,
    tmp_path,
    *[sys.executable, ROOT / 'sample.py', '--workdir=run', '--output=three.png', '--digit=3'],
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert (tmp_path / 'three.png').is_file()


@pytest.mark.faults
def test_a_folder_of_another_user(begun, tmp_path):
  run, step = begun
  nobody = ['setpriv', '--reuid=65534', '--clear-groups']
  probe = [*nobody, sys.executable, '-c', 'import jax']
  if shutil.which('setpriv') is None or subprocess.run(probe, check=False, cwd='/').returncode:
    pytest.skip('this user may not become another one, or that one may not run this Python')
  for folder in (tmp_path, *tmp_path.parents[:2]):
    folder.chmod(0o755)
  done = RUN.complete(tmp_path, 'run', before=nobody)
  assert_refused(done, 2, 'run', 'Permission denied')
  assert_whole(run, [step])


@pytest.mark.slow
def test_a_machine_where_nothing_can_be_written(tmp_path):
  """As in a container with a read-only root: Matplotlib needs some folder of its own."""
  script = """
  for folder in /tmp /var/tmp /usr/tmp "$HOME"; do
    test -d "$folder" || continue
    mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit 99
  done
  cd /proc && exec "$1" "$2/evaluate.py" --scatter --workdir digits
  """
  environment = os.environ | {'HOME': str(tmp_path)}
  for name in ('MPLCONFIGDIR', 'TMPDIR', 'TEMP', 'TMP', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME'):
    environment.pop(name, None)
  done = in_namespace(script, sys.executable, ROOT, env=environment)
  if done.returncode == 99:
    pytest.skip('folders cannot be made read-only here')
  assert done.returncode == 2, done.stderr
  assert 'Traceback' not in done.stderr
  assert 'MPLCONFIGDIR' in done.stderr.splitlines()[-1]
