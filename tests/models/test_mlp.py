"""The network of dense layers against PyTorch's, and its shapes."""

import pytest

from configs import mlp_mnist
from cvae_jax.models import cvae
from tiny import tiny_config


def make(**changes):
  fields = {'model__name': 'mlp', 'model__norm': 'none', 'model__channels': (7, 5)}
  return tiny_config(**(fields | changes))


def test_same_numbers_as_pytorch():
  layers = pytest.importorskip('torch_layers', reason='PyTorch is not installed')
  import torch

  network = cvae.build(make(model__activation='relu'))
  variables = layers.random_variables(network)
  params = variables['params']

  def stack(params, names):
    hidden = [x for name in names for x in (layers.dense(params[name]), torch.nn.ReLU())]
    return torch.nn.Sequential(torch.nn.Flatten(), *hidden)

  encoder = stack(params['encoder'], ['dense0', 'dense1'])
  decoder = stack(params['decoder'], ['dense1', 'dense0'])
  embed = lambda one_hot: torch.relu(layers.dense(params['class_embedding'])(one_hot))  # noqa: E731

  def encode(images, one_hot):
    features = torch.cat([encoder(images.permute(0, 2, 3, 1)), embed(one_hot)], dim=1)
    return [layers.dense(params[f'{name}_head'])(features) for name in ('mean', 'logvar')]

  def decode(latents, one_hot):
    hidden = decoder(torch.cat([latents, embed(one_hot)], dim=1))
    return (
      layers.dense(params['decoder']['output'])(hidden).reshape(-1, 8, 8, 1).permute(0, 3, 1, 2)
    )

  layers.assert_same(network, variables, encode, decode)


@pytest.mark.parametrize('channels', [1, 3])
def test_any_size(channels):
  network = cvae.build(make(data__image_size=9, data__channels=channels))
  output = cvae.abstract_variables(network)['params']['decoder']['output']
  assert output['kernel'].shape == (7, 81 * channels)


def test_widths_of_the_config():
  params = cvae.abstract_variables(cvae.build(mlp_mnist.get_config()))['params']
  assert params['encoder']['dense0']['kernel'].shape == (784, 512)
  assert params['encoder']['dense1']['kernel'].shape == (512, 256)
  assert params['decoder']['output']['kernel'].shape == (512, 784)
