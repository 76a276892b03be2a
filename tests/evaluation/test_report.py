"""An evaluation and its files."""

import dataclasses
import json

import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import report
from cvae_jax.evaluation.intervals import Interval
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.runtime.errors import InputError


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_a_number_that_is_not_finite_was_not_measured(model):
  evaluation = Evaluation(model, 'test', 2, 2, 5000)
  evaluation.add('g', 'whole', Interval(1.0, 0.5, 1.5), 'p')
  evaluation.add('g', 'alone', Interval(1.0, np.nan, np.nan), 'p')
  evaluation.add('g', 'nothing', np.nan, 'p')
  evaluation.add('g', 'reason', np.nan, 'p', undefined='there is none')
  whole, alone, nothing, reason = evaluation.metrics
  assert (whole.low, whole.high) == (0.5, 1.5)
  assert (alone.value, alone.low, alone.high) == (1.0, None, None)
  assert nothing.value is None
  assert 'nan' in nothing.protocol
  assert (reason.value, reason.protocol) == (None, 'not measured: there is none')


def test_names_of_files_tell_a_partial_evaluation_from_a_whole_one(model):
  asked = dataclasses.replace(model, asked_step=4)
  assert Evaluation(model, 'test', 300, 300, 5000).name == 'test'
  assert Evaluation(model, 'train', 20, 300, 100).name == 'train-first20-iwae100'
  assert Evaluation(asked, 'test', 300, 300, 5000).name == 'test-step4'


def test_an_evaluation_that_is_not_finished_leaves_a_finished_one(model, tmp_path):
  model = dataclasses.replace(model, folder=tmp_path)
  path = tmp_path / 'evaluation' / 'test.json'
  for value, reads in ((None, None), (80.0, 80.0), (None, 80.0)):
    evaluation = Evaluation(model, 'test', 2, 2, 5000)
    evaluation.add('likelihood', 'iwae', np.nan if value is None else value, 'p')
    write = report.write_unless_finished if value is None else report.write
    write(evaluation)
    assert json.loads(path.read_text())['metrics']['likelihood']['iwae']['value'] == reads


def test_a_folder_that_cannot_be_written_is_named_before_and_after_the_work(model, tmp_path):
  (tmp_path / 'evaluation').touch()
  model = dataclasses.replace(model, folder=tmp_path)
  for action in (
    lambda: report.check_writable(model),
    lambda: report.write(Evaluation(model, 'test', 2, 2, 5000)),
  ):
    with pytest.raises(InputError, match=str(tmp_path / 'evaluation')):
      action()
