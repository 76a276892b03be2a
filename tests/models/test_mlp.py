"""The network of dense layers against PyTorch's, and its shapes."""

import jax
import numpy as np
import pytest

from configs import mlp_mnist
from cvae_jax.models import cvae
from tiny import tiny_config


def make(**changes):
  settings = {'model__name': 'mlp', 'model__norm': 'none', 'model__channels': (7, 5)}
  return tiny_config(**(settings | changes))


def test_same_numbers_as_pytorch():
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  model = cvae.build(make(model__activation='relu'))
  variables = jax.tree.map(
    # Biases off their initial 0, so that a forgotten one shows.
    lambda leaf: leaf + 0.1 * np.random.RandomState(leaf.size).randn(*leaf.shape).astype('float32'),
    cvae.init(model, jax.random.key(0)),
  )
  params = variables['params']

  def dense(layer):
    linear = torch.nn.Linear(*layer['kernel'].shape)
    linear.weight = torch.nn.Parameter(torch.from_numpy(np.array(layer['kernel']).T))
    linear.bias = torch.nn.Parameter(torch.from_numpy(np.array(layer['bias'])))
    return linear

  def stack(layers):
    parts = [part for layer in layers for part in (dense(layer), torch.nn.ReLU())]
    return torch.nn.Sequential(torch.nn.Flatten(), *parts)

  encoder = stack([params['encoder'][name] for name in ('dense0', 'dense1')])
  decoder = stack([params['decoder'][name] for name in ('dense1', 'dense0')])
  rng = np.random.RandomState(0)
  images, latents = rng.rand(4, 8, 8, 1).astype('float32'), rng.randn(4, 3).astype('float32')
  labels = np.array([0, 3, 3, 9])
  with torch.no_grad():
    one_hot = torch.eye(10)[torch.from_numpy(labels)]
    embedding = torch.relu(dense(params['class_embedding'])(one_hot))
    features = torch.cat([encoder(torch.from_numpy(images)), embedding], dim=1)
    expected_mean = dense(params['mean_head'])(features).numpy()
    hidden = decoder(torch.cat([torch.from_numpy(latents), embedding], dim=1))
    expected = dense(params['decoder']['output'])(hidden).reshape(4, 8, 8, 1).numpy()
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
