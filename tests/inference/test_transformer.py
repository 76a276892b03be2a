"""A model as a step of a scikit-learn pipeline."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import cvae_jax
from cvae_jax.runtime.errors import InputError

IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 1), np.uint8)
LABELS = np.arange(60) % 2


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_means_with_one_class_for_all(model):
  of_threes, _ = model.encode(IMAGES, np.full(60, 3))
  transformer = model.as_transformer(label='3')
  for images in (IMAGES, IMAGES[..., 0], IMAGES.reshape(60, -1), IMAGES / 255):
    np.testing.assert_array_equal(transformer.fit(images).transform(images), of_threes)
  assert list(transformer.get_feature_names_out()) == ['z0', 'z1', 'z2']
  first = model.as_transformer().fit_transform(IMAGES)
  np.testing.assert_array_equal(first, model.encode(IMAGES, np.zeros(60, int))[0])


def test_it_stands_in_a_pipeline_and_can_be_copied_and_pickled(model):
  pipeline = make_pipeline(model.as_transformer(), LogisticRegression())
  assert cross_val_score(pipeline, IMAGES, LABELS, cv=3).shape == (3,)
  expected = pipeline.fit(IMAGES, LABELS).predict(IMAGES)
  for copy in (pickle.loads(pickle.dumps(pipeline)), clone(pipeline).fit(IMAGES, LABELS)):
    np.testing.assert_array_equal(copy.predict(IMAGES), expected)


def test_wrong_classes_and_images_are_named(model):
  with pytest.raises(InputError, match="'x'"):
    model.as_transformer(label='x')
  with pytest.raises(InputError, match=r'\(60, 7, 8, 1\)'):
    model.as_transformer().transform(IMAGES[:, 1:])
  with pytest.raises(InputError, match=r'\(60, 63\)'):
    model.as_transformer().transform(IMAGES.reshape(60, -1)[:, 1:])
