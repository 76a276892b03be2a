"""Which columns of a data set a model is given, and in which units."""

import math

import numpy as np
import pytest

from cvae_jax import config as config_lib
from cvae_jax.config import Column
from cvae_jax.data import datasets, tables
from cvae_jax.data.measures import measure
from cvae_jax.data.readers import DATASETS, Source, Split
from cvae_jax.runtime.errors import InputError
from made_data import config_of
from tiny import tiny_config

NAN = math.nan
COLUMNS = (
  Column('angle', 'number', unit='°'),
  Column('shape', 'category', ('disc', 'square', 'star')),
  Column('hollow', 'flag'),
  Column('colour', 'category', ('red', 'blue')),
)
CELLS = np.float32(
  [
    [10, 0, 1, NAN],
    [-20, 2, 0, 1],
    [NAN, NAN, 1, 0],
    [70, 1, NAN, 1],
    [0, 2, 0, 0],
  ]
)


def images_of(count):
  images = np.zeros((count, 8, 8, 1), np.uint8)
  for number in range(count):  # strokes that lean more and more
    for row in range(1, 7):
      images[number, row, 3 + (row * (number % 3)) // 4] = 200
  return images


def source_of(**cells):
  splits = {
    name: Split(images_of(len(own)), np.full(len(own), 7, np.int32), own)
    for name, own in cells.items()
  }
  return Source(splits, (), columns=COLUMNS)


def choose(conditions, source=None, name='mine'):
  data = tiny_config(data__conditions=conditions).data
  data.name = name
  return tables.choose(source or source_of(train=CELLS), data)


@pytest.mark.parametrize(
  ('conditions', 'order'),
  [
    ('all', [0, 1, 2, 3]),
    ('colour', [3]),
    ('hollow,angle', [2, 0]),
    ('shape:category, angle:number,colour', [1, 0, 3]),
    ('colour,shape', [3, 1]),
  ],
)
def test_columns_are_those_asked_for_in_their_order(conditions, order):
  chosen = choose(conditions)
  assert chosen.columns == tuple(COLUMNS[number] for number in order)
  np.testing.assert_array_equal(chosen.splits['train'].cells, CELLS[:, order])
  assert chosen.splits['train'].cells.dtype == np.float32
  categories = [number for number in order if COLUMNS[number].kind == 'category']
  first = categories[0] if categories else None
  assert chosen.class_names == (COLUMNS[first].names if categories else ())
  expected = np.nan_to_num(CELLS[:, first], nan=-1) if categories else np.zeros(5)
  np.testing.assert_array_equal(chosen.splits['train'].labels, expected)
  assert chosen.splits['train'].labels.dtype == np.int32


def test_every_split_has_the_columns_and_keeps_its_images():
  source = source_of(train=CELLS, validation=CELLS[3:], test=CELLS[:1])
  chosen = choose('colour,angle', source)
  for name, rows in {'train': CELLS, 'validation': CELLS[3:], 'test': CELLS[:1]}.items():
    np.testing.assert_array_equal(chosen.splits[name].cells, rows[:, [3, 0]])
    np.testing.assert_array_equal(chosen.splits[name].images, source.splits[name].images)
  np.testing.assert_array_equal(source.splits['train'].cells, CELLS)  # as it was
  np.testing.assert_array_equal(source.splits['train'].labels, 7)


def labelled(class_names=('a', 'b', 'c')):
  return Source({'train': Split(images_of(4), np.int32([2, 0, 1, 2]))}, class_names)


@pytest.mark.parametrize('conditions', ['', 'all', 'digit', 'digit:category'])
def test_labels_are_one_category_named_by_the_data_set(conditions):
  chosen = choose(conditions, labelled(), 'digits')
  assert chosen.columns == (Column('digit', 'category', ('a', 'b', 'c')),)
  assert chosen.class_names == ('a', 'b', 'c')
  np.testing.assert_array_equal(chosen.splits['train'].cells, [[2], [0], [1], [2]])
  np.testing.assert_array_equal(chosen.splits['train'].labels, [2, 0, 1, 2])


def test_labels_of_a_data_set_without_a_word_for_them_are_called_label(monkeypatch):
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  DATASETS.register('mine')(lambda data: labelled())
  assert [column.name for column in choose('', labelled()).columns] == ['label']


def test_measured_columns_stand_beside_others_and_alone():
  chosen = choose('slant,shape', source_of(train=CELLS, test=CELLS))
  assert [column.name for column in chosen.columns] == ['slant', 'shape']
  assert chosen.columns[0].measured
  assert not chosen.columns[1].measured
  before = chosen.splits['train']
  np.testing.assert_array_equal(before.cells, np.stack([[NAN] * 5, CELLS[:, 1]], axis=1))
  after = tables.measured(chosen.splits, chosen.columns)
  for name in ('train', 'test'):
    images = chosen.splits[name].images
    np.testing.assert_array_equal(after[name].cells[:, 0], measure('slant', images))
    np.testing.assert_array_equal(after[name].cells[:, 1], CELLS[:, 1])
  alone = choose('thickness,slant', labelled(()))
  assert [column.kind for column in alone.columns] == ['number', 'number']
  assert alone.splits['train'].cells.dtype == np.float32
  np.testing.assert_array_equal(alone.splits['train'].labels, 0)
  cells = tables.measured(alone.splits, alone.columns)['train'].cells
  np.testing.assert_array_equal(cells[:, 1], measure('slant', images_of(4)))
  assert np.isfinite(cells).all()


def test_a_column_of_the_data_goes_before_a_measure_of_its_name():
  columns = (Column('slant', 'number', unit='rad'),)
  cells = np.float32([[0.5], [0.25]])
  source = Source({'train': Split(images_of(2), np.zeros(2, np.int32), cells)}, (), columns=columns)
  chosen = choose('slant', source)
  assert chosen.columns == columns
  np.testing.assert_array_equal(tables.measured(chosen.splits, columns)['train'].cells, cells)


@pytest.mark.parametrize(
  ('conditions', 'named'),
  [
    ('shape,colur', ["data.conditions='shape,colur'", "'mine'", "'colur'", "'colour'"]),
    ('slnat', ["'slnat'", "'slant'"]),
    ('shape:number', ["'shape'", 'category', 'number']),
    ('slant:flag', ["'slant'", 'number', 'flag']),
  ],
)
def test_columns_that_are_not_there_or_of_another_kind_are_named(conditions, named):
  with pytest.raises(InputError) as raised:
    choose(conditions)
  assert all(text in str(raised.value) for text in named), raised.value


@pytest.mark.parametrize('conditions', ['', 'all'])
def test_a_data_set_with_neither_labels_nor_columns_is_refused(conditions):
  with pytest.raises(InputError, match=r'data\.conditions=.*config\.conditional=False'):
    choose(conditions, labelled(()), 'digits')


def splits_of(**cells):
  return {
    name: Split(images_of(len(own)), np.zeros(len(own), np.int32), np.float32(own))
    for name, own in cells.items()
  }


def test_numbers_are_standardized_by_the_training_split():
  splits = splits_of(train=CELLS[:4], test=CELLS[4:])
  found = tables.standardized(splits, COLUMNS)
  known = np.float64([10, -20, 70])
  angle, shape, hollow, colour = found['train'].columns
  assert found['test'].columns == found['train'].columns
  assert angle.mean == pytest.approx(known.mean())
  assert angle.std == pytest.approx(np.sqrt(np.mean((known - known.mean()) ** 2)))
  assert (angle.low, angle.high) == (-20, 70)
  assert all(type(x) is float for x in (angle.mean, angle.std, angle.low, angle.high))  # for JSON
  for name, own in (('train', CELLS[:4]), ('test', CELLS[4:])):
    expected = own.copy()
    expected[:, 0] = (own[:, 0] - known.mean()) / known.std()
    np.testing.assert_allclose(found[name].values, expected, rtol=1e-6)
    assert found[name].values.dtype == np.float32
  assert [column.has_empty for column in (angle, shape, hollow, colour)] == [True] * 4
  assert [column.name for column in found['train'].columns] == [c.name for c in COLUMNS]
  assert angle.unit == '°'
  assert angle.text(found['train'].values[1, 0]) == '-20 °'
  assert shape.text(found['train'].values[1, 1]) == 'star'
  assert hollow.text(found['train'].values[1, 2]) == 'no'
  assert colour.text(found['train'].values[0, 3]) == 'unknown'


@pytest.mark.parametrize('where', ['train', 'validation', 'test', None])
def test_an_empty_cell_in_any_split_counts(where):
  cells = {name: [[1.0], [2.0]] for name in ('train', 'validation', 'test')}
  if where:
    cells[where] = [[1.0], [NAN], [2.0]]
  found = tables.standardized(splits_of(**cells), COLUMNS[:1])
  assert found['train'].columns[0].has_empty == bool(where)
  config = datasets.completed(
    tiny_config(data__conditions='angle'),
    datasets.Dataset(images_of(2), np.zeros(2, np.int32), (), found['train']),
  )
  assert config.data.columns == ('number?' if where else 'number',)


@pytest.mark.parametrize(
  ('column', 'train', 'named'),
  [
    (COLUMNS[0], [[NAN], [NAN]], "'angle'.*2 training images.*data.conditions"),
    (COLUMNS[1], [[NAN], [NAN]], "'shape'.*2 training images.*data.conditions"),
    (COLUMNS[0], [[3], [3], [NAN]], "'angle'.*one value.* 3.*data.conditions"),
    (Column('colour', 'category', ('red',)), [[0], [0], [NAN]], "'colour'.*one value.* red"),
  ],
)
def test_columns_that_tell_nothing_are_refused(column, train, named):
  with pytest.raises(InputError, match=named):
    tables.standardized(splits_of(train=train, test=[[1], [2]]), (column,))


def test_rows_are_taken_with_their_columns():
  table = tables.Table(COLUMNS, CELLS)
  np.testing.assert_array_equal(table.take(np.array([3, 0])).values, CELLS[[3, 0]])
  np.testing.assert_array_equal(table.take(slice(2)).values, CELLS[:2])
  assert table.take(slice(2)).columns == COLUMNS
  dataset = datasets.Dataset(images_of(5), np.arange(5, dtype=np.int32), ('a',) * 5, table)
  taken = dataset.take(np.array([4, 1]))
  np.testing.assert_array_equal(taken.conditions, CELLS[[4, 1]])
  np.testing.assert_array_equal(taken.labels, [4, 1])
  np.testing.assert_array_equal(taken.images, images_of(5)[[4, 1]])
  assert taken.columns == COLUMNS
  assert dataset._replace(table=None).columns == ()
  np.testing.assert_array_equal(dataset._replace(table=None).conditions, np.arange(5))


@pytest.fixture
def mine(monkeypatch):
  """Registers a data set of 60 images whose pixels are their rows, with all four columns."""
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  random = np.random.RandomState(0)
  cells = np.float32(
    [random.randn(60), random.randint(0, 3, 60), random.randint(0, 2, 60), np.arange(60) % 2]
  ).T
  cells[::7, 1] = NAN
  images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 8, 8, 1))

  @DATASETS.register('mine')
  def read(data):
    return Source({'train': Split(images, np.zeros(60, np.int32), cells)}, (), columns=COLUMNS)

  return cells


