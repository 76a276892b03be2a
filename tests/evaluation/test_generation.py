"""The metrics of samples in an evaluation."""

import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import classifier, generation
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import SAMPLE_METRICS


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


@pytest.fixture
def quick(monkeypatch, tmp_path):
  """Classifiers that are hardly trained."""
  monkeypatch.setattr(classifier, 'MIN_STEPS', 2)
  monkeypatch.setattr(classifier, 'NUM_EPOCHS', 1)
  monkeypatch.setattr(generation, 'SAMPLE_CLASSIFIER_EPOCHS', 1)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


@pytest.mark.usefixtures('quick')
def test_a_metric_of_the_user_s_own_is_measured_beside_the_others(model, monkeypatch):
  monkeypatch.setattr(SAMPLE_METRICS, '_entries', dict(SAMPLE_METRICS._entries))

  @SAMPLE_METRICS.register('shift', unit='features', protocol='largest difference of the means')
  def shift(real, drawn):
    return float(np.abs(real.mean(axis=0) - drawn.mean(axis=0)).max())

  @SAMPLE_METRICS.register('nothing', undefined='{real} are too few')
  def nothing(real, drawn):
    return float('nan')

  data = model.data()
  evaluation = Evaluation(model, 'test', 40, 300, 5000)
  dataset = data.test._replace(images=data.test.images[:40], labels=data.test.labels[:40])
  generation.add_metrics(evaluation, data, dataset, num_samples=30)
  names = {group: [metric.name for metric in metrics]
           for group, metrics in evaluation.groups.items()}  # fmt: skip
  own = ['frechet_distance', 'coverage', 'shift', 'nothing']
  of_prior = [*own, 'conditional_accuracy', 'classification_accuracy_score', 'diversity']
  assert names == {
    'generation': ['classifier_accuracy', *(f'{name}_of_training_images' for name in own)],
    'generation, z ~ fitted prior': of_prior,
    'generation, z ~ N(0, I)': of_prior,
  }
  found = {metric.name: metric for metric in evaluation.groups['generation, z ~ N(0, I)']}
  assert found['shift'].value > 0
  assert found['shift'].unit == 'features'
  assert found['shift'].protocol.startswith('largest difference of the means; 30 samples')
  assert found['nothing'].value is None
  assert found['nothing'].protocol.endswith('40 are too few')


def test_without_labels_nothing_is_measured(model):
  data = model.data()
  evaluation = Evaluation(model, 'test', 300, 300, 5000)
  generation.add_metrics(evaluation, data, data.test._replace(class_names=()), num_samples=30)
  names = [metric.name for metric in evaluation.metrics]
  assert names == [*SAMPLE_METRICS, *generation.CLASS_METRICS]
  assert all(metric.value is None for metric in evaluation.metrics)
