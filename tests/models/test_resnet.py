"""The ResNet CVAE against the same network in PyTorch, and its shapes and counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.models import cvae
from tiny import RESNET, STEPS_PER_EPOCH, set_fields, tiny_config

KEY, STEP = jax.random.key(1), 9


def published(**changes):
  config = config_lib.default()
  config.data.image_size = 28
  return set_fields(config, changes)


def variables_of(config):
  network = cvae.build(config)
  return jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))


def count(config):
  params = cvae.abstract_variables(cvae.build(config))['params']
  return sum(leaf.size for leaf in jax.tree.leaves(params))


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
  config = tiny_config(precision='bfloat16', **RESNET)
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

  low, high = outputs(config), outputs(tiny_config(**RESNET))
  for a, b in zip(low, high, strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.05)
  assert not np.array_equal(low[0], high[0])


@pytest.mark.parametrize('precision', ['float32', pytest.param('bfloat16', marks=pytest.mark.slow)])
def test_the_compiler_options_change_no_gradient(precision):
  """Some experimental options of XLA did: oneDNN's in jax 0.12."""
  config = tiny_config(precision=precision, **RESNET)
  task = tasks.build(config, STEPS_PER_EPOCH)
  variables = jax.jit(task.init)(jax.random.key(0))
  images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)

  def gradients(variables):
    loss = lambda v: task.loss(v, (images, jnp.arange(4)), task.hyperparameters, KEY, STEP)  # noqa: E731
    return jax.grad(loss, has_aux=True)(variables)[0]

  with_options = jax.jit(gradients, compiler_options=task.compiler_options)(variables)
  without = jax.jit(gradients)(variables)
  tolerance = {'float32': 1e-5, 'bfloat16': 0.1}[precision]
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(with_options), jax.tree.leaves(without), strict=True
  ):
    error = np.abs(a - b).max() / np.abs(b).max()
    assert error < tolerance, (jax.tree_util.keystr(path), error)


@pytest.mark.slow
def test_relu_is_selectable():
  config = tiny_config(**RESNET)
  variables = variables_of(config)
  images, labels = jnp.ones((1, 8, 8, 1)), jnp.zeros(1, jnp.int32)
  means = [
    jax.jit(partial(network.apply, train=False, method='encode'))(variables, images, labels)[0]
    for network in (
      cvae.build(tiny_config(model__activation=name, **RESNET)) for name in ('silu', 'relu')
    )
  ]
  assert not np.allclose(*means)


@pytest.mark.slow
def test_batch_norm_follows_the_batch_in_training_and_its_statistics_after():
  config = tiny_config(**RESNET | {'model__norm': 'batch'})
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


# Latents that are a map of 7×7×4.
SPATIAL = {'conditional': False, 'latent_dim': 7 * 7 * 4, 'model__latent_channels': 4}


def test_latents_that_are_a_map_cost_convolutions_in_place_of_dense_layers():
  flat = count(published(conditional=False, latent_dim=196, model__pool=False))
  heads, project = 2 * (64 * 4 + 4), 9 * 4 * 64 + 64
  dense_heads, dense_project = 2 * (3136 * 196 + 196), 196 * 3136 + 3136
  assert count(published(**SPATIAL)) == flat - dense_heads - dense_project + heads + project


@pytest.mark.slow
def test_a_latent_of_a_map_belongs_to_its_place_in_the_image():
  """28×44 pixels are a map of 7×11, row by row; without norms a convolution has a finite reach."""
  network = cvae.build(
    tiny_config(
      **RESNET
      | {'data__image_size': (28, 44), 'model__norm': 'none', 'model__latent_channels': 2}
      | {'latent_dim': 7 * 11 * 2, 'conditional': False}
    )
  )
  variables = jax.jit(lambda key: cvae.init(network, key))(jax.random.key(0))
  labels = jnp.zeros(4, jnp.int32)
  places = np.array([(0, 0), (0, 10), (6, 0)])
  latents, images = np.zeros((4, 7, 11, 2), np.float32), np.zeros((4, 28, 44, 1), np.float32)
  for number, (row, column) in enumerate(places, start=1):
    latents[number, row, column] = 3.0
    images[number, 4 * row + 1, 4 * column + 1] = 1.0
  decode, encode = (
    jax.jit(partial(network.apply, train=False, method=name)) for name in ('decode', 'encode')
  )
  outputs = np.asarray(decode(variables, latents.reshape(4, -1), labels))
  means = np.asarray(encode(variables, images, labels)[0]).reshape(latents.shape)
  for number, place in enumerate(places, start=1):
    changed = np.argwhere((outputs[number] != outputs[0]).any(-1)) // 4
    moved = np.argwhere((means[number] != means[0]).any(-1))
    assert 1 <= np.abs(changed - place).max() <= 3
    assert 1 <= np.abs(moved - place).max() <= 5


@pytest.mark.parametrize(
  ('norm', 'changes'),
  [
    ('group', {}),
    ('group', SPATIAL),
    pytest.param('batch', {}, marks=pytest.mark.slow),
  ],
)
def test_same_numbers_as_pytorch(norm, changes):
  """The table of the README, layer by layer."""
  layers = pytest.importorskip('torch_layers', reason='PyTorch is not installed')
  import torch
  from torch.nn import functional

  network = cvae.build(published(model__norm=norm, **changes))
  variables = layers.random_variables(network)
  params = variables['params']

  def normalize(x, params):
    ((_, params),) = params.items()
    scale, bias = (torch.from_numpy(params[name]) for name in ('scale', 'bias'))
    if norm == 'batch':
      return functional.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)
    return functional.group_norm(x, 8, scale, bias, eps=1e-5)

  def block(x, params, resample):
    if resample == 'up':
      x = functional.interpolate(x, scale_factor=2, mode='nearest')
    stride = 2 if resample == 'down' else 1
    hidden = functional.silu(normalize(layers.conv(params['conv1'], stride)(x), params['norm']))
    skip = x if resample == 'keep' else layers.conv(params['skip'], stride)(x)
    return functional.silu(layers.conv(params['conv2'])(hidden) + skip)

  def with_class(features, one_hot):
    if not network.conditional:
      return features
    embedding = functional.silu(layers.dense(params['class_embedding'])(one_hot))
    return torch.cat([features, embedding], dim=1)

  def encode(images, one_hot):
    encoder = params['encoder']
    x = functional.silu(normalize(layers.conv(encoder['stem'])(images), encoder['stem_norm']))
    for name, resample in (('down0', 'down'), ('down1', 'down'), ('middle', 'keep')):
      x = block(x, encoder[name], resample)
    if network.latent_map:  # 1×1 convolutions, row by row
      pixels = x.permute(0, 2, 3, 1)
      heads = (layers.dense(params[f'{name}_head'])(pixels) for name in ('mean', 'logvar'))
      return [head.reshape(len(x), -1) for head in heads]
    features = with_class(x.mean((2, 3)), one_hot)
    return [layers.dense(params[f'{name}_head'])(features) for name in ('mean', 'logvar')]

  def decode(latents, one_hot):
    decoder = params['decoder']
    if network.latent_map:
      x = layers.conv(decoder['project'])(latents.reshape(-1, 7, 7, 4).permute(0, 3, 1, 2))
    else:
      x = layers.dense(decoder['project'])(with_class(latents, one_hot))
      x = x.reshape(-1, 7, 7, 64).permute(0, 3, 1, 2)
    for name in ('up1', 'up0'):
      x = block(x, decoder[name], 'up')
    return layers.conv(decoder['output'])(x)

  layers.assert_same(network, variables, encode, decode)
