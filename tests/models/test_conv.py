"""The convolutional models against PyTorch's layers, and their shapes and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import baseline_celeba, baseline_cifar10, baseline_fashion_mnist, convvae_mnist
from cvae_jax.models import cvae
from tiny import set_fields


def make(module, **changes):
  return set_fields(module.get_config(), changes)


def count(config):
  shapes = jax.eval_shape(lambda: cvae.init(cvae.build(config), jax.random.key(0)))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))


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
  small = {name: make(baseline_fashion_mnist, data__image_size=30) for name in ('resize', 'crop')}
  small['crop'].model.name = 'conv'
  models = {name: cvae.build(config) for name, config in small.items()}
  decoders = {name: model.decoder.clone(hidden_dim=None) for name, model in models.items()}
  features = jax.random.normal(jax.random.key(1), (2, 32))
  whole = decoders['crop'].clone(image_shape=(32, 32, 1))
  variables = whole.init(jax.random.key(0), features, train=False)
  full = whole.apply(variables, features, train=False)
  np.testing.assert_allclose(
    decoders['crop'].apply(variables, features, train=False), full[:, 1:-1, 1:-1], atol=1e-6
  )
  resized = decoders['resize'].apply(variables, features, train=False)
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  expected = torch.nn.functional.interpolate(
    torch.from_numpy(np.array(full)).permute(0, 3, 1, 2),
    size=(30, 30),
    mode='bilinear',
    antialias=True,
  )
  np.testing.assert_allclose(resized, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def noisy(variables):
  """Biases off their initial 0, so that a forgotten one shows."""
  return jax.tree.map(
    lambda leaf: leaf + 0.1 * np.random.RandomState(leaf.size).randn(*leaf.shape).astype('float32'),
    variables,
  )


def torch_layers(torch, params, channels, hidden, activation):
  """The network's description in torch.nn, with the weights of the linen model."""
  nn = torch.nn

  def tensor(array, *axes):
    array = torch.from_numpy(np.array(array))
    return nn.Parameter(array.permute(*axes).contiguous() if axes else array)

  def conv(params):
    kernel = params['kernel']
    layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, stride=2, padding=1)
    layer.weight, layer.bias = tensor(kernel, 3, 2, 0, 1), tensor(params['bias'])
    return layer

  def transposed(params):
    kernel = params['kernel']
    layer = nn.ConvTranspose2d(
      kernel.shape[2], kernel.shape[3], 3, stride=2, padding=1, output_padding=1
    )
    # PyTorch's is the gradient of a convolution, whose kernel lies the other way round.
    layer.weight, layer.bias = tensor(kernel[::-1, ::-1], 2, 3, 0, 1), tensor(params['bias'])
    return layer

  def dense(params):
    layer = nn.Linear(*params['kernel'].shape)
    layer.weight, layer.bias = tensor(params['kernel'], 1, 0), tensor(params['bias'])
    return layer

  encoder, decoder = [], []
  for stage in range(len(channels)):
    encoder += [conv(params['encoder'][f'conv{stage}']), activation]
  encoder.append(nn.Flatten())
  if hidden:
    encoder += [dense(params['encoder']['dense']), activation]
    decoder += [dense(params['decoder']['dense']), activation]
  side = 32 // 2 ** len(channels)
  decoder += [dense(params['decoder']['project']), activation]
  decoder.append(nn.Unflatten(1, (channels[-1], side, side)))
  for stage in reversed(range(len(channels))):
    decoder += [transposed(params['decoder'][f'double{stage}'])] + [activation] * (stage > 0)
  heads = [dense(params[f'{name}_head']) for name in ('mean', 'logvar')]
  return nn.Sequential(*encoder), heads, nn.Sequential(*decoder)


@pytest.mark.parametrize(
  'module', [convvae_mnist, pytest.param(baseline_cifar10, marks=pytest.mark.slow)]
)
def test_same_numbers_as_pytorch(module):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  config = make(module)
  if module is baseline_cifar10:
    config.model.channels = (8, 16, 32, 64)  # quicker; the depth is what could go wrong
  model = cvae.build(config)
  variables = noisy(jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0)))
  activation = torch.nn.ReLU() if module is convvae_mnist else torch.nn.LeakyReLU(0.01)
  hidden = module is convvae_mnist
  encoder, heads, decoder = torch_layers(
    torch, variables['params'], config.model.channels, hidden, activation
  )
  rng = np.random.RandomState(1)
  images = rng.rand(6, 32, 32, config.data.channels).astype('float32')
  latents = rng.randn(6, config.latent_dim).astype('float32')
  labels = np.zeros(6, np.int32)

  def apply(method, inputs):
    run = jax.jit(lambda x: model.apply(variables, x, labels, train=True, method=method))
    return run(inputs)

  with torch.no_grad():
    features = encoder(torch.from_numpy(images).permute(0, 3, 1, 2))
    pairs = [
      *zip(apply('encode', images), [head(features) for head in heads], strict=True),
      (apply('decode', latents), decoder(torch.from_numpy(latents)).permute(0, 2, 3, 1)),
    ]
  for ours, theirs in pairs:
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