@pytest.mark.parametrize('at_most', [None, 12])
def test_loaded_images_keep_their_conditions(mine, at_most):
  config = config_of('mine', '', data__conditions='shape,angle', data__validation_examples=9)
  splits = datasets.load(config, at_most)
  assert [len(split.labels) for split in splits] == [at_most or 42, 9, 9]
  angle = splits.train.columns[1]
  for split in splits:
    own = mine[split.images[:, 0, 0, 0]]
    np.testing.assert_array_equal(split.conditions[:, 0], own[:, 1])
    standardized = (own[:, 0] - angle.mean) / angle.std
    np.testing.assert_allclose(split.conditions[:, 1], standardized, atol=1e-6)
    np.testing.assert_array_equal(split.labels, np.nan_to_num(own[:, 1], nan=-1))
    assert split.class_names == COLUMNS[1].names
  assert (splits.train.labels == -1).any()
  train = splits.train.conditions[:, 1]
  assert train.mean() == pytest.approx(0, abs=1e-5)
  assert train.std() == pytest.approx(1, abs=1e-5)
  completed = datasets.completed(config, splits.train)
  assert completed.data.columns == ('category:3?', 'number')
  assert completed.data.num_classes == 3
  config_lib.check(completed)


def test_a_table_counts_the_images_of_its_classes(mine):
  splits = datasets.load(config_of('mine', '', data__conditions='shape,angle'))
  lines = datasets.class_counts(splits)
  counts = [np.sum(splits.train.labels == label) for label in range(3)]
  assert all(f'{n} {c}/' in lines[0] for n, c in zip(COLUMNS[1].names, counts, strict=True))
  assert datasets.class_counts(datasets.load(config_of('mine', '', data__conditions='angle'))) == []


