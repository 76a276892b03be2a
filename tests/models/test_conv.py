"""The convolutional models against PyTorch's layers, and their shapes and counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import baseline_celeba, baseline_cifar10, baseline_fashion_mnist, convvae_mnist
from cvae_jax.models import blocks, conv, cvae
from tiny import set_fields


def make(module, **changes):
  return set_fields(module.get_config(), changes)


def count(config):
  params = cvae.abstract_variables(cvae.build(config))['params']
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parameter_counts_of_the_published_convvae():
  assert count(make(convvae_mnist)) == 1_248_673
  assert count(make(convvae_mnist, latent_dim=256)) == 1_433_473


def test_parameter_count_of_the_baseline():
  # Two convolutions to 8×8×64, two heads of 32, their mirror image.
  convolutions = (1 * 9 * 32 + 32) + (32 * 9 * 64 + 64)
  heads, project = 2 * (4096 * 32 + 32), 32 * 4096 + 4096
  transposed = (64 * 9 * 32 + 32) + (32 * 9 * 1 + 1)
  assert count(make(baseline_fashion_mnist)) == convolutions + heads + project + transposed


@pytest.mark.parametrize('module', [convvae_mnist, baseline_cifar10, baseline_celeba])
@pytest.mark.parametrize('conditional', [False, True])
@pytest.mark.parametrize(('size', 'channels'), [(8, 3), (33, 1), (256, 3)])
def test_output_has_the_size_of_the_input(module, conditional, size, channels):
  widths = (4, 8, 8)
  config = make(
    module,
    conditional=conditional,
    data__image_size=size,
    data__channels=channels,
    model__channels=widths,
  )
  model = cvae.build(config)

  def run(key):
    variables = cvae.init(model, key)
    images, labels = jnp.zeros((2, size, size, channels)), jnp.zeros(2, jnp.int32)
    return model.apply(variables, images, labels, draw=lambda mean, logvar: mean, train=False)

  forward = jax.eval_shape(run, jax.random.key(0))
  assert forward.outputs.shape == (2, size, size, channels)
  assert forward.mean.shape == (2, config.latent_dim)


def test_a_size_that_is_no_multiple_is_resized_or_cropped():
  """The same weights: a crop is a part of the larger output, a resize shows all of it."""
  style = blocks.style(make(baseline_fashion_mnist))
  decoder = lambda size, resize: conv.ConvDecoder((4, 8), None, (size, size, 1), style, resize)  # noqa: E731
  whole = decoder(32, False)
  features = jax.random.normal(jax.random.key(1), (2, 32))
  variables = jax.jit(partial(whole.init, train=False))(jax.random.key(0), features)
  full, cropped, resized = (
    jax.jit(partial(decoder.apply, train=False))(variables, features)
    for decoder in (whole, decoder(30, False), decoder(30, True))
  )
  np.testing.assert_allclose(cropped, full[:, 1:-1, 1:-1], atol=1e-6)
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  expected = torch.nn.functional.interpolate(
    torch.from_numpy(np.array(full)).permute(0, 3, 1, 2),
    size=(30, 30),
    mode='bilinear',
    antialias=True,
  )
  np.testing.assert_allclose(resized, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


@pytest.mark.parametrize(
  'module', [convvae_mnist, pytest.param(baseline_cifar10, marks=pytest.mark.slow)]
)
def test_same_numbers_as_pytorch(module):
  layers = pytest.importorskip('torch_layers', reason='PyTorch is not installed')
  from torch import nn

  # Narrow, to be quicker; the depth is what could go wrong.
  is_convvae = module is convvae_mnist
  changes = {} if is_convvae else {'model__channels': (8, 16, 32, 64)}
  network = cvae.build(make(module, **changes))
  variables = layers.random_variables(network)
  params, channels = variables['params'], network.encoder.channels
  activation = nn.ReLU() if is_convvae else nn.LeakyReLU(0.01)
  hidden = lambda side: [layers.dense(side['dense']), activation] if is_convvae else []  # noqa: E731
  stages = range(len(channels))
  convolutions = [layers.conv(params['encoder'][f'conv{stage}'], stride=2) for stage in stages]
  encoder = nn.Sequential(
    *(x for convolution in convolutions for x in (convolution, activation)),
    nn.Flatten(),
    *hidden(params['encoder']),
  )
  side = 32 // 2 ** len(channels)
  doublings = [layers.doubling_conv(params['decoder'][f'double{stage}']) for stage in stages]
  decoder = nn.Sequential(
    *hidden(params['decoder']),
    layers.dense(params['decoder']['project']),
    nn.Unflatten(1, (channels[-1], side, side)),
    *(x for doubling in reversed(doublings) for x in (activation, doubling)),
  )
  heads = [layers.dense(params[f'{name}_head']) for name in ('mean', 'logvar')]
  layers.assert_same(
    network,
    variables,
    lambda images, one_hot: [head(encoder(images)) for head in heads],
    lambda latents, one_hot: decoder(latents),
  )
