"""Rows of a table as inputs of the network, against NumPy; one category is as labels are."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.models import conditions, cvae
from cvae_jax.models.conditions import Input
from tiny import tiny_config

KINDS = (
  Input('number', 0, True, False),
  Input('category', 3, True, False),
  Input('flag', 0, False, False),
  Input('category', 2, False, True),
  Input('flag', 0, True, False),
  Input('number', 0, False, False),
)
NAN = math.nan
ROWS = np.float32(
  [
    [0.5, 2, 1, 0, 0, -1.25],
    [-3, 0, 0, 1, 1, 4],
    [NAN, NAN, NAN, NAN, NAN, NAN],
    [2, NAN, 1, 1, NAN, 0.125],
  ]
)


def reference(columns, row):
  """The inputs of one row, one after another."""
  inputs = []
  for column, value in zip(columns, row, strict=True):
    unknown = np.isnan(value)
    if column.kind == 'category':
      one_hot = [0.0] * column.num_names
      if not unknown:
        one_hot[int(value)] = 1.0
      inputs += one_hot
    else:
      inputs.append(0.0 if unknown else float(value))
    if column.has_unknown:
      inputs.append(float(unknown))
  return inputs


def built(columns=(), **changes):
  config = tiny_config(data__columns=columns, **changes)
  return initialized(cvae.build(config))


@functools.cache
def initialized(network):
  return network, jax.jit(functools.partial(cvae.init, network))(jax.random.key(0))


def forward(network, variables, images, rows):
  draw = lambda mean, logvar: mean + jnp.exp(0.5 * logvar)  # noqa: E731
  return jax.jit(functools.partial(network.apply, draw=draw, train=False))(variables, images, rows)


@pytest.mark.parametrize('shape', [(4,), (2, 2)])
def test_inputs_of_every_kind(shape):
  expected = np.float32([reference(KINDS, row) for row in ROWS])
  assert expected.shape == (4, 2 + 4 + 1 + 2 + 2 + 1)
  actual = conditions.inputs_of(KINDS, ROWS.reshape(*shape, -1))
  np.testing.assert_array_equal(actual, expected.reshape(*shape, -1))


def test_each_column_alone():
  for number, column in enumerate(KINDS):
    expected = [reference([column], [value]) for value in ROWS[:, number]]
    actual = conditions.inputs_of((column,), ROWS[:, number, None])
    np.testing.assert_array_equal(actual, np.float32(expected))


@pytest.mark.parametrize(
  ('text', 'changes', 'expected'),
  [
    ('category:7', {}, Input('category', 7, False, False)),
    ('category:7?', {}, Input('category', 7, False, True)),
    ('category:7?', {'classifier_weight': 0.0}, Input('category', 7, True, False)),
    ('category:7', {'condition_dropout': 0.1}, Input('category', 7, True, False)),
    ('category:7?', {'condition_dropout': 0.1}, Input('category', 7, True, True)),
    ('flag', {}, Input('flag', 0, False, False)),
    ('flag?', {}, Input('flag', 0, True, False)),
    ('number', {'condition_dropout': 0.1}, Input('number', 0, True, False)),
    ('number?', {'classifier_weight': 0.0}, Input('number', 0, True, False)),
  ],
)
def test_what_the_network_is_given_of_a_column(text, changes, expected):
  config = tiny_config(data__columns=(text,), **changes)
  assert conditions.of_config(config) == (expected,)


def test_without_a_table_conditions_are_numbers_of_classes():
  assert conditions.of_config(tiny_config()) == ()


def test_the_class_of_a_row_is_its_first_category():
  np.testing.assert_array_equal(conditions.labels_of(KINDS, ROWS), [2, 0, 0, 0])
  np.testing.assert_array_equal(conditions.labels_of(KINDS, ROWS[:, None])[:, 0], [2, 0, 0, 0])
  np.testing.assert_array_equal(conditions.labels_of(KINDS[3:], ROWS[:, 3:]), [0, 1, 0, 1])
  np.testing.assert_array_equal(conditions.labels_of(KINDS[4:], ROWS[:, 4:]), [0] * 4)


def test_a_row_of_a_class_knows_nothing_else():
  rows = conditions.rows_of(KINDS, jnp.array([2, 0, 1]))
  expected = np.full((3, 6), np.nan)
  expected[:, 1] = 2, 0, 1
  np.testing.assert_array_equal(rows, expected)
  assert np.isnan(conditions.rows_of(KINDS[4:], jnp.array([2, 0]))).all()


MANY = ('number?', 'category:3?', 'flag', 'category:2?', 'flag?', 'number')


@pytest.mark.parametrize('prior', ['standard', 'flow'])
@pytest.mark.parametrize('classifier_weight', [0.0, 1.0])
def test_empty_cells_give_no_nan(prior, classifier_weight):
  network, variables = built(
    MANY, prior=prior, classifier_weight=classifier_weight, data__num_classes=3
  )
  images = np.random.RandomState(0).rand(4, 8, 8, 1).astype(np.float32)
  draw = lambda mean, logvar: mean + jnp.exp(0.5 * logvar)  # noqa: E731

  def total(params):
    result = network.apply({'params': params}, images, ROWS, draw=draw, train=False)
    return sum(jnp.sum(jnp.square(x)) for x in result)

  value, slope = jax.jit(jax.value_and_grad(total))(variables['params'])
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
  assert np.abs(slope['class_embedding']['kernel']).sum() > 0


def test_every_column_reaches_both_sides():
  network, variables = built(MANY, classifier_weight=0.0, data__num_classes=3)
  images = np.ones((1, 8, 8, 1), np.float32)
  known = np.float32([[0.5, 2, 1, 0, 0, -1.25]])
  before = forward(network, variables, images, known)
  for number, others in enumerate([(0, NAN), (0, NAN), (0,), (1, NAN), (1, NAN), (3,)]):
    for value in others:
      changed = known.copy()
      changed[0, number] = value
      after = forward(network, variables, images, changed)
      assert not np.allclose(after.mean, before.mean)
      assert not np.allclose(after.outputs, before.outputs)


def test_one_category_has_the_parameters_of_labels():
  config = config_lib.named('mnist')
  labels = cvae.abstract_variables(cvae.build(config))
  config.data.columns = ('category:10',)
  table = cvae.abstract_variables(cvae.build(config))
  assert sum(leaf.size for leaf in jax.tree.leaves(table['params'])) == 365_937
  assert jax.tree.structure(table) == jax.tree.structure(labels)
  assert jax.tree.leaves(table) == jax.tree.leaves(labels)


@pytest.mark.parametrize('prior', ['standard', 'class_gaussian', 'vamp', 'flow'])
def test_one_category_without_empty_cells_is_as_labels_are(prior):
  images = np.random.RandomState(0).rand(6, 8, 8, 1).astype(np.float32)
  labels = np.int32([3, 7, 0, 9, 3, 1])
  small = {'prior': prior, 'model__num_flow_layers': 2, 'model__num_pseudo_inputs': 2}
  network, variables = built(**small)
  table, same = built(('category:10',), **small)
  # The flow, the identity so far, is given the embedding of a table, else one-hot labels.
  others = lambda params: params | {'prior': 0} if prior == 'flow' else params  # noqa: E731
  jax.tree.map(np.testing.assert_array_equal, others(same['params']), others(variables['params']))
  expected = forward(network, variables, images, labels)
  actual = forward(table, same, images, np.float32(labels)[:, None])
  for one, other in zip(actual, expected, strict=True):
    np.testing.assert_array_equal(one, other)


def test_mixtures_lie_between_conditions():
  network, variables = built(MANY, classifier_weight=0.0, data__num_classes=3)
  rows = np.float32([[0.5, 2, 1, 0, 0, -1.25], [-3, 0, 0, 1, 1, 4]])
  latents = np.random.RandomState(0).randn(2, 3).astype(np.float32)
  decode = functools.partial(network.apply, variables, latents, train=False, method='decode')
  inputs = conditions.inputs_of(network.columns, rows)
  np.testing.assert_array_equal(decode(cvae.Mixtures(inputs)), decode(rows))
  kernel, bias = (variables['params']['class_embedding'][name] for name in ('kernel', 'bias'))
  half = jnp.broadcast_to(inputs.mean(axis=0), inputs.shape)
  embedding = network.apply(variables, cvae.Mixtures(half), method='embed')
  before = np.float64(inputs.mean(axis=0) @ np.float64(kernel) + np.float64(bias))
  np.testing.assert_allclose(embedding, [before / (1 + np.exp(-before))] * 2, rtol=1e-5)
