"""Columns of conditions from cells: kinds, values and what is refused."""

import numpy as np
import pytest

from cvae_jax.data.readers import cells
from cvae_jax.runtime.errors import InputError

NAN = np.nan


def where(split, row):
  return f'{split}.csv, line {row + 2}'


def column(values, kind=None, name='a', **others):
  """One column of the split 'train' and `others`: what it is, and its cells as lists."""
  given = {name: {split: np.asarray(rows) for split, rows in ({'train': values} | others).items()}}
  (found,), read = cells.read(given, {name: kind}, where)
  return found, {split: rows[:, 0].tolist() for split, rows in read.items()}


def integers(count):
  return np.arange(count) + 5


@pytest.mark.parametrize(
  ('values', 'kind', 'names', 'expected'),
  [
    (['b', 'a', 'b'], 'category', ('a', 'b'), [1, 0, 1]),
    (['b', ' a ', ''], 'category', ('a', 'b'), [1, 0, NAN]),
    (['10', '9', '9'], 'category', ('9', '10'), [1, 0, 0]),
    (['3.0', '2.0', 'nan'], 'category', ('2', '3'), [1, 0, NAN]),  # as Pandas writes them
    ([10, -9, 9], 'category', ('-9', '9', '10'), [2, 0, 1]),
    ([10.0, 9.0, NAN], 'category', ('9', '10'), [1, 0, NAN]),
    ([2, None, 3], 'category', ('2', '3'), [0, NAN, 1]),
    ([-1, 0, 1], 'category', ('-1', '0', '1'), [0, 1, 2]),
    (['red', None, 'caf\xe9'], 'category', ('caf\xe9', 'red'), [1, NAN, 0]),
    ([b'red', b'', b'caf\xc3\xa9'], 'category', ('caf\xe9', 'red'), [1, NAN, 0]),
    (['yes', 'no', 'often', 'maybe'], 'category', ('maybe', 'no', 'often', 'yes'), [3, 1, 2, 0]),
    (['1', '2', 'x'], 'category', ('1', '2', 'x'), [0, 1, 2]),
    (integers(20), 'category', tuple(map(str, range(5, 25))), list(range(20))),
    (integers(21), 'number', (), integers(21).tolist()),
    (integers(21).astype(str), 'number', (), integers(21).tolist()),
    ([0.5, NAN, 2], 'number', (), [0.5, NAN, 2]),
    (['0.5', 'NA', '-2e3'], 'number', (), [0.5, NAN, -2000]),
    ([0.5, None, 2], 'number', (), [0.5, NAN, 2]),
    (np.array([0.1, 0.7], np.float16), 'number', (), np.float16([0.1, 0.7]).tolist()),
    ([True, False, True], 'flag', (), [1, 0, 1]),
    ([True, None, False], 'flag', (), [1, NAN, 0]),
    (['yes', 'NO', '?'], 'flag', (), [1, 0, NAN]),
    (['True', 'false', 'N/A'], 'flag', (), [1, 0, NAN]),
    (['1', '0', 'null'], 'flag', (), [1, 0, NAN]),
    ([0, 1, 1], 'flag', (), [0, 1, 1]),
    ([-1, 1, -1], 'flag', (), [0, 1, 0]),
    ([1.0, -1.0, NAN], 'flag', (), [1, 0, NAN]),
  ],
  ids=range(27),
)
def test_kinds_are_recognized(values, kind, names, expected, capsys):
  found, read = column(values)
  assert (found.kind, found.names) == (kind, names)
  np.testing.assert_array_equal(read['train'], np.float32(expected))
  count = f', {len(names)} names' if names else ''
  assert capsys.readouterr().out == f'Conditions: a ({kind}{count}).\n'


@pytest.mark.parametrize('empty', ['', 'NA', 'n/a', 'NaN', 'NULL', 'None', '<NA>', '?', ' '])
def test_empty_cells(empty):
  for values in (['yes', empty, 'no'], ['x', empty, 'y'], ['0.5', empty, '1.5']):
    assert np.isnan(column(values)[1]['train']).tolist() == [False, True, False]


@pytest.mark.parametrize(
  ('values', 'kind', 'names', 'expected'),
  [
    ([1, 0, 1], 'category', ('0', '1'), [1, 0, 1]),
    ([1, 0, 1], 'number', (), [1, 0, 1]),
    ([3, 4, 5], 'number', (), [3, 4, 5]),
    (['0.5', '1.5', '0.5'], 'category', ('0.5', '1.5'), [0, 1, 0]),
    (np.float32([0.1, 0.2]), 'category', ('0.1', '0.2'), [0, 1]),
    ([True, False, True], 'category', ('False', 'True'), [1, 0, 1]),
    ([True, False, True], 'number', (), [1, 0, 1]),
    (['yes', 'no', '1', '0'], 'flag', (), [1, 0, 1, 0]),
  ],
  ids=range(8),
)
def test_a_kind_that_is_asked_for_counts(values, kind, names, expected):
  found, read = column(values, kind)
  assert (found.kind, found.names) == (kind, names)
  np.testing.assert_array_equal(read['train'], np.float32(expected))


def test_a_column_of_labels_is_a_category_unless_it_has_fractions():
  for values in ([0, 1], ['no', 'yes'], [True, False], integers(50)):
    assert column(values, name='label')[0].kind == 'category'
  assert column([0.5, 1], name='label')[0].kind == 'number'
  assert column([0, 1], 'flag', name='label')[0].kind == 'flag'


