"""The trained models that ship with the package."""

import shutil

import numpy as np
import pytest
import yaml

import cvae_jax
from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation import classifier
from cvae_jax.inference import shipped
from cvae_jax.runtime.errors import InputError

VAES = ('digits', 'fashion_mnist', 'mnist', 'mnist_large', 'mnist_style')
NAMES = (VAES[0], 'fashion_autoencoder', 'fashion_flow', *VAES[1:])
# Metrics of evaluate.py that the card of each has.
MEASURED = dict.fromkeys(
  VAES, ('negative_elbo', 'iwae', 'conditional_accuracy', 'classification_accuracy_score')
) | {
  'fashion_autoencoder': ('psnr', 'frechet_distance', 'classification_accuracy_score'),
  'fashion_flow': ('psnr', 'conditional_accuracy', 'frechet_distance', 'near_copies_features'),
}


def test_these_ship_and_are_small():
  assert cvae_jax.available() == NAMES
  files = [path for path in shipped.FOLDER.rglob('*') if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 40e6
  assert {path.suffix for path in files} == {'.json', '.md', '.safetensors'}
  for name in NAMES:
    card = (shipped.FOLDER / name / 'README.md').read_text(encoding='utf-8')
    assert all(metric in card for metric in MEASURED[name])


@pytest.mark.parametrize('name', NAMES)
def test_the_front_matter_of_a_card_states_the_numbers_of_its_table(name):
  card = (shipped.FOLDER / name / 'README.md').read_text(encoding='utf-8')
  start, text, body = card.split('---\n', maxsplit=2)
  fields = yaml.safe_load(text)
  assert not start
  assert body.startswith(f'\n# {name}\n')
  assert (fields['license'], fields['library_name']) == ('apache-2.0', 'cvae_jax')
  config = cvae_jax.load(name).config
  assert fields['datasets'] == [config.data.name]
  assert ('conditional-vae' in fields['tags']) == config.conditional
  (model,) = fields['model-index']
  (result,) = model['results']
  assert model['name'] == name
  assert result['task']['type']
  assert result['dataset']['type'] == config.data.name
  rows = [line.split(' | ') for line in body.splitlines() if line.startswith('| ')][1:]
  measured = {f'{group[2:]}: {metric}': value for group, metric, value, *_ in rows if value != '–'}
  stated = {metric['name']: metric['value'] for metric in result['metrics']}
  assert stated == {metric: float(value) for metric, value in measured.items()}
  assert [metric['type'] for metric in result['metrics']] == [x.split(': ')[-1] for x in measured]
  assert set(MEASURED[name]) <= {metric['type'] for metric in result['metrics']}


LEAST = dict.fromkeys(VAES, 0.95) | {'digits': 0.9, 'fashion_mnist': 0.65, 'fashion_flow': 0.8}


# Of 200 samples; the cards give the accuracy of 10,000.
@pytest.mark.parametrize(('name', 'least'), LEAST.items())
def test_samples_show_the_class_that_was_asked_for(name, least):
  model = cvae_jax.load(name)
  assert str(model.folder) == f'shipped/{name}'
  assert model.config.data.dir == ''
  labels = np.arange(200, dtype=np.int32) % 10
  images = model.sample(labels)
  # The dataset's classifier ships too, and knows the samples as well as the images.
  empty = Dataset(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32), model.class_names)
  some = Dataset(np.uint8(255 * images), labels, model.class_names)
  judge = classifier.reference(model.config.data, empty, some)
  assert judge.accuracy(images, labels) > least


def test_a_path_comes_before_a_name(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'mnist')
  monkeypatch.chdir(tmp_path)
  assert cvae_jax.load('mnist').config.name == 'tiny'
  assert cvae_jax.load('digits').config.name == 'digits'


def test_without_a_path_the_newest_run_and_else_mnist(tiny_run, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert str(cvae_jax.load().folder) == 'shipped/mnist'
  assert 'mnist' in capsys.readouterr().out
  shutil.copytree(tiny_run, tmp_path / 'runs' / 'one')
  assert str(cvae_jax.load().folder) == 'runs/one'
  assert capsys.readouterr().out == ''


def test_the_folder_of_their_results_names_them_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'shipped' / 'digits' / 'samples').mkdir(parents=True)
  assert cvae_jax.load('shipped/digits').config.name == 'digits'
  with pytest.raises(InputError, match=r"mnist.*checkpoint.*'99'"):
    cvae_jax.load(None, checkpoint='99')


def test_a_name_that_does_not_ship(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=r"mnsit.*mnist_large.*'mnist'"):
    cvae_jax.load('mnsit')
  with pytest.raises(InputError, match=r"mnist.*checkpoint '5'"):
    cvae_jax.load('mnist', checkpoint='5')
