"""The metrics of samples in an evaluation."""

import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import classifier, generation, memorization
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import SAMPLE_METRICS


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


@pytest.fixture
def judge(monkeypatch, tmp_path):
  """Sets which classes a judge names: (labels, images) -> classes. No classifier is trained."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

  class Judge(classifier.Classifier):
    def judge(self, images):
      features = images.reshape(len(images), -1)[:, :20] / np.float32(255)
      classes = named(len(images))
      return features, np.log(np.eye(10, dtype=np.float32)[classes] + 1e-3)

  named = None

  def use(function):
    nonlocal named
    named = function
    monkeypatch.setattr(classifier, 'train', lambda *_, **__: Judge({}, 10))

  return use


def evaluated(model, dataset, data, num_in_split=300):
  evaluation = Evaluation(model, 'test', len(dataset.labels), num_in_split, 5000)
  generation.add_metrics(evaluation, data, dataset)
  return {
    group: {metric.name: metric for metric in metrics}
    for group, metrics in evaluation.groups.items()
  }


def first(dataset, count):
  return dataset._replace(images=dataset.images[:count], labels=dataset.labels[:count])


def test_a_metric_of_the_user_s_own_is_measured_beside_the_others(model, judge, monkeypatch):
  monkeypatch.setattr(SAMPLE_METRICS, '_entries', dict(SAMPLE_METRICS._entries))

  @SAMPLE_METRICS.register('shift', unit='features', protocol='largest difference of the means')
  def shift(real, drawn):
    return float(np.abs(real.mean(axis=0) - drawn.mean(axis=0)).max())

  @SAMPLE_METRICS.register('nothing', undefined='{real} are too few')
  def nothing(real, drawn):
    return float('nan')

  data = model.data()
  dataset = first(data.test, 40)
  judge(lambda count: np.resize(dataset.labels, count))
  groups = evaluated(model, dataset, data)
  own = ['frechet_distance', 'coverage', 'shift', 'nothing']
  of_classes = ['conditional_accuracy', 'classification_accuracy_score', 'diversity']
  of_prior = [*own, *memorization.METRICS, *of_classes]
  assert {group: list(metrics) for group, metrics in groups.items()} == {
    'generation': ['classifier_accuracy', *(f'{name}_of_real_images' for name in own)],
    'generation, z ~ fitted prior': of_prior,
    'generation, z ~ N(0, I)': of_prior,
  }
  found = groups['generation, z ~ N(0, I)']
  assert found['shift'].value > 0
  assert found['shift'].unit == 'features'
  assert found['shift'].protocol.startswith('largest difference of the means; 40 samples')
  assert found['nothing'].value is None
  assert found['nothing'].protocol.endswith('40 are too few')


def test_unseen_real_images_are_as_many_as_samples_and_of_the_same_classes(
  model, judge, monkeypatch
):
  data, drawn = model.data(), []
  monkeypatch.setattr(
    generation,
    'sample',
    lambda model, rows, *_: drawn.append(rows.labels) or model.sample(conditions=rows),
  )
  for split, other in (('test', 'validation'), ('validation', 'test'), ('train', 'validation')):
    dataset, expected = first(getattr(data, split), 40), first(getattr(data, other), 40)
    judge(lambda count, labels=dataset.labels: np.resize(labels, count))
    evaluation = Evaluation(model, split, 40, 300, 5000)
    found = generation.unseen(evaluation, data)
    np.testing.assert_array_equal(found.images, expected.images)
    generation.add_metrics(evaluation, data, dataset)
    np.testing.assert_array_equal(drawn[0], expected.labels)
    assert '40 unseen' in evaluation.groups['generation'][1].protocol
    drawn.clear()


def test_there_are_as_many_samples_as_images(model, judge):
  data = model.data()
  judge(lambda count: np.resize(data.test.labels, count))
  for count in (30, 45):
    found = evaluated(model, first(data.test, count), data)['generation, z ~ N(0, I)']
    assert f'{count} samples' in found['coverage'].protocol
    assert f'on {count} samples alone' in found['classification_accuracy_score'].protocol
  # Of a whole split, a classifier learns from as many samples as there are images to learn from.
  whole = evaluated(model, first(data.test, 30), data, num_in_split=30)
  learned = whole['generation, z ~ N(0, I)']['classification_accuracy_score']
  assert 'on 150 samples alone' in learned.protocol


def test_a_judge_that_is_often_wrong_is_named_beside_all_that_it_judged(model, judge):
  data = model.data()
  wrong = np.arange(300) % 10 < 4
  judge(
    lambda count: np.resize(np.where(wrong, (data.test.labels + 1) % 10, data.test.labels), count)
  )
  groups = evaluated(model, data.test, data)
  found = {name: metric for metrics in groups.values() for name, metric in metrics.items()}
  assert found.pop('classifier_accuracy').value == pytest.approx(0.6)
  in_pixels = {name for name in found if name.endswith('_pixels')}
  for name in found.keys() - in_pixels:
    metric = found[name]
    assert 'trained on the training images' in metric.protocol
    assert '60.0%' in metric.protocol
    assert '60.0%' in metric.warning


def test_a_judge_that_names_one_class_judges_nothing(model, judge):
  """0.57 in four rows, of two classes of which one has 57 % of the images."""
  data = model.data()
  labels = np.int32(np.arange(300) % 100 >= 57)
  judge(lambda count: np.zeros(count, int))
  groups = evaluated(model, data.test._replace(labels=labels), data)
  accuracy = groups['generation'].pop('classifier_accuracy')
  assert accuracy.value == pytest.approx(0.57)
  assert '57.0%' in accuracy.warning
  metrics = [metric for metrics in groups.values() for metric in metrics.values()]
  of_prior = [*SAMPLE_METRICS, *memorization.METRICS, *generation.CLASS_METRICS]
  of_both_priors = 2 * len(of_prior)
  assert len(metrics) == len(list(SAMPLE_METRICS)) + of_both_priors
  for metric in metrics:
    assert metric.value is None
    assert '57.0%' in metric.protocol


def test_few_images_carry_no_frechet_distance_and_a_coverage_with_a_warning(model, judge):
  data = model.data()
  for count, carried in ((20, False), (21, True)):
    judge(lambda number: np.resize(data.test.labels, number))
    found = evaluated(model, first(data.test, count), data)['generation, z ~ N(0, I)']
    assert (found['frechet_distance'].value is not None) == carried
    assert f'{count} samples' in found['coverage'].warning
  assert '1,000' in found['frechet_distance'].warning
  assert found['diversity'].warning == ''
  one_of_each = data.test._replace(images=data.test.images[:3], labels=np.arange(3, dtype=np.int32))
  judge(lambda number: np.arange(number) % 3)
  found = evaluated(model, one_of_each, data)['generation, z ~ N(0, I)']
  for name, reason in (('diversity', 'no class has two'), ('coverage', '3 real images have no 5')):
    assert found[name].value is None
    assert f'not measured: {reason}' in found[name].protocol


def test_without_labels_nothing_is_measured(model):
  data = model.data()
  evaluation = Evaluation(model, 'test', 300, 300, 5000)
  generation.add_metrics(evaluation, data, data.test._replace(class_names=()))
  names = [metric.name for metric in evaluation.metrics]
  assert names == [*SAMPLE_METRICS, *memorization.METRICS, *generation.CLASS_METRICS]
  assert all(metric.value is None for metric in evaluation.metrics)
