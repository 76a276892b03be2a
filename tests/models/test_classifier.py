"""The network of the reference classifiers, and the distance in its maps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets

from cvae_jax.models import classifier
from cvae_jax.models.classifier import MAX_WIDTH, NUM_FEATURES, Network
from cvae_jax.runtime.errors import InputError
from tiny import tiny_config

NAMES = ('digits', 'fashion_mnist', 'mnist')  # whose images are grey, 28×28


def shipped(name='digits'):
  config = tiny_config(data__name=name, data__image_size=28, perceptual_weight=1.0)
  return classifier.load(classifier.shipped_for(config))


@pytest.fixture(scope='module')
def digits():
  images = np.float32(datasets.load_digits().images[:12] / 16)
  return np.float32(jax.image.resize(images, (12, 28, 28), 'bilinear'))[..., None]


@pytest.mark.parametrize('shape', [(8, 256, 4), (256, 8, 2)])
def test_both_sides_of_an_image_shrink_to_a_few_pixels(shape):
  network, images = Network(3), jnp.zeros((2, *shape))
  initialized = partial(network.init, train=False)
  variables = jax.eval_shape(initialized, jax.random.key(0), images)
  inputs, _ = variables['params']['Dense_0']['kernel'].shape
  assert inputs <= 4 * 4 * MAX_WIDTH
  features, logits = jax.eval_shape(partial(network.apply, train=False), variables, images)
  assert (features.shape, logits.shape) == ((2, NUM_FEATURES), (2, 3))


def convolved(images, kernel):
  """A 3×3 convolution of stride 2, padded by one pixel, in NumPy."""
  padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
  return np.einsum('nhwcij,ijco->nhwo', windows, kernel)


def directions(variables, images):
  """The maps of a classifier, of length 1 at each pixel, from its definition."""
  hidden, params, stats = images - 0.5, variables['params'], variables['batch_stats']
  for number in range(3):
    norm, known = params[f'BatchNorm_{number}'], stats[f'BatchNorm_{number}']
    hidden = convolved(hidden, params[f'Conv_{number}']['kernel'])
    hidden = (hidden - known['mean']) / np.sqrt(known['var'] + 1e-5) * norm['scale'] + norm['bias']
    hidden = np.maximum(hidden, 0)
    length = np.sqrt((hidden**2).sum(-1, keepdims=True) + classifier.MIN_LENGTH**2)
    yield hidden / length


def test_the_distance_is_that_of_its_definition(digits):
  variables = shipped()
  others = np.roll(digits, 1, axis=0)
  expected = sum(
    ((one - other) ** 2).sum(-1).mean((1, 2))
    for one, other in zip(*(directions(variables, x) for x in (digits, others)), strict=True)
  )
  found = jax.jit(classifier.perceptual_distance)(variables, digits, others)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert found.shape == (12,)
  assert 0.5 < found.min() < found.max() < 3 * 2


def test_equal_images_have_no_distance_and_black_ones_a_finite_gradient(digits):
  variables = shipped()
  distance = jax.jit(classifier.perceptual_distance)
  np.testing.assert_allclose(distance(variables, digits, digits), 0, atol=1e-6)
  black = jnp.zeros_like(digits)
  gradient = jax.grad(lambda x: jnp.sum(distance(variables, digits, x)))
  for images in (black, digits, digits + 2.0):
    assert np.isfinite(gradient(images)).all()
  assert np.abs(gradient(black)).max() > 1e-3


@pytest.mark.parametrize('name', NAMES)
def test_it_grows_with_blur(name):
  images = np.zeros((1, 28, 28, 1), np.float32)
  images[:, 6:22, 8:20] = np.linspace(0.4, 1.0, 12).reshape(1, 1, 12, 1)
  kernel = np.float32([0.25, 0.5, 0.25])
  distances, blurred = [], images
  for _ in range(3):
    for axis in (1, 2):
      blurred = np.apply_along_axis(np.convolve, axis, blurred, kernel, 'same')
    distances.append(float(classifier.perceptual_distance(shipped(name), images, blurred)[0]))
  assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize('name', classifier.SHIPPED_SHAPES)
def test_each_shipped_classifier_is_for_the_size_that_is_stated(name):
  assert {path.stem for path in classifier.SHIPPED.iterdir()} == set(classifier.SHIPPED_SHAPES)
  shape = classifier.SHIPPED_SHAPES[name]
  fields = {'data__name': name, 'data__image_size': shape[0], 'data__channels': shape[2]}
  path = classifier.shipped_for(tiny_config(**fields, perceptual_weight=1.0))
  assert path.stem == name
  images = np.zeros((1, *shape), np.float32)
  expected = Network(10).init(jax.random.key(0), images, train=False)
  assert jax.tree.map(jnp.shape, classifier.load(path)) == jax.tree.map(jnp.shape, expected)


@pytest.mark.parametrize(
  'changes', [{'data__name': 'cifar10'}, {'data__image_size': 32}, {'data__channels': 3}]
)
def test_only_images_whose_classifier_ships_have_a_distance(changes):
  fields = {'data__name': 'mnist', 'data__image_size': 28, 'perceptual_weight': 0.5} | changes
  with pytest.raises(InputError, match=r'perceptual_weight=0\.5.*cifar10 at 32×32×3'):
    classifier.shipped_for(tiny_config(**fields))
