"""Fixtures for the programs of benchmarks/."""

import os
import subprocess
import sys

import pytest

from benchmarks import program
from conftest import ROOT


@pytest.fixture
def refused(tmp_path):
  """Runs Python in `tmp_path` on flags that a program refuses; returns the one line it prints."""

  def run(*command, **environment):
    done = subprocess.run(
      [sys.executable, *command],
      cwd=tmp_path,
      env=os.environ | {'PYTHONPATH': str(ROOT)} | environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert (done.returncode, done.stderr.count('\n')) == (program.MISTAKE, 1), done.stderr
    return done.stderr

  return run
