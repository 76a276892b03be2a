"""Conditions by the names of columns: what is read, drawn from training images, or refused."""

import dataclasses

import numpy as np
import pytest
import table_models

import cvae_jax
from cvae_jax.config import Column
from cvae_jax.inference import conditions as conditions_lib
from cvae_jax.inference.conditions import Conditioning
from cvae_jax.models.conditions import Input
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import training_table

NAN = np.nan
SIDE = Column('side', 'category', ('left', 'Right', 'up, down', '1'))
BAR = Column('bar', 'flag')
ANGLE = Column('angle', 'number', unit='degrees', mean=10, std=2, low=0, high=20)
COLUMNS = (SIDE, BAR, ANGLE)
# Joint rows of training images: no 'left' has a bar, and 'Right' have angles above 14 only.
TRAINING = np.array(
  [[0, 0, -1], [0, 0, -2], [0, 0, -3], [1, 1, 3], [1, 0, 4], [2, NAN, 0], [2, 1, 1]], np.float32
)


def of_columns(unknown=(False, True, False), inferred=(False,) * 3, training=TRAINING):
  inputs = [
    Input(column.kind, len(column.names), *known)
    for column, *known in zip(COLUMNS, unknown, inferred, strict=True)
  ]
  return Conditioning(COLUMNS, tuple(inputs), has_table=True, training=training)


@pytest.mark.parametrize(
  ('column', 'given', 'expected'),
  [
    (SIDE, 'left', 0.0),
    (SIDE, ['right', 'UP, DOWN', None, NAN], [1, 2, NAN, NAN]),
    (SIDE, [0, 2.0, np.float32(2), np.int64(0)], [0, 2, 2, 0]),
    (SIDE, [1, '1'], [3, 3]),  # a name before a number
    (SIDE, np.array(['left', 'Right']), [0, 1]),
    (BAR, ['yes', 'No', 'TRUE', 'false', '1', '0', 1, 0, 1.0], [1, 0, 1, 0, 1, 0, 1, 0, 1]),
    (BAR, np.array([True, False]), [1, 0]),
    (BAR, [[True], [None]], [1, NAN]),
    (ANGLE, 10, 0.0),
    (ANGLE, [12, '8', np.float32(10), None, NAN], [1, -1, 0, NAN, NAN]),
    (ANGLE, np.array([12, NAN], np.float32), [1, NAN]),
    (ANGLE, [np.float32(12), np.float32('nan')], [1, NAN]),
    (SIDE, [np.float32('nan')], [NAN]),
    (ANGLE, [], []),
  ],
)
def test_values_of_every_kind(column, given, expected):
  found = conditions_lib.values_of(column, given)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, np.float32(expected))


@pytest.mark.parametrize(
  ('column', 'given', 'named'),
  [
    (SIDE, 'lef', ["'lef'", 'side', "'left'"]),
    (SIDE, 4, ["'4'", '0 (left)']),
    (SIDE, -1, ["'-1'"]),
    (SIDE, 0.5, ["'0.5'"]),
    (SIDE, np.inf, ["'inf'"]),
    (BAR, 'maybe', ["bar='maybe'", 'yes', 'no']),
    (BAR, 2, ["bar='2'"]),
    (ANGLE, 'steep', ["angle='steep'", 'degrees']),
    (ANGLE, [1, np.inf], ["angle='inf'"]),
    (ANGLE, 1e300, ["angle='1e+300'"]),
    (ANGLE, [[1, 2]], ['angle', '(1, 2)']),
    (ANGLE, np.ma.array([1.0, 2], mask=[0, 1]), ['angle', 'masked']),
    (ANGLE, {'a': 1}, ['angle=']),
  ],
)
def test_values_that_a_column_does_not_hold_are_named(column, given, named):
  with pytest.raises(InputError) as raised:
    conditions_lib.values_of(column, given)
  assert all(text in str(raised.value) for text in named), raised.value
  assert len(str(raised.value)) < 700


def test_a_category_of_many_names_is_not_listed_whole():
  column = Column('word', 'category', tuple(f'word{n}' for n in range(10_000)))
  with pytest.raises(InputError, match='word9999') as raised:
    conditions_lib.values_of(column, 'word99999')
  assert len(str(raised.value)) < 1_000


def test_a_number_far_outside_of_the_trained_range_is_warned_of(capsys):
  conditions_lib.values_of(ANGLE, [0, 20, None, 7])
  assert capsys.readouterr().out == ''
  conditions_lib.values_of(ANGLE, [7, 21.5, 30])
  (line,) = capsys.readouterr().out.splitlines()
  assert all(text in line for text in ('Warning', 'angle=21.5', '0 to 20 degrees'))


