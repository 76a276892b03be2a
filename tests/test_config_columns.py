"""Columns of conditions in a config, and in config.json."""

import json

import pytest

from cvae_jax import config as config_lib
from cvae_jax.config import Column, SavedConfig
from cvae_jax.runtime.errors import InputError
from tiny import set_fields, tiny_config

NAMES = tuple('abcdefghij')
PARTS = {'training images': 7, 'labels': 'f1'}


def refused(config):
  with pytest.raises(InputError) as raised:
    config_lib.check(config)
  return str(raised.value)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('all', None),
    (' all ', None),
    ('digit', {'digit': None}),
    ('digit,angle:number', {'digit': None, 'angle': 'number'}),
    ('a:flag, b , c:category', {'a': 'flag', 'b': None, 'c': 'category'}),
    ('time:of:day', {'time:of:day': None}),
    ('time:of:day:number', {'time:of:day': 'number'}),
    ('"left, right":flag,x', {'left, right': 'flag', 'x': None}),
    (':number', {':number': None}),
    ('Ärmel,all', {'Ärmel': None, 'all': None}),
  ],
)
def test_columns_that_are_asked_for(text, expected):
  assert config_lib.asked(text) == expected
  if expected:
    assert list(config_lib.asked(text)) == list(expected)


@pytest.mark.parametrize('text', [' ', ',', 'a,', 'a,,b', 'a,a', 'a:flag,a:number', 'a\nb'])
def test_columns_that_cannot_be_asked_for(text):
  config = tiny_config(data__conditions=text)
  assert f'data.conditions={text!r}' in refused(config)


COLUMNS = (
  Column('digit', 'category', NAMES, has_empty=True),
  Column('bold', 'flag'),
  Column('größe', 'number', (), 'mm', 1.5, 0.1 + 0.2, -3.0, 4.25, measured=True),
  Column('colour', 'category', ('red', 'blue')),
  Column('angle', 'number', has_empty=True),
)
INPUTS = 'category:10?', 'flag', 'number', 'category:2', 'number?'


def test_inputs_are_written_and_read():
  assert tuple(map(config_lib.inputs_text, COLUMNS)) == INPUTS
  for column, text in zip(COLUMNS, INPUTS, strict=True):
    inputs = config_lib.Inputs(column.kind, len(column.names), column.has_empty)
    assert config_lib.inputs_of(text) == inputs


NO_INPUTS = [
  '', 'category', 'category:', 'category:x', 'category:-1', 'category:1000000', 'category:3:4',
  '?category:3', 'flag:2', 'number??', 'text',
]  # fmt: skip


@pytest.mark.parametrize('text', NO_INPUTS)
def test_inputs_that_are_none(text):
  with pytest.raises(ValueError, match='category:N'):
    config_lib.inputs_of(text)
  assert 'data.columns' in refused(tiny_config(data__columns=('flag', text)))


def test_the_class_is_the_first_category():
  assert config_lib.class_column(COLUMNS[1:]) == 2
  assert config_lib.class_column([Column('lit', 'flag'), Column('angle', 'number')]) is None
  assert config_lib.class_column([]) is None


@pytest.mark.parametrize(
  ('number', 'value', 'text'),
  [
    (0, 3.0, 'd'),
    (0, float('nan'), 'unknown'),
    (1, 1.0, 'yes'),
    (1, 0.0, 'no'),
    (2, 2.0, '2.1 mm'),
    (2, -4.0, '0.3 mm'),
    (2, float('nan'), 'unknown'),
    (4, 0.125, '0.125'),
  ],
)
def test_values_as_people_write_them(number, value, text):
  assert COLUMNS[number].text(value) == text


def table_config(**changes):
  fields = {'data__conditions': 'all', 'data__columns': INPUTS, 'classifier_weight': 0.0}
  return tiny_config(**(fields | changes))