def test_a_fingerprint_and_its_description_depend_on_conditions_and_columns(mine):
  train = datasets.load(config_of('mine', '', data__conditions='shape,angle')).train
  values = train.table.values.copy()
  values[3, 1] += 1
  renamed = (train.columns[0], train.columns[1]._replace(name='tilt'))
  others = [
    train._replace(table=train.table._replace(values=values)),
    train._replace(table=train.table._replace(columns=renamed)),
    train._replace(table=None),
  ]
  assert len({datasets.fingerprint(split) for split in (train, *others)}) == 4
  described = [datasets.describe(split, split)['labels'] for split in (train, others[0])]
  assert described[0] != described[1]


def test_labels_and_columns_that_no_table_uses_are_read_as_before(mine):
  """Without data.conditions a data set of columns alone has nothing to give."""
  with pytest.raises(InputError, match=r"'mine' has no labels.*conditional=False"):
    datasets.load(config_of('mine', ''))
  assert datasets.load(config_of('mine', '', conditional=False)).train.table is None


SHAPES = np.int32([0, 1, 2, 2, 0, -1, 1, 2, 0, 1, 2, 2])


def few(count, seed=0, labels=SHAPES):
  cells = np.stack([np.arange(len(labels)), np.where(labels < 0, NAN, labels)], axis=1)
  split = Split(images_of(len(labels)), labels, np.float32(cells))
  return split, tables.with_few_labels(split, COLUMNS[:2], count, seed)


