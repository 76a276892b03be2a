"""The suite's numbers beside those of other parts of the package."""

import dataclasses
import json

import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import likelihood, report
from cvae_jax.evaluation.likelihood import Interval
from cvae_jax.evaluation.record import Evaluation
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from tiny import rows


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_the_numbers_of_the_log_are_those_of_the_evaluation(model, tiny_run):
  part = model.data().validation
  key = keys.stream(model.config.seed, 'validation')
  terms = likelihood.elbo_terms(model.trained, part.images, part.labels, key)
  (logged,) = [row for row in rows(tiny_run) if int(row['step']) == model.step]
  for name, values in (
    ('negative_elbo', terms.negative_elbo),
    ('reconstruction', terms.reconstruction),
    ('kl', terms.kl.sum(axis=1)),
  ):
    assert values.mean() == pytest.approx(float(logged[f'validation/{name}']), rel=1e-5)


def test_what_is_not_finite_was_not_measured(model):
  evaluation = Evaluation(model, 'test', 2, 2, 5000)
  evaluation.add('g', 'whole', Interval(1.0, 0.5, 1.5), 'nats', 'p')
  evaluation.add('g', 'alone', Interval(1.0, np.nan, np.nan), 'nats', 'p')
  evaluation.add('g', 'nothing', np.nan, 'nats', 'p')
  evaluation.add('g', 'reason', np.nan, 'nats', 'p', unless_finite='there is none')
  whole, alone, nothing, reason = evaluation.metrics
  assert (whole.low, whole.high) == (0.5, 1.5)
  assert (alone.value, alone.low, alone.high) == (1.0, None, None)
  assert (nothing.value, nothing.protocol) == (None, 'not measured: nan, of 2 images')
  assert (reason.value, reason.protocol) == (None, 'not measured: there is none')


def test_files_tell_a_part_of_an_evaluation_from_a_whole_one(model):
  asked = dataclasses.replace(model, asked_step=4)
  assert Evaluation(model, 'test', 300, 300, 5000).name == 'test'
  assert Evaluation(model, 'train', 20, 300, 100).name == 'train-first20-iwae100'
  assert Evaluation(asked, 'test', 300, 300, 5000).name == 'test-step4'


def test_an_evaluation_that_is_not_finished_leaves_a_finished_one(model, tmp_path):
  model = dataclasses.replace(model, folder=tmp_path)
  path = tmp_path / 'evaluation' / 'test.json'
  for value, reads in ((None, None), (80.0, 80.0), (None, 80.0)):
    evaluation = Evaluation(model, 'test', 2, 2, 5000)
    evaluation.add('likelihood', 'iwae', np.nan if value is None else value, 'nats', 'p')
    write = report.write_unless_finished if value is None else report.write
    write(evaluation)
    assert json.loads(path.read_text())['metrics']['likelihood']['iwae']['value'] == reads


def test_data_of_other_classes_are_refused(model):
  other = dataclasses.replace(model, class_names=tuple('abcdefghij'))
  with pytest.raises(InputError, match=r'classes of the data are 0, 1, 2.*--data_dir'):
    other.data()


def test_flags_are_named_as_this_command_has_them(model, tmp_path):
  config = model.config.copy_and_resolve_references()
  config.data.name = 'mnist'
  config.data.dir = str(tmp_path / 'nothing here.txt')
  (tmp_path / 'nothing here.txt').touch()
  with pytest.raises(InputError, match='expected a folder') as raised:
    dataclasses.replace(model, config=config).data()
  assert '--config' not in str(raised.value)
