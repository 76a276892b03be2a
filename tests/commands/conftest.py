"""Fixtures that run the commands as processes, each in an empty folder."""

import os
import subprocess
import sys

import pytest

import forked
from conftest import ROOT


@pytest.fixture
def command(tmp_path):
  """command('train.py', '--config', ...) runs it in a folder with only a link to configs/."""
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')

  def run(script, *arguments, timeout=120, **environment):
    return subprocess.run(
      [sys.executable, str(ROOT / script), *map(str, arguments)],
      cwd=tmp_path,
      env=os.environ | {'COLUMNS': '100'} | environment,
      capture_output=True,
      text=True,
      timeout=timeout,
      check=False,
    )

  return run


@pytest.fixture
def forked_command(command, tmp_path, tmp_path_factory):
  """The same, where the start of Python and its imports are not what is tested."""
  if sys.platform != 'linux':
    return command

  def run(script, *arguments, timeout=120):
    words = [str(ROOT / script), *map(str, arguments)]
    outputs = tmp_path_factory.mktemp('outputs')
    return forked.run(words, tmp_path, os.environ | {'COLUMNS': '100'}, outputs, timeout)

  return run


@pytest.fixture
def refused(command, forked_command, tmp_path):
  """Runs a command that must fail with an InputError; returns its one line of output."""

  def run(script, *arguments, **environment):
    before = files()
    # The libraries read the environment when they are imported.
    started = command if environment else forked_command
    done = started(script, *arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count('\n') == 1, done.stderr
    assert done.stderr.startswith(f'{script}: ')
    assert files() == before
    return done.stderr

  def files():
    # Without the bytecode of configs.
    return sorted(path for path in tmp_path.rglob('*') if '__pycache__' not in path.parts)

  return run
