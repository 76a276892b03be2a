"""The reference classifier."""

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation import classifier
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
  first = classifier.reference(data, digits.train)
  assert 'training a reference classifier for digits, once' in capsys.readouterr().out
  assert first.accuracy(digits.test.images, digits.test.labels) > 0.9
  (kept,) = own_cache.iterdir()
  again = classifier.reference(data, digits.train)
  assert capsys.readouterr().out == ''
  np.testing.assert_array_equal(
    again.predict(digits.test.images), first.predict(digits.test.images)
  )
  kept.write_bytes(b'broken')
  monkeypatch.setattr(classifier, 'MIN_STEPS', 1)
  monkeypatch.setattr(classifier, 'NUM_EPOCHS', 1)
  classifier.reference(data, digits.train)
  assert 'training' in capsys.readouterr().out
  assert kept.stat().st_size > 1000


def test_the_judgement_of_an_image_does_not_depend_on_the_others(digits, monkeypatch):
  monkeypatch.setattr(classifier, 'MIN_STEPS', 5)
  judge = classifier.train(
    digits.train.images, digits.train.labels, 10, mirrored=False, num_epochs=1
  )
  images = digits.test.images[:7]
  features, log_probabilities = judge.judge(images)
  assert features.shape == (7, classifier.NUM_FEATURES)
  np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1, atol=1e-5)
  alone, _ = judge.judge(images[3:4])
  np.testing.assert_allclose(alone[0], features[3], rtol=1e-4, atol=1e-5)
  as_floats, _ = judge.judge(images.astype(np.float32) / 255)
  np.testing.assert_allclose(as_floats, features, rtol=1e-4, atol=1e-5)


def test_other_sizes_get_a_classifier_of_their_own(own_cache, monkeypatch):
  """The weights for 28 and 32 pixels have the same shapes."""
  trained = []

  def train(images, *_, **__):
    trained.append(images.shape[1:])
    return classifier.Classifier({}, 10)

  monkeypatch.setattr(classifier, 'train', train)
  for changes in ({'data__image_size': 32}, {'data__image_size': 28, 'data__crop_size': 8}):
    config = tiny_config(data__max_examples=130, **changes)
    classifier.reference(config.data, datasets.load(config).train)
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
  test = datasets.load(config).test
  nothing = Dataset(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32), tuple('0123456789'))
  judge = classifier.reference(config.data, nothing)
  assert judge.accuracy(test.images, test.labels) >= least