@pytest.mark.parametrize(('count', 'expected'), [(3, [1, 1, 1]), (7, [3, 2, 2]), (9, [3, 3, 3])])
def test_few_labels_are_as_many_of_each_class(count, expected):
  before, after = few(count)
  known = after.labels >= 0
  np.testing.assert_array_equal(np.bincount(after.labels[known]), expected)
  np.testing.assert_array_equal(after.labels[known], SHAPES[known])
  np.testing.assert_array_equal(after.cells[:, 1], np.where(known, SHAPES, NAN))
  np.testing.assert_array_equal(after.cells[:, 0], before.cells[:, 0])
  np.testing.assert_array_equal(after.images, before.images)
  np.testing.assert_array_equal(before.labels, SHAPES)  # as it was
  assert np.isnan(before.cells).sum() == 1


def test_which_labels_are_kept_follows_the_seed():
  choices = {few(3, seed)[1].labels.tobytes() for seed in (0, 0, 1, 2, 3)}
  assert 2 <= len(choices) <= 4


@pytest.mark.parametrize(
  ('count', 'labels', 'named'),
  [
    (2, SHAPES, "num_labels=2.*'star'"),
    (10, SHAPES, "num_labels=10.*4 labels.*'disc'.* 3 training"),
    (3, SHAPES[SHAPES != 1], "num_labels=3.*'square'.* 0 training"),
  ],
)
def test_labels_that_cannot_be_kept_are_named(count, labels, named):
  with pytest.raises(InputError, match=named):
    few(count, labels=labels)
  split = Split(images_of(2), np.zeros(2, np.int32), CELLS[:2, :1])
  with pytest.raises(InputError, match=r'num_labels=3.*category'):
    tables.with_few_labels(split, COLUMNS[:1], 3, 0)


@pytest.mark.parametrize('at_most', [None, 40])
def test_few_labels_of_the_digits(at_most):
  config = tiny_config(data__num_labels=30)
  splits, plain = (datasets.load(c, at_most) for c in (config, tiny_config()))
  known = splits.train.labels >= 0
  if at_most is None:
    assert np.all(np.bincount(splits.train.labels[known]) == 3)
    np.testing.assert_array_equal(splits.train.images, plain.train.images)
    np.testing.assert_array_equal(splits.train.labels[known], plain.train.labels[known])
  else:
    assert known.sum() == 20
    assert len(known) == 40
  np.testing.assert_array_equal(np.isnan(splits.train.conditions[:, 0]), ~known)
  for split, other in zip(splits[1:], plain[1:], strict=True):
    np.testing.assert_array_equal(split.conditions[:, 0], other.labels)
  assert datasets.completed(config, splits.train).data.columns == ('category:10?',)


def test_digits_by_class_and_slant():
  config = tiny_config(data__conditions='digit,slant')
  splits = datasets.load(config)
  plain = datasets.load(tiny_config())
  for split, other in zip(splits, plain, strict=True):
    np.testing.assert_array_equal(split.images, other.images)
    np.testing.assert_array_equal(split.labels, other.labels)
    np.testing.assert_array_equal(split.conditions[:, 0], other.labels)
    slant = splits.train.columns[1]
    measured = measure('slant', split.images)
    np.testing.assert_allclose(split.conditions[:, 1] * slant.std + slant.mean, measured, atol=1e-5)
  assert datasets.completed(config, splits.train).data.columns == ('category:10', 'number')


def test_a_table_as_another_model_has_it():
  mine = (
    Column('colour', 'category', ('red', 'blue')),
    Column('flag', 'flag'),
    Column('angle', 'number', mean=10.0, std=2.0),
  )
  other = (
    Column('colour', 'category', ('blue', 'green', 'red')),
    Column('flag', 'flag'),
    Column('angle', 'number', mean=4.0, std=3.0),
  )
  values = np.array([[0, 1, 0], [1, np.nan, 1], [np.nan, 0, np.nan]], np.float32)
  seen = tables.Table(mine, values).as_in(other)
  assert seen.columns == other
  # Red is 2 and blue 0; 10 and 12 are 2 and 8/3 of the other's deviations from its mean.
  expected = [[2, 1, 2], [0, np.nan, 8 / 3], [np.nan, 0, np.nan]]
  np.testing.assert_allclose(seen.values, expected, rtol=1e-6)
  with pytest.raises(InputError, match=r"'colour'.*'green'"):
    tables.Table(other, values).as_in(mine)
  with pytest.raises(InputError, match=r"'angle'.*category"):
    tables.Table(mine, values).as_in((*other[:2], Column('angle', 'category', ('a', 'b'))))
