"""The numbers of an evaluation beside those of the training, and the data it is made on."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import report, suite
from cvae_jax.inference import bounds
from cvae_jax.plots import figures
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from tiny import rows


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_the_numbers_of_the_log_are_those_of_the_evaluation(model, tiny_run):
  dataset = model.data().validation
  key = keys.stream(model.config.seed, 'validation')
  terms = bounds.elbo(model.task, model.variables, dataset.images, dataset.labels, key)
  (logged,) = [row for row in rows(tiny_run) if int(row['step']) == model.step]
  for name, values in (
    ('negative_elbo', terms.negative_elbo),
    ('reconstruction', terms.reconstruction),
    ('kl', terms.kl.sum(axis=1)),
  ):
    assert values.mean() == pytest.approx(float(logged[f'validation/{name}']), rel=1e-5)


def test_data_of_other_classes_are_refused(model):
  other = dataclasses.replace(model, class_names=tuple('abcdefghij'))
  with pytest.raises(InputError, match=r'0, 1, 2.*--data_dir'):
    other.data()


def test_errors_about_data_name_the_flags_of_evaluate(model, tmp_path):
  config = model.config.copy_and_resolve_references()
  config.data.name = 'mnist'
  config.data.dir = str(tmp_path / 'nothing here.txt')
  (tmp_path / 'nothing here.txt').touch()
  with pytest.raises(InputError, match=r'nothing here\.txt') as raised:
    dataclasses.replace(model, config=config).data()
  assert '--config' not in str(raised.value)


def test_groups_are_chosen_by_name():
  assert suite.chosen(None) == suite.GROUPS
  assert suite.chosen(['iwae', 'likelihood'], ['iwae_samples']) == ('likelihood', 'iwae')
  with pytest.raises(InputError, match=r'reconstruction.*--lpips'):
    suite.chosen(['iwae'], ['lpips'])
  for names, named in ((['likelihod'], 'likelihood'), ([], 'metrics')):
    with pytest.raises(InputError, match=named):
      suite.chosen(names)


def test_only_what_was_asked_for_is_measured_and_shown_as_it_comes(model, tmp_path, capsys):
  model = dataclasses.replace(model, folder=tmp_path)
  kept = []
  asked = suite.chosen(['likelihood', 'classifier', 'iwae'])
  evaluation = suite.evaluate(
    model,
    model.data(),
    'test',
    7,
    30,
    asked=asked,
    keep=lambda so_far: kept.append(
      ([metric.name for metric in so_far.metrics], list(so_far.unfinished))
    ),
  )
  of_elbo, of_classes = ['negative_elbo', 'reconstruction', 'kl'], ['accuracy', 'calibration_error']
  assert kept == [
    (of_elbo, ['classifier', 'iwae']),
    ([*of_elbo, *of_classes], ['iwae']),  # before its picture is drawn, and after
    ([*of_elbo, *of_classes], ['iwae']),
    ([*of_elbo, *of_classes, 'iwae'], []),
  ]
  assert [*evaluation.pictures] == ['reliability']
  calibration = next(each for each in evaluation.metrics if each.name == 'calibration_error')
  assert '30 images' in calibration.warning
  said = capsys.readouterr().out
  assert said.startswith('30 images of the test split: likelihood, classifier, iwae\n')
  assert 'iwae: 7 samples of each of 30 images: about ' in said
  assert said.index('negative_elbo') < said.index('calibration_error') < said.index(' iwae  ')


def test_a_picture_that_fails_costs_itself_alone(tiny_run, tmp_path, monkeypatch, capsys):
  """Its numbers are on the disk before it is drawn."""
  shutil.copytree(tiny_run, tmp_path / 'run')
  model = cvae_jax.load(tmp_path / 'run')
  folder = tmp_path / 'run' / 'evaluation'
  metrics = []

  def fail(*_):
    metrics.append(json.loads((folder / 'test-only-latent.json').read_text())['metrics'])
    raise RuntimeError('latex could not be found')

  monkeypatch.setattr(figures, 'kl_per_dimension', fail)
  evaluation = suite.evaluate(
    model, model.data(), 'test', 7, asked=('latent',), keep=report.write_unless_finished
  )
  page = report.write(evaluation)
  assert np.isfinite(metrics[0]['latent']['active_units']['value'])
  (line,) = [line for line in capsys.readouterr().out.splitlines() if 'latex' in line]
  assert 'kl_per_dimension' in line
  assert 'latex could not be found' in page.read_text()
  names = {path.stem for path in (folder / 'test-only-latent').iterdir()}
  assert names == {'latents', 'aggregate_posterior'}
  assert page.read_text().count('data:image/png;base64,') == 2
