"""The metrics of reconstructions in an evaluation."""

import dataclasses

import jax
import numpy as np
import pytest

import cvae_jax
from cvae_jax.evaluation import classifier, fidelity, generation, suite
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import frechet_distance
from cvae_jax.inference.model import Model
from cvae_jax.models import classifier as networks


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


@pytest.fixture
def judge(monkeypatch, tmp_path):
  """A judge that is right on the test images; what else is trained is kept in a list."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  trained = []

  class Judge(classifier.Classifier):
    def judge(self, images):
      features = images.reshape(len(images), -1)[:, :20] / np.float32(255)
      return features, np.log(np.eye(10, dtype=np.float32)[np.resize(named, len(images))] + 1e-3)

    def distances(self, images, others):
      return np.abs(images - others).max(axis=(1, 2, 3))

  named = None

  def train(*arguments, **_):
    trained.append(arguments)
    return Judge({}, 10)

  def use(labels):
    nonlocal named
    named = labels
    monkeypatch.setattr(classifier, 'train', train)
    return trained

  return use


def evaluated(model, data, dataset, split='test', num_in_split=300):
  evaluation = Evaluation(model, split, len(dataset.labels), num_in_split, 5000)
  fidelity.add_metrics(evaluation, data, dataset, None)
  assert {metric.group for metric in evaluation.metrics} == {'reconstruction'}
  return {metric.name: metric for metric in evaluation.metrics}


def expected_of(model, dataset):
  images = dataset.images / np.float32(255)
  return images, model.reconstruct(images, dataset.labels)


def test_reconstructions_are_measured_as_images_are_and_as_samples_are(model, judge):
  data = model.data()
  trained = judge(data.test.labels)
  found = evaluated(model, data, data.test)
  assert list(found) == ['mse', 'psnr', 'ssim', 'lpips', *fidelity.JUDGED_METRICS]
  images, restored = expected_of(model, data.test)
  assert found['mse'].value == pytest.approx(((images - restored) ** 2).mean(), rel=1e-4)
  distances = np.abs(images - restored).max(axis=(1, 2, 3))
  perceptual = found['perceptual']
  assert perceptual.value == pytest.approx(distances.mean(), rel=1e-4)
  assert perceptual.low < perceptual.value < perceptual.high
  # Of the validation images, which neither the model nor the judge has learned from.
  unseen, restored = expected_of(model, data.validation)
  real, own, drawn = (
    x.reshape(len(x), -1)[:, :20] for x in (images, unseen, np.round(255 * restored) / 255)
  )
  distance = found['frechet_distance']
  assert distance.value == pytest.approx(frechet_distance(real, drawn), rel=1e-2)
  assert f'these themselves have {frechet_distance(real, own):.3g}' in distance.protocol
  assert '50 unseen real images, reconstructed' in distance.protocol
  assert '50 samples are few' in distance.warning
  # A classifier learns from reconstructions of training images alone.
  (learned_from, labels, *_) = trained[-1]
  _, restored = expected_of(model, data.train)
  assert learned_from.dtype == np.uint8
  np.testing.assert_allclose(learned_from, np.round(255 * restored), atol=1)
  np.testing.assert_array_equal(labels, data.train.labels)
  score = found['classification_accuracy_score']
  assert score.value == 1
  assert score.low < 1
  assert 'on 100 reconstructions alone' in score.protocol
  assert '300 real images' in score.protocol


def test_what_is_reconstructed_without_error_is_worth_what_real_images_are(
  model, judge, monkeypatch
):
  monkeypatch.setattr(Model, 'reconstruct', lambda self, images, **_: images)
  data = model.data()
  trained = judge(data.test.labels)
  found = evaluated(model, data, data.test)
  assert found['perceptual'].value == 0
  stated = float(found['frechet_distance'].protocol.rsplit(' ', 1)[1])
  assert found['frechet_distance'].value == pytest.approx(stated, rel=1e-2)
  np.testing.assert_array_equal(trained[-1][0], data.train.images)


def test_a_quick_look_learns_from_as_many_reconstructions_as_samples(model, judge, capsys):
  data = model.data()
  data = data._replace(train=data.train.take(np.argsort(data.train.labels, kind='stable')))
  trained = judge(data.test.labels[:30])
  evaluation = suite.evaluate(model, data, 'test', 7, 30, asked=('reconstruction',))
  found = {metric.name: metric for metric in evaluation.metrics}
  assert generation.num_to_learn_from(evaluation, data) == 30
  forecast = 'reconstruction: 30 unseen images and 30 to train a classifier on'
  assert forecast in capsys.readouterr().out
  assert 'on 30 reconstructions alone' in found['classification_accuracy_score'].protocol
  assert len(set(trained[-1][1])) == 10  # of every class, though the images are sorted


def test_no_classifier_is_tested_on_images_that_it_learned_from(model, judge):
  data = model.data()
  trained = judge(data.train.labels)
  found = evaluated(model, data, data.train, 'train', 100)
  score = found['classification_accuracy_score']
  assert score.value is None
  assert 'another split' in score.protocol
  assert found['perceptual'].value > 0
  assert len(trained) == 1  # the reference classifier
  judge(data.validation.labels)
  evaluated(model, data, data.validation, 'validation', 50)
  _, restored = expected_of(model, data.train)
  np.testing.assert_allclose(trained[-1][0], np.round(255 * restored), atol=1)


def test_without_classes_the_distances_in_pixels_remain(model, judge):
  data = model.data()
  for labels, names, reason in (
    (data.test.labels, (), 'no labels'),
    (np.full(300, -1, np.int32), data.test.class_names, 'no image of the test split has a class'),
  ):
    dataset = data.test._replace(labels=labels, class_names=names)
    # An unconditional model takes images whose class is not known.
    found = evaluated(free(model), data, dataset)
    assert found['mse'].value > 0
    for name in fidelity.JUDGED_METRICS:
      assert found[name].value is None
      assert reason in found[name].protocol


def free(model):
  """A model that looks unconditional, and reconstructs by the class 0."""

  class Free(Model):
    conditional = False

    def reconstruct(self, images, **_):
      return np.zeros_like(images)

  return Free(**{field.name: getattr(model, field.name) for field in dataclasses.fields(model)})


def test_a_judge_that_names_one_class_judges_nothing(model, judge):
  data = model.data()
  judge(np.zeros(1, int))
  found = evaluated(model, data, data.test)
  assert found['ssim'].value > 0
  for name in fidelity.JUDGED_METRICS:
    assert found[name].value is None
    assert 'not certainly better' in found[name].protocol


def test_the_distance_of_a_classifier_is_that_in_its_maps():
  images = np.random.RandomState(0).rand(5, 8, 8, 1).astype(np.float32)
  others = np.roll(images, 1, axis=0)
  variables = jax.jit(classifier.initializer(10, images.shape))(jax.random.key(0))
  found = classifier.Classifier(variables, 10).distances(images, others)
  expected = networks.perceptual_distance(variables, images, others)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert found.shape == (5,)
  assert found.min() > 0
