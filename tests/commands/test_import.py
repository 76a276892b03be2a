"""--import: a module of the user's registers what a config names."""

import json

import pytest

from conftest import ROOT
from tiny import DENSE_FLAGS, TINY_FLAGS

MODULE = """
from cvae_jax.models.likelihoods import LIKELIHOODS, Gaussian
from neighbour import SIGMA

@LIKELIHOODS.register('wide')
def wide(config):
  return Gaussian(SIGMA)
"""
FIELD = """
from cvae_jax import config
config.FIELDS['my_stage_run'] = config.Field('none', config.TEXT, 'run folder of a my_stage_run')
"""
CONFIG = """
import wide
from configs import default

def get_config():
  config = default.get_config()
  config.likelihood = 'wide'
  return config
"""
TRAIN = ('train.py', *TINY_FLAGS, *DENSE_FLAGS)
WIDE = '--config.likelihood=wide'
HIDDEN = {'PYTHONPATH': str(ROOT / 'tests' / 'without_tensorflow')}


@pytest.fixture
def module(tmp_path):
  (tmp_path / 'neighbour.py').write_text('SIGMA = 2.0')
  path = tmp_path / 'wide.py'
  path.write_text(MODULE)
  return path


@pytest.mark.slow
def test_a_run_with_a_likelihood_of_the_users(command, refused, module, tmp_path):
  flags = ('--config', 'configs/default.py', WIDE, '--config.num_epochs=1')
  done = command(*TRAIN, '--import', 'wide', *flags, **HIDDEN)
  assert done.returncode == 0, done.stderr
  saved = json.loads((tmp_path / 'runs/tiny/config.json').read_text())
  assert saved['config']['likelihood'] == 'wide'

  for script in ('sample.py', 'evaluate.py'):
    message = refused(script, '--workdir=runs/tiny')
    assert 'config.json' in message
    assert "likelihood='wide'" in message
    assert '--import' in message

  done = command('sample.py', '--import=wide', '--digit=3')
  assert done.returncode == 0, done.stderr
  assert list((tmp_path / 'runs/tiny/samples').glob('3-*.png'))
  done = command('evaluate.py', '--import', module, '--scatter')
  assert done.returncode == 0, done.stderr
  assert list((tmp_path / 'runs/tiny/evaluation').rglob('*.png'))


def test_a_file_in_another_folder_is_imported_with_its_neighbours(command, module, tmp_path):
  folder = tmp_path / 'other folder'
  folder.mkdir()
  for name in ('wide.py', 'neighbour.py'):
    (tmp_path / name).rename(folder / name)
  flags = ('--config', 'configs/default.py', WIDE, '--help')
  done = command('train.py', '--import', 'other folder/wide.py', *flags)
  assert done.returncode == 0, done.stderr
  assert '--config.likelihood=wide ' in done.stdout


def test_a_field_of_the_users_can_be_set(command, tmp_path):
  (tmp_path / 'stage.py').write_text(FIELD)
  flags = ('--config', 'configs/default.py', '--config.my_stage_run=runs/x', '--help')
  done = command('train.py', '--import=stage', *flags)
  assert done.returncode == 0, done.stderr
  assert '--config.my_stage_run=runs/x ' in done.stdout
  assert 'run folder of a my_stage_run' in done.stdout
  without = command('train.py', *flags)
  assert without.returncode == 2
  assert "'my_stage_run'" in without.stderr
  assert '--import' in without.stderr


def test_a_config_file_can_import_the_module_itself(forked_command, module, tmp_path):
  module.write_text(MODULE + FIELD)
  (tmp_path / 'mine.py').write_text(CONFIG)
  done = forked_command(*TRAIN, '--config=mine.py', '--config.my_stage_run=a', '--smoke')
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ('name', 'content', 'reason'),
  [
    ('nothing_like_it', None, 'ModuleNotFoundError'),
    ('folder/none.py', None, 'ModuleNotFoundError'),
    ('mine', 'x = 1 / 0', 'ZeroDivisionError'),
    ('mine.py', 'def (', 'SyntaxError'),
    ('mine', 'raise SystemExit(5)', 'SystemExit'),
    ('json.py', 'x = 1', 'Rename'),  # hidden by the standard library's
    ('', None, 'ValueError'),
  ],
)
def test_a_module_that_cannot_be_imported_is_named(refused, tmp_path, name, content, reason):
  if content:
    (tmp_path / name).with_suffix('.py').write_text(content)
  for script in ('train.py', 'sample.py'):
    message = refused(script, f'--import={name}')
    assert f'--import={name!r}' in message
    assert reason in message