def test_one_value_stands_for_all_and_lists_stand_for_themselves():
  space = of_columns()
  rows = space.of(None, {'angle': [8, 12], 'side': 'left', 'bar': None}, None)
  np.testing.assert_array_equal(rows.values, np.float32([[0, NAN, -1], [0, NAN, 1]]))
  assert rows.texts() == (
    'side left, bar unknown, angle 8 degrees',
    'side left, bar unknown, angle 12 degrees',
  )
  by_labels = space.of(['left', 'left'], {'angle': [8, 12], 'bar': None}, None)
  np.testing.assert_array_equal(by_labels.values, rows.values)
  np.testing.assert_array_equal(rows.labels, [0, 0])
  assert space.of(None, rows, 2) is rows
  assert len(space.of(None, {'side': 'left'}, None)) == 1
  assert len(space.of(None, {'side': 'left'}, 0)) == 0


@pytest.mark.parametrize(
  ('labels', 'given', 'count', 'named'),
  [
    (None, {'angel': 1}, 1, ["'angel'", 'side, bar, angle', "'angle'"]),
    (None, {'angle': [1, 2], 'bar': [1, 0, 1]}, None, ['bar', '3', '2']),
    (None, {'angle': [1, 2]}, 3, ['angle', '2', '3']),
    ([0, 1], {'angle': [1, 2, 3]}, None, ['labels', '2', '3']),
    ([0], {'side': 'left'}, None, ['labels', "'side'"]),
    ([4], {}, None, ['label 4', '0 to 3']),
    (['lef'], {}, None, ["'left'"]),
  ],
)
def test_columns_and_counts_that_do_not_fit_are_named(labels, given, count, named):
  with pytest.raises(InputError) as raised:
    of_columns().of(labels, given, count)
  assert all(text in str(raised.value) for text in named), raised.value


def test_conditions_of_another_model_or_number_are_refused():
  rows = of_columns().of(None, {'side': 'left', 'bar': 0, 'angle': 8}, 2)
  with pytest.raises(InputError, match='2 and 3'):
    of_columns().of(None, rows, 3)
  with pytest.raises(InputError, match='labels and conditions'):
    of_columns().of([0, 0], rows, 2)
  with pytest.raises(InputError, match='another model'):
    Conditioning((SIDE,), of_columns().inputs[:1], has_table=True).of(None, rows, 2)


def test_columns_that_are_not_named_are_as_in_one_training_image():
  rows = {tuple(row) for row in np.nan_to_num(TRAINING, nan=-9)}
  for given in ({}, {'side': 'Right'}, {'side': ['left', 'Right'] * 50}, {'bar': 'yes'}):
    found = of_columns().of(None, given, 100, seed=3)
    assert {tuple(row) for row in np.nan_to_num(found.values, nan=-9)} <= rows
    named = of_columns().values(given)
    for number, values in named.items():
      np.testing.assert_array_equal(found.values[:, number], np.broadcast_to(values, 100))
  # All that agree are drawn.
  drawn = of_columns().of(None, {'side': 'left'}, 100)
  assert set(drawn.values[:, 2]) == {-1, -2, -3}
  # No training image is 1, and none is on the left with a bar: what is named stays.
  for given in ({'side': '1'}, {'side': 'left', 'bar': 1}):
    found = of_columns().of(None, given, 50)
    for number, value in of_columns().values(given).items():
      assert set(found.values[:, number]) == {float(value)}
    assert set(found.values[:, 2]) <= set(TRAINING[:, 2])
  # A named number decides nothing.
  angles = of_columns().of(None, {'angle': 8}, 100)
  assert set(angles.values[:, 0]) == {0, 1, 2}


def test_a_row_depends_on_the_seed_and_its_place_alone():
  space, given = of_columns(), {'side': ['left', 'Right'] * 20}
  rows = space.of(None, given, None, seed=5).values
  np.testing.assert_array_equal(space.of(None, given, None, seed=5).values, rows)
  assert not np.array_equal(space.of(None, given, None, seed=6).values, rows)
  fewer = space.of(None, {'side': given['side'][:7]}, None, seed=5).values
  np.testing.assert_array_equal(fewer, rows[:7])
  np.testing.assert_array_equal(
    space.of(None, {}, 3, seed=5).values, space.of(None, {}, 30, seed=5).values[:3]
  )


