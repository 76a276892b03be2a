"""The Makefile: its list of targets is complete, and its variables reach the commands."""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which('make'), reason='no make here')


def make(*arguments):
  # `make test` passes its own flags on.
  environment = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}
  done = subprocess.run(
    ['make', *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def last_command(*arguments):
  """The last command of a dry run, without its python."""
  return shlex.split(make('-n', *arguments).strip().splitlines()[-1])[1:]


def test_a_bare_make_lists_every_target_with_a_line():
  listed = re.findall(r'^  make ([a-z0-9-]+)  +\S.*', make(), re.MULTILINE)
  (phony,) = re.findall(r'^\.PHONY: ((?:.*\\\n)*.*)', (ROOT / 'Makefile').read_text(), re.MULTILINE)
  assert sorted(listed) == sorted(phony.replace('\\\n', ' ').split())
  assert max(map(len, make().splitlines())) <= 110


def test_config_workdir_and_flags_reach_the_command():
  assert last_command('train') == ['train.py', '--config', 'configs/digits.py']
  given = last_command(
    'train', 'CONFIG=configs/mnist.py', 'WORKDIR=my run', 'FLAGS=--config.beta=4'
  )
  expected = ['train.py', '--config', 'configs/mnist.py', '--workdir', 'my run', '--config.beta=4']
  assert given == expected
  assert last_command('train-fashion')[-1] == 'configs/fashion_mnist.py'
  assert last_command('scatter', 'FLAGS=--projection tsne') == [
    'evaluate.py',
    '--scatter',
    '--projection',
    'tsne',
  ]
  assert last_command('compare-dae')[-3:] == ['--compare', 'runs/digits-vae', 'runs/digits-dae']
  assert last_command('compare-dae', 'WORKDIR=my run')[-2:] == ['my run-vae', 'my run-dae']
  assert last_command('reconstruct')[-2:] == ['--indices', '0,1,2,3,4,5,6,7']
  assert last_command('reconstruct', 'FLAGS=--indices 8')[-2:] == ['--indices', '8']
