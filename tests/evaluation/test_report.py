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
  some = ('likelihood', 'latent')
  assert Evaluation(model, 'test', 300, 300, 100, some).name == 'test-only-likelihood-latent'
  assert Evaluation(model, 'test', 300, 300, 100, ('iwae',)).name == 'test-iwae100-only-iwae'


def test_an_evaluation_that_is_not_finished_leaves_a_finished_one(model, tmp_path):
  model = dataclasses.replace(model, folder=tmp_path)
  path = tmp_path / 'evaluation' / 'test.json'
  for value, write in (
    (1.0, report.write_unless_finished),
    (2.0, report.write),
    (3.0, report.write_unless_finished),
  ):
    evaluation = Evaluation(model, 'test', 2, 2, 5000)
    evaluation.unfinished = ['iwae'] if write is report.write_unless_finished else []
    evaluation.add('likelihood', 'negative_elbo', value, 'p')
    write(evaluation)
    written = min(value, 2.0)
    content = json.loads(path.read_text())
    assert content['metrics']['likelihood']['negative_elbo']['value'] == written
    assert content['unfinished'] == (['iwae'] if written == 1 else [])
    assert ('not finished: iwae' in path.with_suffix('.html').read_text()) == (written == 1)
  # What an earlier version finished stays, too.
  del content['unfinished']
  content['metrics']['likelihood']['iwae'] = {'value': 80.0}
  path.write_text(json.dumps(content))
  evaluation.unfinished = ['iwae']
  report.write_unless_finished(evaluation)
  assert json.loads(path.read_text()) == content


def test_a_warning_stands_beside_its_number_wherever_that_is(model, tmp_path):
  evaluation = Evaluation(dataclasses.replace(model, folder=tmp_path), 'test', 2, 2, 5000)
  evaluation.add('g', 'good', 1.0, 'p')
  evaluation.add('g', 'poor', 2.0, 'p', warning='few <images>')
  page = report.write(evaluation)
  metrics = json.loads(page.with_suffix('.json').read_text())['metrics']['g']
  assert [metrics[name]['warning'] for name in ('good', 'poor')] == ['', 'few <images>']
  header, good, poor = page.with_suffix('.csv').read_text().splitlines()
  assert header.endswith(',warning')
  assert (good.endswith(','), poor.endswith(',few <images>')) == (True, True)
  assert page.read_text().count('few &lt;images&gt;') == 1
  good, poor = (line for line in report.table(evaluation).splitlines() if line.startswith('  '))
  assert (good.split()[-1], poor.split()[-2:]) == ('[1]', ['[1]', '[!1]'])
  assert '[!1] few <images>' in report.table(evaluation)
  assert '! few <images>' in report.lines('g', evaluation.metrics)


def test_a_full_disk_ends_no_measuring(model, tmp_path, capsys):
  (tmp_path / 'evaluation').touch()
  model = dataclasses.replace(model, folder=tmp_path)
  report.write_unless_finished(Evaluation(model, 'test', 2, 2, 5000))
  assert str(tmp_path / 'evaluation') in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named_before_and_after_the_work(model, tmp_path):
  (tmp_path / 'evaluation').touch()
  model = dataclasses.replace(model, folder=tmp_path)
  for action in (
    lambda: report.check_writable(model),
    lambda: report.write(Evaluation(model, 'test', 2, 2, 5000)),
  ):
    with pytest.raises(InputError, match=str(tmp_path / 'evaluation')):
      action()