def test_what_the_network_cannot_do_without_is_asked_for():
  for space, given in (
    (of_columns(training=None), {'bar': 1, 'side': 'left'}),
    (of_columns(), {'angle': None, 'side': 'left'}),
  ):
    with pytest.raises(InputError, match=r'needs angle'):
      space.of(None, given, None)
  known = {'side': 'left', 'angle': 10}
  assert np.isnan(of_columns(training=None).of(None, known, 1).values[0, 1])


def test_a_missing_class_is_inferred_of_images_but_drawn_for_samples():
  training = np.array([[NAN, 0, 1], [NAN, 1, 1], [2, 1, -1]], np.float32)
  space = of_columns(unknown=(False,) * 3, inferred=(True, False, False), training=training)
  images = np.zeros((2, 8, 8, 1), np.uint8)
  assert np.isnan(space.of(None, {'bar': 1, 'angle': 9}, 2, images).values[:, 0]).all()
  # A decoder needs the class: of training images those that have one are drawn from.
  drawn = space.of(None, {}, 20).values
  np.testing.assert_array_equal(drawn, np.repeat(training[2:], 20, axis=0))
  with pytest.raises(InputError, match='needs side'):
    space.of(None, {'side': None}, 1)


def test_every_class_of_rows():
  rows = of_columns().of(None, {'side': ['left', 'Right'], 'bar': [0, 1], 'angle': [8, 12]}, None)
  found = rows.in_every_class()
  np.testing.assert_array_equal(found.values[:, 0], [0, 1, 2, 3] * 2)
  np.testing.assert_array_equal(found.values[:, 1:], np.repeat(rows.values[:, 1:], 4, axis=0))


def test_the_rows_with_the_fewest_empty_cells_are_kept_of_a_training_table(tmp_path, monkeypatch):
  monkeypatch.setattr(training_table, 'MAX_ROWS', 3)
  table = np.array([[NAN, 1], [2, 2], [NAN, NAN], [4, 4], [5, NAN]], np.float32)

  class Train:
    table = type('Table', (), {'values': np.array([])})

  Train.table.values = table
  training_table.save(tmp_path, Train)
  found = training_table.read(tmp_path, (SIDE, ANGLE))
  np.testing.assert_array_equal(found, table[[1, 3, 0]])
  with pytest.raises(InputError, match='1 columns'):
    training_table.read(tmp_path, (SIDE,))
  assert training_table.read(tmp_path / 'nowhere', (SIDE,)) is None


def test_numbers_of_images_are_measured(measured):
  data = measured.data().test
  images = data.images[:20]
  rows = measured.conditions(data.labels[:20], images=images)
  np.testing.assert_allclose(rows.values, data.table.values[:20], atol=1e-5)
  blank = measured.conditions([0], images=np.zeros((1, 8, 8, 1), np.uint8))
  np.testing.assert_array_equal(blank.values[:, 1], 0)  # the mean: no training image lacks it
  with pytest.raises(InputError, match='needs digit'):
    measured.encode(images)


def test_the_training_table_of_a_run(measured):
  data = measured.data().train
  kept = {tuple(row) for row in data.table.values}
  drawn = measured.conditions(conditions={'digit': '3'}, count=40)
  assert {tuple(row) for row in drawn.values} <= kept
  assert set(drawn.labels) == {3}