def test_saved_columns_come_back_the_same(tmp_path):
  config = table_config()
  config_lib.save(tmp_path, SavedConfig(config, NAMES, 'f00d', PARTS, COLUMNS))
  saved = config_lib.read(tmp_path)
  assert saved.columns == COLUMNS
  assert saved.config.to_dict() == config.to_dict()
  assert saved.config.data.columns == INPUTS
  assert config_lib.differences(saved.config, config) == []


def test_a_file_from_before_there_were_columns_is_read(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), NAMES, 'f00d', PARTS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  assert content.pop('columns') == []
  for field in ('conditions', 'columns', 'num_labels'):
    del content['config']['data'][field]
  for field in ('condition_dropout', 'classifier_weight'):
    del content['config'][field]
  path.write_text(json.dumps(content))
  saved = config_lib.read(tmp_path)
  assert saved.columns == ()
  assert saved.config.to_dict() == tiny_config().to_dict()
  assert not config_lib.has_table(saved.config)


@pytest.mark.parametrize(
  'change',
  [
    lambda columns: columns.pop(),
    lambda columns: columns.clear(),
    lambda columns: columns.reverse(),
    lambda columns: columns[0].update(names=['a']),
    lambda columns: columns[0].update(names=[1] * 10),
    lambda columns: columns[0].update(names=None),
    lambda columns: columns[1].update(kind='text'),
    lambda columns: columns[1].update(kind=['flag']),
    lambda columns: columns[2].update(mean='1'),
    lambda columns: columns[2].update(std=None),
    lambda columns: columns[2].update(colour='red'),
    lambda columns: columns[2].pop('name'),
    lambda columns: columns[3].update(has_empty=True),
    lambda columns: columns.insert(0, 'digit'),
  ],
)
def test_broken_columns_of_a_file_are_refused(tmp_path, change):
  config_lib.save(tmp_path, SavedConfig(table_config(), NAMES, 'f00d', PARTS, COLUMNS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  change(content['columns'])
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r'config\.json'):
    config_lib.read(tmp_path)


def test_what_is_left_to_the_data_is_no_difference():
  given = table_config(data__columns=(), data__num_classes=0)
  saved = config_lib.with_data(given, 10, INPUTS)
  assert (saved.data.num_classes, saved.data.columns) == (10, INPUTS)
  assert (given.data.num_classes, given.data.columns) == (0, ())
  assert config_lib.differences(saved, given) == []
  plain = tiny_config()
  assert config_lib.with_data(plain, 3) is plain
  named = [each.field for each in config_lib.differences(saved, plain)]
  assert 'data.conditions' in named
  unconditional = tiny_config(conditional=False, data__num_classes=0)
  assert config_lib.with_data(unconditional, 3) is unconditional


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({}, False),
    ({'data__conditions': 'digit'}, True),
    ({'condition_dropout': 0.1}, True),
    ({'data__num_labels': 100}, True),
    ({'classifier_weight': 0.0}, False),
    ({'conditional': False}, False),
  ],
)
def test_when_images_have_a_table(changes, expected):
  assert config_lib.has_table(tiny_config(**changes)) == expected


@pytest.mark.parametrize(
  ('field', 'value', 'named'),
  [
    ('data__conditions', 'digit', "data.conditions='digit'"),
    ('data__num_labels', 100, 'data.num_labels=100'),
    ('condition_dropout', 0.1, 'condition_dropout=0.1'),
  ],
)
def test_an_unconditional_model_has_no_conditions(field, value, named):
  config_lib.check(tiny_config(**{field: value}))
  message = refused(tiny_config(conditional=False, **{field: value}))
  assert named in message
  assert 'conditional=False' in message


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('condition_dropout', 1.5),
    ('condition_dropout', -0.1),
    ('classifier_weight', -1.0),
    ('data__num_labels', -1),
    ('data__columns', 'flag'),
    ('data__columns', (3,)),
  ],
)
def test_wrong_values_of_conditions_are_named(field, value):
  config = tiny_config()
  with config.unlocked(), config.ignore_type():
    set_fields(config, {field: value})
  assert f'{field.replace("__", ".")}={value!r}' in refused(config)
