"""The programs of a page against JAX, run by the page's kernels outside of a browser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import saved_models
from cvae_jax.exporting.page import functions, payload
from cvae_jax.exporting.page.functions import Function
from cvae_jax.runtime.errors import InputError

pytest.importorskip('wasmtime', reason='wasmtime is not installed (make export-tools)')
from page_engine import Engine


def run(function, *arguments):
  """The outputs of a function of arrays as a page computes them, in the shapes of JAX."""
  named = {f'x{number}': value for number, value in enumerate(arguments)}
  shapes = {n: jax.ShapeDtypeStruct(np.shape(v), v.dtype) for n, v in named.items()}
  tuple_of = lambda *values: jax.tree.leaves(function(*values))  # noqa: E731
  outputs = Engine(payload.pack({'f': Function(tuple_of, shapes)}, {})).run('f', **named)
  return [
    output.reshape(np.shape(want))
    for output, want in zip(outputs, tuple_of(*arguments), strict=True)
  ]


def check(function, *arguments, tolerance=1e-6):
  """A page computes what JAX does, to a relative tolerance."""
  for got, want in zip(
    run(function, *arguments), jax.tree.leaves(function(*arguments)), strict=True
  ):
    np.testing.assert_allclose(got, want, tolerance, tolerance, equal_nan=True)


def numbers(*shape, seed=0):
  return np.asarray(np.random.RandomState(seed).randn(*shape), np.float32)


FINITE = [0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 1e-8, -1e-8, 3e-5, 20, -20, 88, -87, 89, -100, 1e-40]
EXTREMES = np.float32([*FINITE, 1e30, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize(
  'name',
  [
    'exp',
    'log',
    'log1p',
    'expm1',
    'logistic',
    'tanh',
    'sign',
    'neg',
    'abs',
    'sqrt',
    'rsqrt',
    'square',
    'floor',
    'is_finite',
  ],
)
def test_functions_of_one_value_at_all_magnitudes(name):
  function = getattr(jax.lax, name)
  got, want = run(function, EXTREMES)[0], np.asarray(function(EXTREMES))
  # Numbers below the smallest normal one are flushed to 0 by XLA.
  normal = np.abs(EXTREMES) != np.float32(1e-40)
  np.testing.assert_allclose(got[normal], want[normal], 3e-7, 1e-37)
  assert np.signbit(got[1]) == np.signbit(want[1])


@pytest.mark.parametrize(
  'name', ['add', 'sub', 'mul', 'div', 'max', 'min', 'eq', 'ne', 'lt', 'le', 'gt', 'ge']
)
@pytest.mark.parametrize('shapes', [((3, 7), (3, 7)), ((3, 7), ()), ((7,), (3, 7)), ((3, 1), (7,))])
def test_functions_of_two_values(name, shapes):
  first, second = numbers(*shapes[0]), np.asarray(np.abs(numbers(*shapes[1], seed=1)))
  function = getattr(jax.lax, name)
  check(lambda a, b: function(*jnp.broadcast_arrays(a, b)), first, second)


@pytest.mark.parametrize(
  'function',
  [
    lambda x: jnp.transpose(x, (2, 0, 1)),
    lambda x: x[:, ::-1, 1:4],
    lambda x: x[1:, ::2],
    lambda x: jnp.concatenate([x, x[:, :, :2]], axis=2),
    lambda x: jnp.stack([x, -x], axis=1),
    lambda x: jnp.split(x, 2, axis=0),
    lambda x: jnp.pad(x, ((0, 1), (2, 0), (1, 1)), constant_values=2.0),
    lambda x: jax.lax.pad(x, 0.0, ((0, 0, 1), (1, 0, 2), (0, 0, 0))),
    lambda x: jnp.broadcast_to(x[:, :1], x.shape),
    lambda x: jnp.broadcast_to(x[:1], x.shape) + 1,
    lambda x: x.sum(axis=(0, 2)),
    lambda x: x.sum(axis=1),
    lambda x: x.max(axis=-1) - x.min(),
    lambda x: jnp.argmax(x, axis=1),
    lambda x: jnp.argmax(x, axis=-1),
    lambda x: jnp.cumsum(x, axis=1),
    lambda x: jnp.any(x > 1, axis=0),
    lambda x: jnp.where(x > 0, x, 7.0),
    lambda x: jnp.clip(x, -0.5, 0.5),
    lambda x: x**3 + x**-2 + jnp.round(x),
    lambda x: (x * 3).astype(jnp.int32) // 2,
    lambda x: jnp.einsum('abc,abd->acd', x, x),
    lambda x: jnp.einsum('abc,dbe->daec', x, x),
    lambda x: jax.nn.logsumexp(x, axis=1) + jax.nn.softplus(x).sum(axis=1),
    lambda x: jax.nn.one_hot(x.astype(jnp.int32)[0, 0], 4),
    lambda x: x[jnp.asarray([1, 0, 1])] + 0 * x[:1],
    lambda x: x[x.astype(jnp.int32)[0, 0] % 4],
    lambda x: jnp.take_along_axis(x, jnp.argmax(x, axis=1, keepdims=True), axis=1),
  ],
)
def test_operations(function):
  check(function, numbers(4, 6, 5))


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [1, 3, 5, 9])
@pytest.mark.parametrize('channels', [(1, 1), (3, 7), (2, 8), (5, 30)])
def test_convolutions(stride, size, channels):
  maps, kernel = numbers(1, size, size + 1, channels[0]), numbers(3, 3, *channels, seed=1)
  check(
    lambda maps: jax.lax.conv_general_dilated(
      maps, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    ),
    maps,
    tolerance=1e-5,
  )


def test_a_transposed_convolution_of_channels_first():
  kernel = numbers(3, 2, 3, 3, seed=1)
  convolve = lambda maps: jax.lax.conv_general_dilated(  # noqa: E731
    maps, kernel, (1, 1), ((1, 2), (1, 2)), (2, 2), dimension_numbers=('NCHW', 'OIHW', 'NCHW')
  )
  check(convolve, numbers(1, 2, 4, 5), tolerance=1e-5)


def test_an_operation_without_a_kernel_is_named():
  with pytest.raises(InputError, match="'erf'"):
    run(jax.lax.erf, EXTREMES)


def test_rounded_weights_lie_within_half_a_unit():
  weights = numbers(40, 50)
  got = run(lambda x: x @ weights, np.eye(40, dtype=np.float32)[:1])[0]
  assert 0 < np.abs(got - weights[0]).max() <= np.abs(weights).max() / 2**payload.BITS + 1e-7


MODELS = [
  *({'model__name': name} for name in ('resnet', 'conv', 'conv_resize', 'mlp', 'conv_mlp')),
  *({'model__norm': norm, 'model__name': 'resnet'} for norm in ('group', 'batch')),
  {'model__name': 'resnet', 'model__depth': 2, 'model__pool': False, 'model__activation': 'relu'},
  {'model__name': 'conv', 'data__image_size': (8, 11), 'model__activation': 'leaky_relu'},
  {'model__name': 'resnet', 'precision': 'bfloat16'},
  *({'prior': prior} for prior in ('standard', 'class_gaussian', 'vamp', 'flow')),
  *({'prior': prior, 'conditional': False} for prior in ('standard', 'vamp', 'flow')),
  *({'likelihood': name} for name in ('gaussian', 'gaussian_learned', 'l2', 'charbonnier')),
  {'likelihood': 'discretized_logistic'},
  *({'columns': saved_models.COLUMNS, 'prior': prior} for prior in ('standard', 'flow')),
  {'columns': saved_models.COLUMNS, 'prior': 'vamp', 'fitted': True},
  {'fitted': True},
  {'fitted': True, 'conditional': False},
]


@pytest.mark.parametrize('changes', MODELS, ids=str)
def test_a_model(tmp_path, changes):
  model = saved_models.save(tmp_path / 'model', **changes)
  pages = functions.functions_of(model)
  engine = Engine(payload.pack(pages, {}))
  assert ('restyle' in pages) == (
    model.conditional and changes.get('prior', 'standard') != 'standard'
  )
  given = {
    'image': np.random.RandomState(1).rand(1, *model.image_shape),
    'uniform': 0.6,
    'row': [[2, np.nan, 0.5]] if model.columns and changes.get('columns') else [2],
    'other': [[1, 0, 0.5]] if changes.get('columns') else [1],
  }
  for name, function in pages.items():
    inputs = {
      key: np.asarray(given.get(key, numbers(*like.shape)), like.dtype).reshape(like.shape)
      for key, like in function.inputs.items()
    }
    wanted = [np.ravel(want) for want in jax.jit(function.call)(*inputs.values())]
    outputs = engine.run(name, **inputs)
    for output, want in zip(outputs, wanted, strict=True):
      np.testing.assert_allclose(output, want, 2e-5, 2e-5, err_msg=name)
