"""Weights as files, and those that ship."""

import shutil

import jax
import numpy as np
import pytest

import cvae_jax
from cvae_jax.models import cvae
from cvae_jax.runtime import tensor_files as weights
from cvae_jax.runtime.errors import InputError
from tiny import DENSE, tiny_config

SHIPPED = ('digits', 'fashion_mnist', 'mnist', 'mnist_large')


@pytest.fixture(scope='module')
def variables():
  network = cvae.build(tiny_config(**DENSE))
  return jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))


def test_what_is_saved_is_read(variables, tmp_path):
  path = tmp_path / 'new' / 'w.safetensors'
  weights.save(path, variables, step=7)
  restored, step = weights.read(path, variables)
  assert step == 7
  jax.tree.map(np.testing.assert_array_equal, restored, jax.device_get(variables))
  assert [entry.name for entry in path.parent.iterdir()] == ['w.safetensors']
  assert path.stat().st_mode & 0o044 == 0o044  # others may read it, as umask allows


@pytest.mark.parametrize('damage', [lambda b: b'', lambda b: b[:100], lambda b: b'\xff' * len(b)])
def test_a_damaged_file_gets_one_line(variables, tmp_path, damage):
  path = tmp_path / 'w.safetensors'
  weights.save(path, variables)
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match='cannot be read as weights'):
    weights.read(path, variables)


def test_one_bit_that_changed_is_noticed(variables, tmp_path):
  path = tmp_path / 'w.safetensors'
  weights.save(path, variables)
  content = bytearray(path.read_bytes())
  content[-50] ^= 1
  path.write_bytes(content)
  with pytest.raises(InputError, match='its numbers are not those that were written'):
    weights.read(path, variables)


def test_a_missing_file_and_another_model(variables, tmp_path):
  with pytest.raises(InputError, match='cannot be read as weights'):
    weights.read(tmp_path / 'none', variables)
  path = tmp_path / 'w.safetensors'
  weights.save(path, variables)
  other = cvae.abstract_variables(cvae.build(tiny_config(latent_dim=5, **DENSE)))
  with pytest.raises(InputError, match='of another model'):
    weights.read(path, other)


def test_these_ship_and_are_small():
  assert cvae_jax.available() == SHIPPED
  files = [path for path in weights.SHIPPED.rglob('*') if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 40e6
  assert {path.suffix for path in files} == {'.json', '.md', '.safetensors'}
  for name in SHIPPED:
    card = (weights.SHIPPED / name / 'README.md').read_text(encoding='utf-8')
    for metric in ('negative_elbo', 'iwae', 'conditional_accuracy', 'classification_accuracy'):
      assert metric in card


# Of 200 samples; the cards say how many of 10,000.
@pytest.mark.parametrize(
  ('name', 'least'), list(zip(SHIPPED, (0.9, 0.65, 0.95, 0.95), strict=True))
)
def test_what_ships_draws_what_it_is_asked_for(name, least):
  from cvae_jax.evaluation import classifier

  model = cvae_jax.load(name)
  assert str(model.folder) == f'shipped/{name}'
  assert model.config.data.dir == ''
  labels = np.arange(200, dtype=np.int32) % 10
  images = model.sample(labels)
  # The classifier of the set ships too: no images are read, and none is trained.
  judge = classifier.reference(model.config.data, _empty(model))
  assert judge.accuracy(images, labels) > least


def _empty(model):
  from cvae_jax.data.datasets import Dataset

  return Dataset(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32), model.class_names)


def test_a_path_comes_before_a_name(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'mnist')
  monkeypatch.chdir(tmp_path)
  assert cvae_jax.load('mnist').config.name == 'tiny'
  assert cvae_jax.load('digits').config.name == 'digits'


def test_without_a_path_the_newest_run_and_else_mnist(tiny_run, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert str(cvae_jax.load().folder) == 'shipped/mnist'
  assert 'No trained run under runs/' in capsys.readouterr().out
  shutil.copytree(tiny_run, tmp_path / 'runs' / 'one')
  assert str(cvae_jax.load().folder) == 'runs/one'


def test_the_folder_of_their_results_names_them_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'shipped' / 'digits' / 'samples').mkdir(parents=True)
  assert cvae_jax.load('shipped/digits').config.name == 'digits'
  with pytest.raises(InputError, match="shipped mnist has no checkpoint '99'"):
    cvae_jax.load(None, checkpoint='99')


def test_a_name_that_does_not_ship(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=r"mnist, mnist_large\. Did you mean 'mnist'"):
    cvae_jax.load('mnsit')
  with pytest.raises(InputError, match="has no checkpoint '5'"):
    cvae_jax.load('mnist', checkpoint='5')
