"""Every shipped config trains: on the real set where it is at hand, else on a made one."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DATA, ROOT
from cvae_jax import config as config_lib
from made_data import make

NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py') if path.stem != '__init__')
EXPERIMENTS = [name for name in NAMES if name != 'default']
REAL = {
  'mnist': DATA / 'mnist',
  'fashion_mnist': DATA / 'fashion_mnist',
  'binarized_mnist': DATA,
}
# Writes the original batches from a lossless copy.
CIFAR10_UNPACK = DATA / 'cifar10' / 'unpack.py'


def module(name):
  return importlib.import_module(f'configs.{name}')


@pytest.mark.parametrize('name', NAMES)
def test_shipped_configs_are_valid_and_say_what_they_are(name):
  config = module(name).get_config()
  config_lib.check(config)
  assert config.name == name
  assert module(name).__doc__


def test_the_experiments_are_all_there():
  assert set(EXPERIMENTS) == {
    'mnist',
    'mnist_large',
    'mnist_latent32',
    'mnist_beta4',
    'binarized_mnist',
    'digits',
    'fashion_mnist',
    'cifar10',
    'convvae_mnist',
    'baseline_fashion_mnist',
    'baseline_cifar10',
    'baseline_celeba',
    'mlp_mnist',
    'folder',
  }


@pytest.mark.slow
@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_config_passes_its_smoke_run(command, tmp_path, name):
  data_name = module(name).get_config().data.name
  if data_name in REAL and REAL[data_name].exists():
    flags = [f'--config.data.dir={REAL[data_name]}']
  elif data_name == 'cifar10' and CIFAR10_UNPACK.is_file():
    subprocess.run([sys.executable, CIFAR10_UNPACK, tmp_path / 'data'], check=True)
    flags = [f'--config.data.dir={tmp_path / "data"}']
  else:
    flags = make(data_name, tmp_path / 'data')
  before = sorted(Path(tmp_path).rglob('*'))
  home = {'HOME': str(tmp_path / 'home'), 'XDG_CACHE_HOME': str(tmp_path / 'home')}
  done = command(
    'train.py', '--config', f'configs/{name}.py', *flags, '--smoke', timeout=400, **home
  )
  assert done.returncode == 0, done.stderr
  assert 'All works' in done.stdout
  assert sorted(Path(tmp_path).rglob('*')) == before
