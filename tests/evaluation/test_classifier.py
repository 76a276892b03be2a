"""The reference classifier."""

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation import classifier
from cvae_jax.models.classifier import NUM_FEATURES
from tiny import tiny_config


@pytest.fixture(scope='module')
def digits():
  return datasets.load(tiny_config(data__max_examples=0))  # 8×8


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  return tmp_path / 'cvae_jax' / 'classifiers'


def test_a_classifier_learns_and_is_stored(digits, own_cache, capsys, monkeypatch):
  data = tiny_config().data
  monkeypatch.setattr(classifier, 'MIN_STEPS', 150)
  first = classifier.reference(data, digits.train, digits.validation)
  assert 'training a reference classifier for digits, once' in capsys.readouterr().out
  assert first.accuracy(digits.test.images, digits.test.labels) > 0.9
  (kept,) = own_cache.iterdir()
  again = classifier.reference(data, digits.train, digits.validation)
  assert capsys.readouterr().out == ''
  np.testing.assert_array_equal(
    again.predict(digits.test.images), first.predict(digits.test.images)
  )
  kept.write_bytes(b'broken')
  monkeypatch.setattr(classifier, 'MIN_STEPS', 1)
  monkeypatch.setattr(classifier, 'NUM_EPOCHS', 1)
  classifier.reference(data, digits.train, digits.validation)
  assert 'training' in capsys.readouterr().out
  assert kept.stat().st_size > 1000


def test_the_judgement_of_an_image_does_not_depend_on_the_others(digits, monkeypatch):
  monkeypatch.setattr(classifier, 'MIN_STEPS', 5)
  judge = classifier.train(
    digits.train.images, digits.train.labels, 10, mirrored=False, num_epochs=1
  )
  images = digits.test.images[:7]
  features, log_probabilities = judge.judge(images)
  assert features.shape == (7, NUM_FEATURES)
  np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1, atol=1e-5)
  alone, _ = judge.judge(images[3:4])
  np.testing.assert_allclose(alone[0], features[3], rtol=1e-4, atol=1e-5)
  as_floats, _ = judge.judge(images.astype(np.float32) / 255)
  np.testing.assert_allclose(as_floats, features, rtol=1e-4, atol=1e-5)


def test_few_images_are_not_seen_more_often_than_helps(digits, monkeypatch):
  monkeypatch.setattr(classifier, 'MAX_EPOCHS', 3)
  done = []
  few = digits.train.images[:30], digits.train.labels[:30]
  classifier.train(*few, 10, mirrored=False, num_epochs=1, advance=done.append)
  assert done == pytest.approx([1 / 3, 2 / 3, 1])


def test_other_sizes_get_a_classifier_of_their_own(own_cache, monkeypatch):
  """The weights for 28 and 32 pixels have the same shapes."""
  trained = []

  def train(images, *_, **__):
    trained.append(images.shape[1:])
    return classifier.Classifier({}, 10)

  monkeypatch.setattr(classifier, 'train', train)
  for changes in ({'data__image_size': 32}, {'data__image_size': 28, 'data__crop_size': 8}):
    config = tiny_config(data__max_examples=130, **changes)
    data = datasets.load(config)
    classifier.reference(config.data, data.train, data.validation)
  assert trained == [(32, 32, 1), (28, 28, 1)]
  assert len(list(own_cache.iterdir())) == 2


@pytest.mark.parametrize(
  ('name', 'least'),
  [
    ('digits', 0.98),
    pytest.param('mnist', 0.993, marks=pytest.mark.data('mnist')),
    pytest.param('fashion_mnist', 0.92, marks=pytest.mark.data('fashion_mnist')),
  ],
)
def test_shipped_classifiers_are_accurate(name, least, request):
  config = tiny_config(data__name=name, data__image_size=28, data__max_examples=0)
  if name != 'digits':
    config.data.dir = str(request.getfixturevalue('real_data'))
  data = datasets.load(config)
  names = data.test.class_names
  # It needs no training images, of which there may be few.
  nothing = Dataset(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32), names)
  judge = classifier.reference(config.data, nothing, data.validation)
  assert judge.origin == f'shipped for {name}'
  assert judge.accuracy(data.test.images, data.test.labels) >= least


@pytest.mark.data('fashion_mnist')
def test_other_images_in_files_named_like_mnist_get_a_classifier_of_their_own(
  real_data, own_cache, monkeypatch, tmp_path, capsys
):
  """Fashion-MNIST has the names and the shape of MNIST's files."""
  trained = []

  def train(images, *_, **__):
    trained.append(len(images))
    return classifier.Classifier({'bias': np.zeros(1, np.float32)}, 10)

  monkeypatch.setattr(classifier, 'train', train)
  for path in real_data.glob('*.gz'):
    (tmp_path / 'neutral').mkdir(exist_ok=True)
    (tmp_path / 'neutral' / path.name).symlink_to(path)
  config = tiny_config(data__name='mnist', data__image_size=28, data__dir=str(tmp_path / 'neutral'))
  data = datasets.load(config)
  judge = classifier.reference(config.data, data.train, data.validation)
  assert trained == [100]
  assert judge.origin == 'trained on the training images'
  assert 'shipped classifier of mnist is right on' in capsys.readouterr().out
  # The same pictures with other labels are other data.
  other = data.train._replace(labels=(data.train.labels + 1) % 10)
  classifier.reference(config.data, other, data.validation)
  assert trained == [100, 100]
  assert len(list(own_cache.iterdir())) == 2


@pytest.mark.data('mnist')
def test_the_shipped_classifier_judges_mnist_by_few_images_too(real_data):
  """A validation split of 20 images is no reason to doubt it."""
  config = tiny_config(
    data__name='mnist',
    data__image_size=28,
    data__dir=str(real_data),
    data__validation_examples=20,
    data__split_seed=3,
  )
  data = datasets.load(config)
  judge = classifier.reference(config.data, data.train, data.validation)
  assert judge.origin == 'shipped for mnist'


def test_a_classifier_that_names_one_class_is_blind():
  labels = np.repeat([0, 1], [57, 43])
  blind = classifier.standing(np.zeros(100, int), labels)
  assert (blind.is_blind, blind.most_frequent, blind.accuracy.mean) == (True, 0.57, 0.57)
  assert '57.0%' in blind.warning
  # One image more is chance.
  assert classifier.standing(np.repeat([0, 1], [99, 1]), labels).is_blind
  low = classifier.standing(np.where(np.arange(100) < 25, 1 - labels, labels), labels)
  assert not low.is_blind
  assert '75.0%' in low.warning
  good = classifier.standing(labels, labels)
  assert (good.is_blind, good.warning) == (False, '')
