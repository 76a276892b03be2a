"""A denoising autoencoder and a VAE side by side, measured on the same images."""

import copy
import csv
import dataclasses
import re
import shutil

import numpy as np
import pytest

from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation import classifier, comparison
from cvae_jax.inference import inputs, loading
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop
from figure_text import check_text
from tiny import DENSE, rows, set_fields, tiny_config

CHANGES = {
  'num_epochs': 12,
  'eval_every_epochs': 6,
  'checkpoint_every_epochs': 12,
  'log_every_steps': 100,
  'learning_rate': 2e-2,
  'beta_schedule': 'constant',
  'beta': 0.1,
  'conditional': False,
  **DENSE,
}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A VAE and a denoising autoencoder on the same digits."""
  folder = tmp_path_factory.mktemp('runs')
  loop.train(tiny_config(**CHANGES), folder / 'vae')
  dae = tiny_config(objective='dae', data__corruption_level=0.25, **CHANGES)
  loop.train(dae, folder / 'dae')
  return folder


@pytest.fixture(autouse=True)
def judge(monkeypatch):
  """Makes the reference classifier quick; its judgement is not tested."""
  monkeypatch.setattr(classifier, 'MIN_STEPS', 20)


def test_the_best_of_a_denoising_autoencoder_is_its_best_reconstruction(runs):
  validated = {
    int(row['step']): float(row['validation/reconstruction'])
    for row in rows(runs / 'dae')
    if row['validation/reconstruction']
  }
  assert loading.load(runs / 'dae').step == min(validated, key=validated.get)
  assert len(validated) == 2
  for name in ('train/kl', 'train/beta', 'validation/kl', 'validation/negative_elbo'):
    assert not any(row.get(name) for row in rows(runs / 'dae'))
  log = (runs / 'dae' / 'train.log').read_text()
  assert re.search(r'validation +reconstruction', log)
  assert not re.search(r'\bkl\b|β|beta', log, re.IGNORECASE)
  assert not list((runs / 'dae').glob('checkpoints/*/prior.safetensors'))


def test_a_denoising_autoencoder_draws_nothing(runs):
  model = loading.load(runs / 'dae')
  assert not model.has_prior
  images = np.zeros((2, 8, 8, 1), np.float32)
  assert model.reconstruct(images).shape == images.shape
  for action in (lambda: model.sample(num_images=1), lambda: model.vary(images)):
    with pytest.raises(InputError, match='denoising autoencoder'):
      action()


def test_measures_against_their_definitions(runs):
  models = {name: loading.load(runs / name) for name in ('vae', 'dae')}
  data = models['vae'].data()
  judged = comparison.judge(models, dict.fromkeys(models, data))
  found = {name: comparison.of_model(model, data, judged) for name, model in models.items()}
  assert set(found['vae']) == set(comparison.MEASURES)
  assert set(found['vae']) - set(found['dae']) == {'frechet', 'diversity', 'confidence'}
  images = data.test.images.astype(np.float32) / 255
  for name, model in models.items():
    reconstructed = model.reconstruct(images)
    assert found[name]['mse'] == pytest.approx(np.square(reconstructed - images).mean(), rel=1e-4)
    means, _ = model.encode(images)
    assert found[name]['active_units'] == (means.var(axis=0) > 0.01).sum()
    assert 0.1 < found[name]['linear_accuracy'] <= 1
  # It was trained to remove noise.
  gain = {name: values['denoising_0.25'] / values['mse'] for name, values in found.items()}
  assert gain['dae'] < 1.5
  same = comparison.of_model(models['dae'], data, judged)
  assert same == found['dae']


def test_denoising_is_measured_from_the_clean_image():
  """Of a model that returns what it is given, the error is that of the noise."""

  class Echo(Model):
    conditional = False
    columns = ()

    def __init__(self):
      pass

    def reconstruct(self, images, labels=None, conditions=None):
      return images

  images = np.full((600, 8, 8, 1), 128, np.uint8)
  labels = np.zeros(600, np.int32)
  dataset = Dataset(images, labels, ())
  assert comparison._error(Echo(), dataset, 0.1) == pytest.approx(0.01, rel=0.05)
  assert comparison._error(Echo(), dataset) == 0


def test_a_comparison_is_a_table_a_picture_and_a_page(runs, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  shutil.copytree(runs, tmp_path / 'runs')
  page = comparison.compare(['runs/vae', 'runs/dae'], 'best', None)
  assert page.parts[:2] == ('runs', 'comparisons')
  assert page.parent.name.startswith('vae-vs-dae-')
  said = capsys.readouterr().out
  lines = [line.split() for line in said.splitlines() if line.startswith(('vae ', 'dae '))]
  assert [line[0] for line in lines] == ['vae', 'dae']
  assert (lines[0].count('–'), lines[1].count('–')) == (0, 3)
  with open(page.with_name('comparison.csv'), newline='') as file:
    first, second = csv.DictReader(file)
  assert (first['model'], second['model']) == ('vae', 'dae')
  assert second['frechet'] == ''
  assert float(first['mse']) == pytest.approx(float(lines[0][1]), abs=1e-4)
  for name in ('comparison', 'latents_0', 'latents_1'):
    assert page.with_name(f'{name}.png').read_bytes().startswith(b'\x89PNG')
  assert page.read_text().count('data:image/png;base64,') == 3


def test_a_picture_that_fails_costs_no_numbers(runs, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  shutil.copytree(runs, tmp_path / 'runs')

  def fail(*_, **__):
    (table,) = tmp_path.glob('runs/comparisons/*/comparison.csv')
    assert len(table.read_text().splitlines()) == 3
    raise RuntimeError('no font')

  monkeypatch.setattr(comparison, 'side_by_side', fail)
  page = comparison.compare(['runs/vae', 'runs/dae'], 'best', None)
  assert "'comparison' is left out: RuntimeError: no font" in capsys.readouterr().out
  assert page.read_text().count('data:image/png;base64,') == 2
  assert 'no font' in page.read_text()


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    (['vae'], '--compare .* vae'),
    (['vae', 'vae'], '--compare .*vae more than once'),
    (['vae', 'nowhere'], 'nowhere'),
    (['vae', 'mnist'], "mnist has data.name='mnist', but vae data.name='digits'"),
  ],
)
def test_too_few_or_unfit_models_are_not_compared(names, message, runs, monkeypatch):
  monkeypatch.chdir(runs)
  with pytest.raises(InputError, match=message):
    comparison.compare(names, 'best', None)


def test_runs_of_one_name_are_told_apart_by_their_folders(runs, tmp_path):
  shutil.copytree(runs / 'vae', tmp_path / 'a' / 'run')
  shutil.copytree(runs / 'dae', tmp_path / 'b' / 'run')
  models = [loading.load(tmp_path / name / 'run') for name in 'ab']
  assert list(comparison._named(models)) == ['a/run', 'b/run']


def test_a_folder_of_runs_stands_for_those_that_have_a_checkpoint(runs, tmp_path, capsys):
  folder = tmp_path / 'sweep'
  names = ('beta=10,seed=0', 'beta=2,seed=1', 'beta=2,seed=0', 'beta=1e-05,seed=0')
  for name in (*names, 'begun'):
    shutil.copytree(runs / 'vae', folder / name)
  shutil.rmtree(folder / 'begun' / 'checkpoints')
  shutil.rmtree(folder / names[0] / 'samples')
  (folder / 'comparisons').mkdir()
  assert comparison._runs_of(str(folder)) == [str(folder / name) for name in names[::-1]]
  said = capsys.readouterr().out
  assert 'without a checkpoint, and left out: begun\n' in said
  assert f'not trained to their end, and compared all the same: {names[0]}\n' in said
  for given in (str(folder / names[0]), str(folder / 'comparisons'), 'mnist'):
    assert comparison._runs_of(given) == [given]


def test_each_third_of_the_picture_begins_below_its_heading(runs):
  models = {name: loading.load(runs / name) for name in ('vae', 'dae')}
  few = models['vae'].data()
  few = dict.fromkeys(models, few._replace(test=few.test.take(slice(2))))
  figure = comparison.side_by_side(models, few)
  check_text(figure)
  (axes,) = figure.axes
  across = axes.get_window_extent()
  begins = {text.get_text(): text.get_window_extent().x0 for text in figure.texts}
  assert [round((begin - across.x0) / across.width * 8) for begin in begins.values()] == [0, 3, 6]
  without = comparison.side_by_side({'dae': models['dae']}, {'dae': few['dae']})
  assert not any('samples' in text.get_text() for text in without.texts)


def test_measures_that_a_dataset_or_a_model_cannot_have_are_left_out(tiny_run):
  """The encoder of a conditional model is given the class that a probe would look for."""
  model = loading.load(tiny_run)
  data = model.data()
  of_classes = {'linear_accuracy', 'silhouette'}
  judged = comparison.judge({'': model}, {'': data})
  assert set(comparison.MEASURES) - set(comparison.of_model(model, data, judged)) == of_classes
  assert judged.judge.origin in comparison.protocol(data, judged)
  # A classifier that knows no class judges no samples.
  blind = judged._replace(standing=judged.standing._replace(most_frequent=1.0))
  of_samples = {'frechet', 'diversity', 'confidence'}
  found = comparison.of_model(model, data, blind)
  assert set(comparison.MEASURES) - set(found) == of_classes | of_samples
  assert 'Warning: ' in comparison.protocol(data, blind)
  data = data._replace(test=data.test._replace(class_names=()))
  assert comparison.judge({'': model}, {'': data}) is None
  found = comparison.of_model(model, data, None)
  assert set(found) == {'mse', 'denoising_0.1', 'denoising_0.25', 'denoising_0.5', 'active_units'}
  labels = np.array([0, 1, 2])
  assert comparison._class_measures(np.eye(3), labels[:1].repeat(3), np.eye(3), labels) == {}


def changed(model, **fields):
  """The model, as if its config had other values."""
  return dataclasses.replace(model, config=set_fields(copy.deepcopy(model.config), fields))


def test_models_of_other_conditions_are_compared_on_the_same_images(tmp_path):
  """Each gets its own table; one without a class is judged by the classes that another knows."""
  changes = CHANGES | {'conditional': True, 'num_epochs': 1}
  for name, columns in {'slant': 'slant', 'both': 'digit,slant', 'label': ''}.items():
    loop.train(tiny_config(data__conditions=columns, **changes), tmp_path / name)
  models = {name: loading.load(tmp_path / name) for name in ('slant', 'both', 'label')}
  assert comparison.difference(models) == ''
  data = comparison.data_of(models)
  assert [len(data[name].test.columns) for name in models] == [1, 2, 0]
  judged = comparison.judge(models, data)
  for name, model in models.items():
    found = comparison.of_model(model, data[name], judged)
    given = inputs.conditions_of(model, data[name].test)
    images = data[name].test.images.astype(np.float32) / 255
    restored = model.reconstruct(images, conditions=given)
    assert found['mse'] == pytest.approx(np.square(restored - images).mean(), rel=1e-4)
    assert 'frechet' in found
  check_text(comparison.side_by_side(models, data))


def test_a_denoising_autoencoder_cannot_classify(tmp_path):
  changes = CHANGES | {'conditional': True, 'num_epochs': 1}
  loop.train(tiny_config(objective='dae', **changes), tmp_path / 'dae')
  model, images = loading.load(tmp_path / 'dae'), np.zeros((2, 8, 8, 1), np.uint8)
  with pytest.raises(InputError, match='--label'):
    inputs.find_conditions(model, images, ['a.png', 'b.png'])
  found = inputs.find_conditions(model, images, ['4/a.png', '7/b.png'])
  assert found.conditions.labels.tolist() == [4, 7]


@pytest.mark.parametrize(
  ('field', 'value'),
  [('split_seed', 1), ('validation_examples', 60), ('crop_size', 4), ('fit', 'pad')],
)
def test_other_test_images_are_not_compared(field, value, runs):
  model = loading.load(runs / 'vae')
  other = changed(model, **{f'data__{field}': value})
  text = comparison.difference({'vae': model, 'other': other})
  assert text.startswith(f'other has data.{field}={value!r}, but vae data.{field}=')
  # The number of training images does not matter.
  assert comparison.difference({'vae': model, 'other': changed(model, data__max_examples=9)}) == ''


def test_images_of_other_folders_are_not_compared(runs, tmp_path):
  model = changed(loading.load(runs / 'vae'), data__name='folder', data__dir=str(tmp_path))
  other = changed(model, data__dir=str(tmp_path / 'other'))
  assert str(tmp_path / 'other') in comparison.difference({'vae': model, 'other': other})
  # The images of a dataset with a test split of its own are the same wherever it is.
  here, there = (changed(each, data__name='mnist') for each in (model, other))
  assert comparison.difference({'here': here, 'there': there}) == ''