def test_every_method_takes_conditions(measured):
  given = {'digit': ['3', '7'], 'slant': [0.1, 0.3], 'thickness': 1.5}
  rows = measured.conditions(conditions=given)
  np.testing.assert_allclose(
    measured.columns[1].mean + measured.columns[1].std * rows.values[:, 1], [0.1, 0.3], atol=1e-6
  )
  sampled = measured.sample(conditions=given, seed=2)
  latents = measured.draw_latents(conditions=given, seed=2)
  np.testing.assert_allclose(measured.decode(latents, conditions=given), sampled, atol=1e-6)
  network = measured.task.network.apply
  decoded = network(measured.variables, latents, rows.values, train=False, method='decode')
  np.testing.assert_allclose(1 / (1 + np.exp(-decoded)), sampled, atol=1e-5)
  assert len(measured.sample(num_images=3)) == 3
  draws = measured.decode_draw(latents, conditions=given, seed=1)
  assert set(np.unique(draws)) <= {0.0, 1.0}

  images = measured.data().test.images[:2]
  mean, logvar = measured.encode(images, conditions=given)
  expected = network(
    measured.variables, images / np.float32(255), rows.values, train=False, method='encode'
  )
  np.testing.assert_allclose((mean, logvar), expected, atol=1e-5)
  np.testing.assert_allclose(
    measured.reconstruct(images, conditions=given), measured.decode(mean, conditions=given),
    atol=1e-6,
  )  # fmt: skip
  cold = measured.vary(images, num_draws=2, temperature=0, conditions=given)
  np.testing.assert_allclose(cold[:, 1], measured.reconstruct(images, conditions=given), atol=1e-6)
  path = measured.interpolate(
    images[:1], images[1:], num_steps=3, conditions=({'digit': 3}, {'digit': 7})
  )
  np.testing.assert_allclose(
    path[:, -1], measured.reconstruct(images[1:], conditions={'digit': 7}), atol=1e-6
  )
  styles = measured.restyle(latents, conditions=given)
  np.testing.assert_array_equal(styles[:, 4], latents)
  assert measured.draw_styles(3).shape == (3, 10, 3)

  elbo = measured.elbo(images, conditions=given)
  np.testing.assert_allclose(elbo.elbo, -elbo.reconstruction - elbo.kl, rtol=1e-6)
  changed = measured.elbo(images, conditions=given | {'slant': -0.3})
  assert not np.allclose(elbo.elbo, changed.elbo, rtol=1e-6)
  iwae = measured.log_likelihood(images, num_samples=50, conditions=given)
  assert np.isfinite(iwae).all()
  others = {name: given[name] for name in ('slant', 'thickness')}
  candidates = [
    measured.elbo(images, conditions={'digit': name} | others).elbo for name in map(str, range(10))
  ]
  expected = np.exp(candidates - np.max(candidates, axis=0))
  np.testing.assert_allclose(
    measured.classify(images, conditions=others), (expected / expected.sum(axis=0)).T, rtol=1e-3
  )


def test_a_model_of_labels_takes_them_as_conditions_too(tiny_run):
  model = cvae_jax.load(tiny_run)
  np.testing.assert_array_equal(model.sample(conditions={'digit': [3, 8]}), model.sample([3, 8]))
  np.testing.assert_array_equal(
    model.sample(conditions={'digit': '3'}, num_images=2), model.sample([3, 3])
  )
  with pytest.raises(InputError, match="'slant'"):
    model.sample(conditions={'slant': 1})
  named = dataclasses.replace(model, class_names=(*'1023456789',))
  np.testing.assert_array_equal(named.conditions(conditions={'digit': '1'}).values, [0])
  np.testing.assert_array_equal(named.conditions([1]).values, [1])


def test_a_missing_flag_is_a_condition_of_its_own(mixed):
  given = {'side': 'left', 'grey': 60, 'bar': ['yes', 'no', None]}
  images = mixed.decode(np.zeros((3, 2)), conditions=given)
  for first, second in ((0, 1), (0, 2), (1, 2)):
    assert not np.allclose(images[first], images[second], atol=1e-4)
  # Of images, a flag that is not named is unknown.
  pixels = table_models.split(5, 3).images
  known = {'side': 'left', 'grey': 60}
  np.testing.assert_array_equal(
    mixed.encode(pixels, conditions=known), mixed.encode(pixels, conditions=known | {'bar': None})
  )
  assert not np.allclose(
    mixed.encode(pixels, conditions=known), mixed.encode(pixels, conditions=known | {'bar': 1})
  )


@pytest.mark.slow
def test_bounds_of_images_whose_class_is_missing(inferring):
  images = table_models.split(7, 3).images
  others = {'bar': [0, 1, 0, 1, 0, 1, 0], 'grey': 60}
  sides = ['left', None, 'right', None, 'up, down', None, None]
  known = np.array([side is not None for side in sides])
  found = inferring.log_likelihood(images, None, 20, conditions=others | {'side': sides})
  of_each = np.stack(
    [
      inferring.log_likelihood(images, None, 20, conditions=others | {'side': name})
      for name in table_models.NAMES
    ]
  )
  expected = np.log(np.mean(np.exp(of_each - of_each.max(axis=0)), axis=0)) + of_each.max(axis=0)
  own = of_each[[0, 0, 1, 0, 2, 0, 0], range(7)]
  np.testing.assert_allclose(found, np.where(known, own, expected), rtol=1e-5)
  # The missing class is taken for the likeliest, and is not needed.
  rows = inferring.inferred(images, others)
  np.testing.assert_array_equal(rows.labels, table_models.split(7, 3).labels)
  np.testing.assert_array_equal(
    inferring.reconstruct(images, conditions=others), inferring.reconstruct(images, conditions=rows)
  )
  assert not np.isnan(inferring.conditions(count=50).values).any()
