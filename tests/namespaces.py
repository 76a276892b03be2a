"""Commands in a mount namespace of their own: with small, full or read-only disks."""

import shutil
import subprocess

import pytest


def in_namespace(script, *arguments, env=None):
  """Runs a shell script that may mount file systems; skips if that is not allowed."""
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


def assert_refused(done, status, folder, reason):
  """A command ended with one line that names the folder and the reason."""
  assert done.returncode == status, done.stderr
  (line,) = done.stderr.splitlines()
  assert line.startswith(f'train.py: {folder} ')
  assert reason in line
