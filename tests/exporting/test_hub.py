"""Folders for model hubs, from a run or from shipped weights, and their cards."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
import yaml

import cvae_jax
import saved_models
from cvae_jax.exporting import hub
from cvae_jax.inference import shipped
from cvae_jax.runtime.errors import InputError


def front_matter(folder):
  start, fields, body = (folder / 'README.md').read_text('utf-8').split('---\n', maxsplit=2)
  assert not start
  return yaml.safe_load(fields), body


def assert_same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
  rows = one.conditioning.of(None, {}, 3) if one.of_table else None
  labels = [0, 1, 1] if one.has_classes and not one.of_table else None
  drawn = [each.sample(labels, conditions=rows, num_images=3) for each in (one, other)]
  np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
  ('fitted', 'changes'),
  [
    (True, {'columns': saved_models.COLUMNS}),
    (False, {'conditional': False, 'prior': 'flow'}),
    (True, {'prior': 'vamp'}),
  ],
)
def test_the_folder_loads_as_the_model(tmp_path, fitted, changes):
  model = saved_models.save(tmp_path / 'model', fitted=fitted, **changes)
  model.config.data.dir = '/home/somebody/data'
  hub.write(model, tmp_path / 'hub')
  again = cvae_jax.load(tmp_path / 'hub')
  assert_same(model, again)
  assert again.step == model.step
  assert (again.columns, again.class_names) == (model.columns, model.class_names)
  assert 'somebody' not in (tmp_path / 'hub' / 'config.json').read_text()
  expected = {'config.json', 'weights.safetensors', 'README.md'}
  expected |= {'prior.safetensors'} if fitted else set()
  expected |= {'conditions.safetensors'} if 'columns' in changes else set()
  assert {path.name for path in (tmp_path / 'hub').iterdir()} == expected


def test_the_card_of_shipped_weights_is_theirs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  hub.write(cvae_jax.load('digits'), tmp_path / 'hub')
  theirs = (shipped.FOLDER / 'digits' / 'README.md').read_bytes()
  assert (tmp_path / 'hub' / 'README.md').read_bytes() == theirs
  hub.write(cvae_jax.load(tmp_path / 'hub'), tmp_path / 'again')
  assert (tmp_path / 'again' / 'README.md').read_bytes() == theirs


def test_the_card_of_a_run_has_the_numbers_on_disk_alone(tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  model = cvae_jax.load(run)
  hub.write(model, tmp_path / 'hub')
  fields, body = front_matter(tmp_path / 'hub')
  (result,) = fields['model-index'][0]['results']
  assert result['dataset'] == {'name': 'digits', 'type': 'digits', 'split': 'validation'}
  logged = {
    name.removeprefix('validation/'): float(value)
    for name, value in row_of(run, model.step).items()
    if name.startswith('validation/')
  }
  stated = {metric['type']: metric['value'] for metric in result['metrics']}
  assert stated == pytest.approx(logged, rel=5e-3)
  assert 'license' not in fields  # its owner's
  assert f'at step {model.step}' in body

  metric = {'value': 55.5, 'unit': 'nats', 'protocol': 'a | b', 'low': 54.5, 'high': 56.5}
  content = {'step': model.step, 'split': 'test', 'data': 'digits', 'num_images': 300}
  content['metrics'] = {'likelihood': {'negative_elbo': metric}}
  other = content | {'step': model.step + 1, 'metrics': {'likelihood': {'a': metric, 'b': metric}}}
  (run / 'evaluation').mkdir(exist_ok=True)
  for name, text in (('test', json.dumps(content)), ('x', json.dumps(other)), ('damaged', '{')):
    (run / 'evaluation' / f'{name}.json').write_text(text)
  hub.write(model, tmp_path / 'hub')
  fields, body = front_matter(tmp_path / 'hub')
  (result,) = fields['model-index'][0]['results']
  expected = {'type': 'negative_elbo', 'name': 'likelihood: negative_elbo', 'value': 55.5}
  assert (result['metrics'], result['dataset']['split']) == ([expected], 'test')
  assert '| likelihood | negative_elbo | 55.50 | 54.50 to 56.50 | nats | a \\| b |' in body
  assert '300 images' in body


def test_a_card_without_any_numbers_says_so(tmp_path):
  hub.write(saved_models.save(tmp_path / 'model', objective='dae'), tmp_path / 'hub')
  fields, body = front_matter(tmp_path / 'hub')
  assert 'model-index' not in fields
  assert 'Not evaluated.' in body
  assert 'denoising autoencoder' in body
  assert not any('vae' in tag for tag in fields['tags'])


def test_a_fitted_prior_of_other_weights_is_refused(tmp_path):
  saved_models.save(tmp_path / 'model', fitted=True)
  saved_models.save(tmp_path / 'other', fitted=True, prior='class_gaussian')
  shutil.copy(tmp_path / 'other' / 'prior.safetensors', tmp_path / 'model')
  with pytest.raises(InputError, match=r'prior\.safetensors.*other weights'):
    hub.write(cvae_jax.load(tmp_path / 'model'), tmp_path / 'hub')
  assert not (tmp_path / 'hub').exists()


def row_of(run, step):
  with open(run / 'metrics.csv', newline='') as file:
    return next(row for row in csv.DictReader(file) if row['step'] == str(step))