def test_other_splits_have_the_kind_and_the_names_of_training():
  found, read = column(['b', 'a', ''], test=['b', 'NA'])
  assert read == {'train': [1, 0, pytest.approx(NAN, nan_ok=True)],
                  'test': [1, pytest.approx(NAN, nan_ok=True)]}  # fmt: skip
  # Integers stay a category where empty cells make floats of them.
  found, read = column([7, 8, 9], test=[NAN, 9.0])
  assert found.names == ('7', '8', '9')
  assert read['test'][1] == 2
  _, read = column([0.5, 1.5], test=[3, 4])
  assert read['test'] == [3, 4]
  _, read = column([-1, 1], test=[1, 1])
  assert read['test'] == [1, 1]
  _, read = column([0.5, 1.5], test=[None, None])
  assert np.isnan(read['test']).all()


def test_the_order_of_rows_has_no_effect():
  values = np.array(['red', 'blue', '', 'green'] * 5)
  order = np.random.RandomState(0).permutation(20)
  one, read = column(values)
  other, shuffled = column(values[order])
  assert one == other
  np.testing.assert_array_equal(np.array(read['train'])[order], shuffled['train'])


@pytest.mark.parametrize(
  ('values', 'kind', 'others', 'message'),
  [
    (['yes', 'no', 'maybe', 'yes'], None, {}, r"^train\.csv, line 4: 'maybe' .*'a' is no flag"),
    (['1,5', '2,5', '3'], None, {}, r"^train\.csv, line 2: '1,5' .*'a' is no number.*point"),
    (['1.5', '2.5', 'abc', '3.5'], None, {}, r"^train\.csv, line 4: 'abc' .*'a' is no number.*cat"),
    ([*map(str, range(30)), 'x'], None, {}, r"line 32: 'x' .*no number"),
    (['1', '2', 'abc'], 'number', {}, r"line 4: 'abc'"),
    (['yes', 'no'], 'number', {}, r"line 2: 'yes'"),
    (['1,5', '2'], 'number', {}, r"line 2: '1,5' .*with a point"),
    (['1_5', '2'], 'number', {}, r"line 2: '1_5'"),
    ([0.5, 1.5], None, {'test': ['', 'x']}, r"^test\.csv, line 3: 'x'"),
    ([0.5, np.inf], None, {}, r"line 3: 'inf' .*infinite"),
    (['0.5', '-inf'], None, {}, r"line 3: '-inf' .*infinite"),
    ([0.5, 1e39], None, {}, r"line 3: '1e\+39' .*infinite"),
    ([10**400, 0.5, None], None, {}, r"line 2: 'inf'"),
    ([0, 1, 2], 'flag', {}, r"line 4: '2' .*is no flag"),
    ([0, 1, -1], 'flag', {}, r"line 4: '-1' .*is no flag"),
    (['yes', 'no', 'si'], 'flag', {}, r"line 4: 'si' .*is no flag"),
    ([0, 1], None, {'test': [0, 3]}, r"^test\.csv, line 3: '3' .*is no flag.*a:category"),
    (['x', 'y'], None, {'test': ['z']}, r"test cells .*'a' hold 'z', expected .*'x', 'y'"),
    ([3, 4], None, {'test': [5]}, r"hold '5'.*conditions=a:number"),
    (np.arange(10_001), 'category', {}, '10,001 names, expected at most 10,000'),
    ([1, 'a', None], None, {}, r"train cells of 'a' hold '1' \(int\)|hold 'a' \(str\)"),
    ([1, [2, 3], None], None, {}, r"'\[2, 3\]' \(list\)"),
    (np.array(['2020-01-01'], 'datetime64[D]'), None, {}, 'datetime64'),
    ([1j], None, {}, 'complex'),
    (np.array([b'caf\xe9']), None, {}, 'no UTF-8'),
  ],
  ids=range(25),
)
def test_other_cells_are_refused(values, kind, others, message):
  if isinstance(values, list):
    values = np.array(values, object) if any(v is None for v in values) else np.array(values)
  with pytest.raises(InputError, match=message) as error:
    column(values, kind, **others)
  assert len(str(error.value)) < 400
  assert '\n' not in str(error.value)


def test_numbers_of_names():
  given = {'a': {'train': np.array([2, -1, 0]), 'test': np.array([NAN, 1])}}
  names = {'a': ('x', 'y', 'z')}
  (found,), read = cells.read(given, {'a': None}, where, names)
  assert found.names == ('x', 'y', 'z')
  np.testing.assert_array_equal(read['train'][:, 0], [2, NAN, 0])
  np.testing.assert_array_equal(read['test'][:, 0], [NAN, 1])
  (found,), read = cells.read(given, {'a': 'number'}, where, names)
  np.testing.assert_array_equal(read['train'][:, 0], [2, -1, 0])
  given['a']['test'] = np.array([0, 3])
  with pytest.raises(InputError, match=r"^test\.csv, line 3: 3 .*'a'.*0 to 2"):
    cells.read(given, {'a': None}, where, names)


def test_columns_are_in_the_order_of_the_data_with_their_kinds(capsys):
  assert cells.wanted('all', ['c', 'a']) == {'c': None, 'a': None}
  assert cells.wanted('a:flag,slant,c', ['c', 'b', 'a']) == {'c': None, 'a': 'flag'}
  assert cells.wanted('slant', ['a']) == {}
  assert cells.read({}, {}, where) == ((), {})
  assert capsys.readouterr().out == ''
  given = {f'c{number}': {'train': np.array([0, 1])} for number in range(40)}
  _, read = cells.read(given, dict.fromkeys(given), where)
  assert read['train'].shape == (2, 40)
  assert read['train'].dtype == np.float32
  assert capsys.readouterr().out.endswith('c19 (flag), and 20 more.\n')
