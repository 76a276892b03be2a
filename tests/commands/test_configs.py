"""Every config trains: on the real dataset if it is there, otherwise on a generated one."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from conftest import DATA, ROOT
from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.evaluation.experiment import Finding
from cvae_jax.runtime import tensor_files
from cvae_jax.training import first_stage, sweep_plan
from cvae_jax.training.sweep_plan import Axis
from made_data import make

NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
EXPERIMENTS = [name for name in NAMES if name != 'default']
SWEEPS = sorted(path.stem for path in (ROOT / 'configs' / 'sweeps').glob('*.py'))
REAL = {
  'mnist': DATA / 'mnist',
  'fashion_mnist': DATA / 'fashion_mnist',
  'binarized_mnist': DATA,
}
# Unpacks the original batches from a lossless copy.
CIFAR10_UNPACK = DATA / 'cifar10' / 'unpack.py'


def module(name):
  return importlib.import_module(f'configs.{name}')


@pytest.mark.parametrize('name', NAMES)
def test_configs_are_valid_and_have_a_docstring(name):
  config = module(name).get_config()
  config_lib.check(config)
  assert config.name == name
  assert module(name).__doc__


def test_the_experiments_are_all_there():
  assert set(EXPERIMENTS) == {
    'mnist',
    'mnist_100_labels',
    'mnist_large',
    'mnist_style',
    'mnist_latent32',
    'mnist_beta4',
    'binarized_mnist',
    'digits',
    'fashion_mnist',
    'fashion_autoencoder',
    'fashion_flow',
    'latent_flow',
    'cifar10',
    'cifar10_autoencoder',
    'cifar10_flow',
    'convvae_mnist',
    'baseline_fashion_mnist',
    'baseline_cifar10',
    'baseline_celeba',
    'mlp_mnist',
    'arrays',
    'folder',
  }


@pytest.mark.parametrize('name', SWEEPS)
def test_sweeps_have_runs_and_a_question(name, tmp_path):
  swept = module(f'sweeps.{name}')
  config, planned = swept.get_config(), swept.get_experiment()
  assert config.name == name
  runs = sweep_plan.members(config, planned.axes, tmp_path)
  assert len({run.name for run in runs}) == len(runs) >= 2
  assert planned.question.endswith('?')
  assert f'configs/sweeps/{name}.py' in swept.__doc__


def test_answers_follow_from_the_numbers():
  def findings(settings, numbers):
    """Settings, each with one number or one per seed."""
    found = []
    for row, (field, value) in enumerate(settings):
      seeds = {name: np.atleast_1d(values[row]) for name, values in numbers.items()}
      length = max(map(len, seeds.values()))
      runs = {
        seed: {name: float(np.broadcast_to(x, length)[seed]) for name, x in seeds.items()}
        for seed in range(length)
      }
      found.append(Finding(f'setting {row}', {field: value}, runs))
    return found

  def answer(name, **numbers):
    planned = module(f'sweeps.{name}').get_experiment()
    axis = planned.axes[0]
    given = [(axis.field, value) for value in axis.values][: len(next(iter(numbers.values())))]
    forwards, backwards = (
      planned.answer(findings(given, numbers)),
      planned.answer(findings(given, numbers)[::-1]),
    )
    if name in ('grad_clip', 'kld_weight', 'latent_size'):
      assert forwards == backwards  # in any order of the settings
    return forwards

  clipped = {'negative_elbo': [1, 1]}
  calm, rough = [1.0, 2.0, 3.0], [1.5, 2.6, 3.5]  # of three seeds
  assert answer('grad_clip', roughness=[calm, rough], **clipped).startswith('Yes (paired t-test')
  assert answer('grad_clip', roughness=[rough, calm], **clipped).startswith('No (paired t-test')
  unsure = answer('grad_clip', roughness=[calm, rough[::-1]], **clipped)
  assert unsure.startswith('These seeds cannot tell (paired t-test over 3 seeds, 5 %)')
  single = answer('grad_clip', roughness=[1, 2], **clipped)
  assert single.startswith('One seed cannot tell: the roughness is 0.50 times as large')
  sampled = {'kl': [1, 1, 1], 'frechet': [1, 1, 1]}
  assert answer('annealing', negative_elbo=[100, 100.5, 99.5], **sampled).startswith(
    'No: the validation −ELBO ends +0.5% and -0.5% from the static one.'
  )
  assert answer('annealing', negative_elbo=[100, 105, 100], **sampled).startswith('Yes: ')
  weights = answer('kld_weight', mse=[3, 1.04, 1.0], frechet=[5, 1, 2], diversity=[0.1, 0.9, 1.1])
  assert 'within 5% of the lowest, 1.0000, from setting 1 on' in weights
  assert 'nearest to test images at setting 1' in weights
  assert 'most varied ones are those of setting 2 (1.10), at a distance of 2.00' in weights
  separation = {'active_units': [3, 4]}
  better = answer('latent_size', linear_accuracy=[0.8, 0.9], silhouette=[0.1, 0.2], **separation)
  assert better.startswith('By both measures better.')
  mixed = answer('latent_size', linear_accuracy=[0.8, 0.9], silhouette=[0.2, 0.1], **separation)
  assert mixed.startswith('Not by both measures, or by little.')
  worse_at_last = answer('kld_weight', mse=[3, 1, 2], frechet=[5, 1, 2], diversity=[0.1, 0.9, 1.1])
  assert 'the lowest, 1.0000, at setting 1 alone' in worse_at_last
  traded = answer('beta_tradeoff', mse=[1, 2, 3], frechet=[3, 1, 2])
  assert traded.startswith(
    'Samples are nearest to test images at setting 1, reconstructions at setting 0'
  )
  with pytest.raises(KeyError, match=r'not one setting of clip_norm=0\.5'):
    module('sweeps.grad_clip').answer(
      findings([('clip_norm', 0.1), ('clip_norm', 1.0)], separation)
    )


def test_the_warmup_of_an_annealed_beta_is_a_fraction_of_the_run():
  config = module('sweeps.annealing').get_config()
  config.num_epochs = 6
  assert config.beta_warmup_epochs == pytest.approx(2)
  axes = [Axis('num_epochs', (6, 9)), Axis('seed', (0,))]
  runs = sweep_plan.members(config, axes, Path('sweep'))
  assert [run.config.beta_warmup_epochs for run in runs] == pytest.approx([2, 3])
  config.beta_warmup_epochs = 1.5
  assert dict(config_lib.fields(config))['beta_warmup_epochs'] == 1.5


def untrained(name, folder):
  """Writes an untrained model of a config to a folder, as a first stage."""
  config = module(name).get_config()
  task = tasks.build(config, steps_per_epoch=1)
  saved = config_lib.SavedConfig(config, ('airplane',) * 10, 'none', None)
  folder.mkdir()
  config_lib.save(folder, saved)
  variables = task.init(jax.random.key(0))
  tensor_files.save(folder / first_stage.WEIGHTS_FILE, variables, step=0)
  return folder


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
  if name == 'latent_flow':  # flat latents, which ship
    flags += ['--config.first_stage=fashion_mnist']
  if name == 'cifar10_flow':
    flags += [f'--config.first_stage={untrained("cifar10_autoencoder", tmp_path / "first")}']
  before = sorted(Path(tmp_path).rglob('*'))
  home = {'HOME': str(tmp_path / 'home'), 'XDG_CACHE_HOME': str(tmp_path / 'home')}
  done = command(
    'train.py', '--config', f'configs/{name}.py', *flags, '--smoke', timeout=400, **home
  )
  assert done.returncode == 0, done.stderr
  assert 'Nothing was written' in done.stdout
  assert sorted(Path(tmp_path).rglob('*')) == before
