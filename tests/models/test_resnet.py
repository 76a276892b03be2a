"""The ResNet CVAE against the same network in PyTorch, and its shapes and counts."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from cvae_jax.models import cvae
from tiny import set_fields, tiny_config


def published(**changes):
  config = default.get_config()
  config.data.image_size = 28
  return set_fields(config, changes)


def variables_of(config, seed=0):
  return cvae.init(cvae.build(config), jax.random.key(seed))


def count(config):
  shapes = jax.eval_shape(lambda: cvae.init(cvae.build(config), jax.random.key(0)))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))


def test_parameter_count_of_the_published_network():
  assert count(published()) == 365_937
  # Each latent costs one column of two heads (80 + 1 each) and 3,136 weights of the decoder.
  assert count(published(latent_dim=32)) - count(published()) == 16 * (2 * 81 + 3136)


def test_flattened_and_deeper():
  """Flattened, the heads see the 7×7 map; a stage more deep has a block more on either side."""
  heads = 2 * 16 * (7 * 7 * 64 - 64)
  assert count(published(model__pool=False)) == 365_937 + heads
  keep = lambda c: 2 * (9 * c * c + c) + 2 * c  # two convolutions and a norm  # noqa: E731
  # Down: 32 and 64 channels; up: the 64 that come in, in both stages.
  blocks = keep(32) + 3 * keep(64)
  assert count(published(model__depth=2)) == 365_937 + blocks


@pytest.mark.parametrize(
  ('size', 'channels', 'widths'),
  [(28, 1, (32, 64)), (9, 3, (4, 8)), (8, 1, (4,)), (30, 1, (4, 8, 8)), (256, 3, (4, 8))],
)
def test_output_has_the_size_of_the_input(size, channels, widths):
  config = published(
    data__image_size=size, data__channels=channels, model__channels=widths, model__groups=2
  )
  model = cvae.build(config)

  def run(key):
    variables = cvae.init(model, key)
    images, labels = jnp.zeros((5, size, size, channels)), jnp.arange(5)
    return model.apply(variables, images, labels, draw=lambda mean, logvar: mean, train=False)

  outputs, _, mean, logvar, *_ = jax.eval_shape(run, jax.random.key(0))
  assert outputs.shape == (5, size, size, channels)
  assert mean.shape == logvar.shape == (5, 16)


@pytest.mark.slow
def test_bfloat16_computes_near_float32_and_keeps_float32_outside():
  config = tiny_config(precision='bfloat16')
  variables = variables_of(config)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
  labels = jnp.arange(4)

  def outputs(config):
    model = cvae.build(config)
    run = jax.jit(
      lambda images: model.apply(variables, images, labels, draw=lambda m, _: m, train=False)
    )
    return run(images)

  low, high = outputs(config), outputs(tiny_config())
  for a, b in zip(low, high, strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.05)
  assert not np.array_equal(low[0], high[0])


@pytest.mark.slow
def test_relu_is_selectable():
  config = tiny_config()
  variables = variables_of(config)
  images, labels = jnp.ones((1, 8, 8, 1)), jnp.zeros(1, jnp.int32)
  means = [
    jax.jit(partial(network.apply, train=False, method='encode'))(variables, images, labels)[0]
    for network in (cvae.build(tiny_config(model__activation=name)) for name in ('silu', 'relu'))
  ]
  assert not np.allclose(*means)


@pytest.mark.slow
def test_batch_norm_follows_the_batch_in_training_and_its_statistics_after():
  config = tiny_config(model__norm='batch')
  model, variables = cvae.build(config), variables_of(config)
  images = jax.random.uniform(jax.random.key(1), (16, 8, 8, 1))
  labels = jnp.zeros(16, jnp.int32)
  encode = partial(model.apply, train=True, method='encode', mutable=['batch_stats'])
  _, updated = jax.jit(encode)(variables, images, labels)
  stem = images_after_stem(variables, images)
  expected = 0.1 * stem.mean((0, 1, 2))  # momentum 0.9, from a running mean of 0
  actual = updated['batch_stats']['encoder']['stem_norm']['BatchNorm_0']['mean']
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def images_after_stem(variables, images):
  stem = variables['params']['encoder']['stem']
  return np.asarray(
    jax.lax.conv_general_dilated(
      images, stem['kernel'], (1, 1), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    + stem['bias'].reshape(1, 1, 1, -1)
  )


# PyTorch's side: the table of the README, layer by layer, with the weights of the linen model.


@dataclasses.dataclass
class TorchReference:
  """The published network in PyTorch, on NCHW tensors."""

  params: dict
  norm: str
  torch: object

  def tensor(self, array):
    return self.torch.from_numpy(np.array(array))

  def conv(self, x, params, stride=1, padding=1):
    kernel = self.tensor(params['kernel']).permute(3, 2, 0, 1).contiguous()
    bias = self.tensor(params['bias'])
    return self.torch.nn.functional.conv2d(x, kernel, bias, stride=stride, padding=padding)

  def dense(self, x, params):
    return x @ self.tensor(params['kernel']) + self.tensor(params['bias'])

  def normalize(self, x, params):
    functional = self.torch.nn.functional
    if self.norm == 'batch':
      params = params['BatchNorm_0']
      scale, bias = self.tensor(params['scale']), self.tensor(params['bias'])
      return functional.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)
    params = params['GroupNorm_0']
    scale, bias = self.tensor(params['scale']), self.tensor(params['bias'])
    return functional.group_norm(x, 8, scale, bias, eps=1e-5)

  def block(self, x, params, resample):
    functional = self.torch.nn.functional
    stride = 2 if resample == 'down' else 1
    if resample == 'up':
      x = functional.interpolate(x, scale_factor=2, mode='nearest')
    hidden = functional.silu(self.normalize(self.conv(x, params['conv1'], stride), params['norm']))
    hidden = self.conv(hidden, params['conv2'])
    skip = x if resample == 'keep' else self.conv(x, params['skip'], stride, padding=0)
    return functional.silu(hidden + skip)

  def embed(self, labels):
    functional = self.torch.nn.functional
    one_hot = functional.one_hot(self.tensor(labels).long(), 10).float()
    return functional.silu(self.dense(one_hot, self.params['class_embedding']))

  def encode(self, images, labels):
    layers = self.params['encoder']
    x = self.tensor(images).permute(0, 3, 1, 2)
    x = self.torch.nn.functional.silu(
      self.normalize(self.conv(x, layers['stem']), layers['stem_norm'])
    )
    x = self.block(x, layers['down0'], 'down')
    x = self.block(x, layers['down1'], 'down')
    x = self.block(x, layers['middle'], 'keep')
    features = self.torch.cat([x.mean((2, 3)), self.embed(labels)], dim=1)
    return self.dense(features, self.params['mean_head']), self.dense(
      features, self.params['logvar_head']
    )

  def decode(self, latents, labels):
    layers = self.params['decoder']
    features = self.torch.cat([self.tensor(latents), self.embed(labels)], dim=1)
    x = self.dense(features, layers['project']).reshape(-1, 7, 7, 64).permute(0, 3, 1, 2)
    x = self.block(x, layers['up1'], 'up')
    x = self.block(x, layers['up0'], 'up')
    return self.conv(x, layers['output'], padding=0).permute(0, 2, 3, 1)


@pytest.mark.parametrize('norm', ['group', pytest.param('batch', marks=pytest.mark.slow)])
def test_same_numbers_as_pytorch(norm):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  config = published(model__norm=norm)
  model = cvae.build(config)
  variables = jax.tree.map(
    # Biases and scales off their initial 0 and 1, so that a forgotten one shows.
    lambda leaf: leaf + 0.1 * np.random.RandomState(leaf.size).randn(*leaf.shape).astype('float32'),
    jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0)),
  )
  rng = np.random.RandomState(1)
  images, labels = rng.rand(6, 28, 28, 1).astype('float32'), np.array([0, 3, 3, 9, 5, 1])
  latents = rng.randn(6, 16).astype('float32')
  reference = TorchReference(variables['params'], norm, torch)

  def apply(method, inputs):
    run = jax.jit(
      lambda inputs: model.apply(
        variables, inputs, labels, train=True, method=method, mutable=['batch_stats']
      )[0]
    )
    return run(inputs)

  with torch.no_grad():
    pairs = [
      *zip(apply('encode', images), reference.encode(images, labels), strict=True),
      (apply('decode', latents), reference.decode(latents, labels)),
    ]
  for ours, theirs in pairs:
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
