"""The network of dense layers against NumPy."""

import jax
import numpy as np
import pytest

from configs import mlp_mnist
from cvae_jax.models import cvae
from tiny import tiny_config


def make(**changes):
  settings = {'model__name': 'mlp', 'model__norm': 'none', 'model__channels': (7, 5)}
  return tiny_config(**(settings | changes))


def test_same_numbers_as_numpy():
  config = make(model__activation='relu')
  model = cvae.build(config)
  variables = cvae.init(model, jax.random.key(0))
  params = jax.tree.map(np.asarray, variables['params'])

  def dense(x, layer):
    return x @ layer['kernel'] + layer['bias']

  def relu(x):
    return np.maximum(x, 0)

  rng = np.random.RandomState(0)
  images, latents = rng.rand(4, 8, 8, 1).astype('float32'), rng.randn(4, 3).astype('float32')
  labels = np.array([0, 3, 3, 9])
  embedding = relu(dense(np.eye(10, dtype='float32')[labels], params['class_embedding']))
  hidden = images.reshape(4, 64)
  for name in ('dense0', 'dense1'):
    hidden = relu(dense(hidden, params['encoder'][name]))
  expected_mean = dense(np.concatenate([hidden, embedding], 1), params['mean_head'])
  hidden = np.concatenate([latents, embedding], 1)
  for name in ('dense1', 'dense0'):
    hidden = relu(dense(hidden, params['decoder'][name]))
  expected = dense(hidden, params['decoder']['output']).reshape(4, 8, 8, 1)
  mean, _ = model.apply(variables, images, labels, train=False, method='encode')
  outputs = model.apply(variables, latents, labels, train=False, method='decode')
  np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
  np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize('channels', [1, 3])
def test_any_size(channels):
  config = make(data__image_size=9, data__channels=channels)
  model = cvae.build(config)
  variables = jax.eval_shape(lambda: cvae.init(model, jax.random.key(0)))
  assert variables['params']['decoder']['output']['kernel'].shape == (7, 81 * channels)


def test_the_config_is_what_it_says():
  config = mlp_mnist.get_config()
  shapes = jax.eval_shape(lambda: cvae.init(cvae.build(config), jax.random.key(0)))['params']
  assert shapes['encoder']['dense0']['kernel'].shape == (784, 512)
  assert shapes['encoder']['dense1']['kernel'].shape == (512, 256)
  assert shapes['decoder']['output']['kernel'].shape == (512, 784)
