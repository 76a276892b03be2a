"""The networks of flow matching: 0 at first, what they depend on, their maps and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.models import flow_matching, velocity
from cvae_jax.runtime.errors import InputError

NAMES = ('mlp', 'unet', 'dit')
SPATIAL = ('unet', 'dit')


def network_of(name, shape=(7, 7, 4), width=32, depth=1, **fields):
  given = {'velocity.name': name, 'velocity.width': width, 'velocity.depth': depth} | fields
  config = config_lib.default(**given)
  config_lib.check(config)
  return velocity.build(config, shape)


def inputs(shape=(7, 7, 4), number=3, context=5):
  random = np.random.RandomState(0)
  points = jnp.float32(random.randn(number, np.prod(shape)))
  return points, jnp.linspace(0.2, 0.8, number), jnp.float32(random.randn(number, context))


def initialized(network, *arrays):
  return jax.jit(network.init)(jax.random.key(0), *arrays)


def shaken(params, scale=0.1):
  """Parameters as after training: none is 0."""
  random = np.random.RandomState(0)
  return jax.tree.map(lambda leaf: leaf + jnp.float32(scale * random.randn(*leaf.shape)), params)


def apply(network, params, *arrays):
  return np.asarray(jax.jit(network.apply)(params, *arrays))


def count(network, shape, context=16):
  params = jax.eval_shape(network.init, jax.random.key(0), *inputs(shape, 1, context))
  return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('context', [0, 5])
def test_zero_at_first(name, context):
  network, arrays = network_of(name), inputs(context=context)
  outputs = apply(network, initialized(network, *arrays), *arrays)
  assert outputs.dtype == np.float32
  np.testing.assert_array_equal(outputs, np.zeros((3, 196)))


@pytest.mark.parametrize('name', NAMES)
def test_depends_on_points_times_and_context_of_the_same_image_alone(name):
  network, arrays = network_of(name), inputs()
  params = shaken(initialized(network, *arrays))
  before = apply(network, params, *arrays)
  for number in range(3):
    changed = list(arrays)
    changed[number] = changed[number].at[1].add(0.1)
    after = apply(network, params, *changed)
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], atol=1e-5)
    assert np.abs(after[1] - before[1]).max() > 1e-3, number


def test_features_tell_all_times_apart():
  features = np.asarray(velocity.time_features(jnp.linspace(0, 1, 101)))
  distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
  assert distances[~np.eye(101, dtype=bool)].min() > 0.3
  assert np.abs(features).max() <= 1


@pytest.mark.parametrize('name', SPATIAL)
def test_points_are_maps_row_by_row(name):
  """A network whose kernels and positions are transposed gives transposed velocities."""
  height, width, arrays = 6, 4, inputs((6, 4, 3))
  network, other = network_of(name, (6, 4, 3)), network_of(name, (4, 6, 3))
  params = shaken(initialized(network, *arrays))

  def transposed(flat, height, width):
    maps = flat.reshape(*flat.shape[:-1], height, width, -1)
    return np.swapaxes(maps, -3, -2).reshape(flat.shape)

  def of_other(path, leaf):
    if path[-1].key == 'positions':
      return np.swapaxes(leaf.reshape(height, width, -1), 0, 1).reshape(leaf.shape)
    return np.swapaxes(leaf, 0, 1) if leaf.ndim == 4 else leaf

  expected = transposed(apply(network, params, *arrays), height, width)
  points, times, context = arrays
  arrays = transposed(points, height, width), times, context
  outputs = apply(other, jax.tree_util.tree_map_with_path(of_other, params), *arrays)
  np.testing.assert_allclose(outputs, expected, atol=1e-4)


@pytest.mark.parametrize('name', SPATIAL)
def test_flat_latents_have_no_map(name):
  with pytest.raises(InputError, match=f"velocity.name='{name}'.*64"):
    network_of(name, (64,))


def test_mlp_takes_latents_of_any_shape():
  assert count(network_of('mlp', (49,)), (49,)) == count(network_of('mlp', (7, 7, 1)), (49,))


@pytest.mark.parametrize(('field', 'value'), [('width', 100), ('width', 0), ('depth', 0)])
def test_unusable_sizes(field, value):
  with pytest.raises(InputError, match=f'velocity.{field}={value}'):
    network_of('mlp', **{field: value})


def test_number_of_parameters():
  """Counted by hand: of the signal, of each block with its modulation, of input and output."""
  dense = lambda i, o: i * o + o  # noqa: E731
  conv = lambda i, o: 9 * i * o + o  # noqa: E731
  w, depth = 64, 2
  signal = dense(64 + 16, w) + dense(w, w)
  ends = dense(196, w) + dense(w, 2 * w) + dense(w, 196)
  block = dense(w, 2 * w) + dense(2 * w, w) + dense(w, 3 * w)
  assert count(network_of('mlp', width=w, depth=depth), (7, 7, 4)) == signal + ends + depth * block
  ends = dense(4, w) + 49 * w + dense(w, 2 * w) + dense(w, 4)
  block = 12 * w * w + 9 * w + dense(w, 6 * w)
  assert count(network_of('dit', width=w, depth=depth), (7, 7, 4)) == signal + ends + depth * block
  block = lambda c: 2 * conv(c, c) + 4 * c + dense(w, 3 * c)  # noqa: E731
  ends = conv(4, w // 2) + conv(w // 2, w) + conv(w, w // 2) + w + conv(w // 2, 4)
  blocks = depth * (2 * block(w // 2) + block(w))
  assert count(network_of('unet', width=w, depth=depth), (7, 7, 4)) == signal + ends + blocks


@pytest.mark.parametrize('name', NAMES)
def test_density_by_the_trace_of_the_jacobian(name):
  """One step of Heun from data to noise, with the Jacobians that JAX gives for the whole batch."""
  shape = (2, 3, 2)
  network, arrays = network_of(name, shape), inputs(shape, number=2)
  params = shaken(initialized(network, *arrays), scale=0.05)
  field = lambda points, times: network.apply(params, points, times, arrays[2])  # noqa: E731
  log_prob = jax.jit(lambda points: flow_matching.log_prob(field, points, 1))(arrays[0])

  @jax.jit
  def with_trace(points, time):
    at_time = lambda points: field(points, jnp.full(2, time))  # noqa: E731
    jacobians = jax.jacrev(at_time)(points)
    return at_time(points), jnp.array([jnp.trace(jacobians[i, :, i]) for i in range(2)])

  first, trace = with_trace(arrays[0], 1.0)
  second, other_trace = with_trace(arrays[0] - first, 0.0)
  noise = arrays[0] - (first + second) / 2
  expected = jax.scipy.stats.norm.logpdf(noise).sum(axis=-1) - (trace + other_trace) / 2
  assert np.abs(trace).min() > 1e-3
  np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', SPATIAL)
def test_bfloat16_computes_near_float32(name):
  arrays = inputs()
  params = shaken(initialized(network_of(name), *arrays))
  exact = apply(network_of(name), params, *arrays)
  rough = apply(network_of(name, precision='bfloat16'), params, *arrays)
  assert rough.dtype == np.float32
  assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
