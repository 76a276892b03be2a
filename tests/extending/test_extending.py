"""The examples of docs/extending.md: each is complete, short, and works from a file of its own."""

import csv
import importlib.util
import re

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

import cvae_jax
from conftest import ROOT
from cvae_jax import config as config_lib
from cvae_jax.evaluation import classifier, generation
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import SAMPLE_METRICS
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop
from tiny import DENSE, set_fields, tiny_config

PAGE = (ROOT / 'docs' / 'extending.md').read_text(encoding='utf-8')
EXAMPLES = {
  re.match(r'# (\w+)\.py', code)[1]: code
  for code in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
}
MAX_LINES = 30


@pytest.fixture(autouse=True)
def clean_registries(monkeypatch):
  """What an example registers is gone after its test."""
  fields = dict(config_lib.FIELDS)
  rules = [field.rule for field in fields.values()]
  registries = [rule.registry for rule in rules if isinstance(rule, config_lib.Registered)]
  for registry in registries:
    monkeypatch.setattr(registry, '_entries', dict(registry._loaded()))
  yield
  config_lib.FIELDS.clear()
  config_lib.FIELDS.update(fields)


def load_example(name, folder):
  path = folder / f'{name}.py'
  path.write_text(EXAMPLES[name], encoding='utf-8')
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def columns(workdir):
  with open(workdir / 'metrics.csv', newline='') as file:
    return csv.DictReader(file).fieldnames


def last_validation(workdir, term):
  with open(workdir / 'metrics.csv', newline='') as file:
    return float(list(csv.DictReader(file))[-1][f'validation/{term}'])


@pytest.mark.parametrize('name', sorted(EXAMPLES))
def test_an_example_is_short(name):
  lines = [line for line in EXAMPLES[name].splitlines() if line.strip()]
  assert len(lines) < MAX_LINES


@pytest.mark.parametrize(
  ('name', 'changes'),
  [
    ('my_likelihood', DENSE | {'likelihood': 'laplace', 'data__pixel_range': 'unit'}),
    ('my_architecture', {'model__name': 'linear'}),
    ('my_prior', DENSE | {'prior': 'logistic'}),
  ],
)
def test_a_part_of_the_model(name, changes, tmp_path):
  (_, value), *_ = [item for item in changes.items() if item not in DENSE.items()]
  with pytest.raises(InputError, match=f'{value}.*--import'):
    config_lib.check(tiny_config(**changes))
  load_example(name, tmp_path)
  workdir = tmp_path / 'run'
  loop.train(tiny_config(**changes), workdir)
  assert np.isfinite(last_validation(workdir, 'negative_elbo'))
  model = cvae_jax.load(workdir)
  images = model.sample([0, 1, 2], seed=1, draw=True)
  assert images.shape == (3, 8, 8, 1)
  assert np.ptp(images) > 0


def test_a_data_set(tmp_path):
  digits = sklearn_datasets.load_digits()
  for split, rows in (('train', slice(1000)), ('test', slice(1000, 1200))):
    images = np.uint8(digits.images[rows] * 15.9)
    np.savez(tmp_path / f'kmnist-{split}-imgs.npz', images)
    np.savez(tmp_path / f'kmnist-{split}-labels.npz', np.uint8(digits.target[rows]))
  load_example('my_dataset', tmp_path)
  workdir = tmp_path / 'run'
  loop.train(tiny_config(**DENSE, data__name='kmnist_arrays', data__dir=str(tmp_path)), workdir)
  model = cvae_jax.load(workdir)
  assert model.class_names[:3] == ('o', 'ki', 'su')
  assert len(model.data().test.labels) == 200


def test_a_metric(tmp_path, tiny_run, monkeypatch):
  monkeypatch.setattr(SAMPLE_METRICS, '_entries', dict(SAMPLE_METRICS._entries))
  monkeypatch.setattr(classifier, 'MIN_STEPS', 60)
  monkeypatch.setattr(classifier, 'NUM_EPOCHS', 1)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  kid = load_example('my_metric', tmp_path).kid
  first, second = np.random.RandomState(0).randn(2, 500, 4)
  assert abs(kid(first, second)) < 0.05 < kid(first, second + 1)
  model = cvae_jax.load(tiny_run)
  data = model.data()
  evaluation = Evaluation(model, 'test', len(data.test.labels), len(data.test.labels), 1)
  generation.add_metrics(evaluation, data, data.test)
  found = [metric for metric in evaluation.metrics if metric.name == 'kid']
  assert [metric.group for metric in found] == [
    f'generation, z ~ {prior}' for prior in ('fitted prior', 'N(0, I)')
  ]
  assert all(np.isfinite(metric.value) for metric in found)


def test_a_task(tmp_path):
  load_example('my_task', tmp_path)
  workdir = tmp_path / 'run'
  loop.train(tiny_config(objective='classifier', num_epochs=30, learning_rate=1e-2), workdir)
  assert {'train/accuracy', 'validation/cross_entropy'} <= set(columns(workdir))
  assert last_validation(workdir, 'accuracy') > 0.5  # chance is 0.1
  with pytest.raises(InputError, match='classifier'):
    cvae_jax.load(workdir)


def test_a_second_stage_on_a_frozen_model(tmp_path, tiny_run):
  load_example('my_second_stage', tmp_path)
  workdir = tmp_path / 'run'
  config = tiny_config(objective='latent_flow', num_epochs=10, learning_rate=1e-2)
  set_fields(config, {'first_stage': str(tiny_run)})
  loop.train(config, workdir)
  with open(workdir / 'metrics.csv', newline='') as file:
    losses = [float(row['train/loss']) for row in csv.DictReader(file)]
  assert losses[-1] < losses[0]
  assert 'validation/velocity_error' in columns(workdir)
