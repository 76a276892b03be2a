"""The help of the commands."""

import subprocess
import sys

import pytest

from configs import default
from conftest import ROOT
from cvae_jax import config as config_lib


@pytest.mark.parametrize('flag', ['--help', '-h'])
@pytest.mark.parametrize('script', ['train.py', 'evaluate.py', 'sample.py', 'export.py'])
def test_help_shows_examples_and_flags(command, script, flag):
  done = command(script, flag)
  assert done.returncode == 0
  assert f'  python {ROOT / script} --' in done.stdout  # as it was called
  assert '--workdir' in done.stdout
  assert '--debug' in done.stdout
  assert '--import' in done.stdout
  assert done.stderr == ''


def test_help_without_docstrings(command):
  done = command('train.py', '--help', PYTHONOPTIMIZE='2')
  assert (done.returncode, done.stderr) == (0, '')
  assert '--config.beta=' in done.stdout


def test_help_of_train_shows_every_field_with_its_value(command):
  output = command('train.py', '--help').stdout
  for field, value in config_lib.fields(default.get_config()):
    shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
    assert f'--config.{field}={shown} ' in output
    assert config_lib.FIELDS[field].help in output


def test_help_shows_the_values_of_the_config_that_is_named(command):
  arguments = ('--config', 'configs/mnist.py', '--config.beta=4', '--help')
  output = command('train.py', *arguments).stdout
  assert '--config.data.binarize=dynamic ' in output
  assert '--config.beta=4.0 ' in output


@pytest.mark.parametrize('size', ['64,48', '24'])
def test_an_image_size_takes_one_number_or_two(forked_command, tmp_path, size):
  (tmp_path / 'own.py').write_text(
    'from configs import default\n\ndef get_config():\n  config = default.get_config()\n'
    '  config.data.image_size = (9, 10)\n  return config\n'
  )

  def shown(config, *sizes):
    flags = [word for value in sizes for word in ('--config.data.image_size', value)]
    done = forked_command('train.py', '--config', config, *flags, '--help')
    lines = (line.split() for line in done.stdout.splitlines() if 'config.data.image_size=' in line)
    return next(words[0].partition('=')[2] for words in lines)

  assert shown('own.py') == '9,10'
  assert shown('own.py', '7', size) == shown('configs/digits.py', '7,7', size) == size


def test_help_does_not_wait_for_jax():
  code = (
    'import sys; sys.argv = ["train.py", "--help"]\n'
    'try:\n  import runpy; runpy.run_path("train.py", run_name="__main__")\n'
    'except SystemExit: print("jax" in sys.modules, "tensorflow" in sys.modules)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert done.stdout.endswith('False False\n')


def test_make_without_a_target_lists_them():
  done = subprocess.run(['make'], cwd=ROOT, capture_output=True, text=True, check=True)
  for target in ('install', 'train', 'test', 'help'):
    assert f'make {target} ' in done.stdout
