"""Classes from a table beside the pictures, as spreadsheets and programs write it."""

import csv

import pytest

from cvae_jax.data.readers import folder, picture_rows
from cvae_jax.runtime.errors import InputError
from made_data import make_empty, names_in

CLASSES = {'a.png': 'cat', 'b.jpg': 'dog', 'c.png': 'cat', 'd.png': 'caf\xe9'}


def write(path, rows, separator=',', encoding='utf-8'):
  with open(path, 'w', newline='', encoding=encoding) as file:
    csv.writer(file, delimiter=separator).writerows(rows)
  return path


@pytest.mark.parametrize('header', [[], [['file', 'class']], [['id', 'Klasse']]])
@pytest.mark.parametrize('separator', [',', '\t', ';'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_every_spelling_is_read(tmp_path, header, separator, encoding):
  make_empty(tmp_path, *CLASSES)
  write(tmp_path / 'labels.csv', [*header, *CLASSES.items()], separator, encoding)
  listing = folder.read(tmp_path)
  assert listing.class_names == ('caf\xe9', 'cat', 'dog')
  paths, labels, _ = listing.splits['train']
  assert dict(zip(names_in(tmp_path, paths), labels.tolist(), strict=True)) == {
    name: listing.class_names.index(kind) for name, kind in CLASSES.items()
  }
  assert names_in(tmp_path, paths) == ['d.png', 'a.png', 'c.png', 'b.jpg']
  assert not listing.passed_over
  assert listing.labels_files == (tmp_path / 'labels.csv',)


@pytest.mark.parametrize(
  'given',
  [
    lambda name: name,
    lambda name: f'images/{name}',
    lambda name: f'./images/{name}',
    lambda name: f'images\\{name}',
    lambda name: f'/home/me/data/images/{name}',
    lambda name: name.split('.')[0],
    lambda name: f'images/{name.split(".")[0]}',
  ],
  ids=range(7),
)
def test_rows_name_pictures_by_any_part_of_their_path(tmp_path, given):
  make_empty(tmp_path, *(f'images/{name}' for name in CLASSES))
  rows = [['image', 'label', 'note'], *([given(name), kind, ''] for name, kind in CLASSES.items())]
  write(tmp_path / 'Labels.TSV', rows, '\t')
  listing = folder.read(tmp_path)
  assert listing.splits['train'].labels.tolist() == [0, 1, 1, 2]


def test_one_table_for_all_splits_or_one_for_each(tmp_path):
  for place in ('one', 'each'):
    make_empty(
      tmp_path / place, *(f'{split}/{name}' for split in ('train', 'test') for name in CLASSES)
    )
  rows = [
    (f'{split}/{name}', kind) for split in ('train', 'test') for name, kind in CLASSES.items()
  ]
  write(tmp_path / 'one' / 'labels.csv', rows)
  for split in ('train', 'test'):
    write(tmp_path / 'each' / split / 'labels.csv', CLASSES.items())
  for place in ('one', 'each'):
    splits = folder.read(tmp_path / place).splits
    assert {name: split.labels.tolist() for name, split in splits.items()} == {
      'train': [0, 1, 1, 2],
      'test': [0, 1, 1, 2],
    }
    assert names_in(tmp_path / place, splits['test'].images)[0] == 'test/d.png'
  (tmp_path / 'each' / 'test' / 'labels.csv').unlink()
  with pytest.raises(InputError, match=r'each/test has no labels\.csv'):
    folder.read(tmp_path / 'each')


def test_numbers_sort_as_numbers_and_equal_rows_are_one(tmp_path):
  make_empty(tmp_path, 'a.png', 'b.png', 'c.png')
  write(tmp_path / 'labels.csv', [('a.png', 10), ('b.png', 9), ('c.png', 9), ('a.png', 10)])
  assert folder.read(tmp_path).class_names == ('9', '10')


def test_quoted_names_may_hold_the_separator(tmp_path):
  make_empty(tmp_path, 'a,1.png', 'b.png')
  write(tmp_path / 'labels.csv', [('a,1.png', 'cat, small'), ('b.png', 'dog; large')])
  assert folder.read(tmp_path).class_names == ('cat, small', 'dog; large')


def test_a_chosen_level_passes_the_table_over(tmp_path):
  make_empty(tmp_path, 'cats/a.png', 'dogs/b.png', 'labels.csv')
  listing = folder.read(tmp_path, class_level=1)
  assert listing.class_names == ('cats', 'dogs')
  assert listing.passed_over == {'.csv': 1}


ROWS = [['file', 'class'], *CLASSES.items()]


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ([*ROWS, ('e.png', 'cat'), ('f.png', 'cat')], r'names 2 file\(s\) .*\(e\.png, f\.png\)'),
    (ROWS[:-2], r'leaves out 2 of 4 pictures \(c\.png, d\.png\)'),
    ([*ROWS[:-1], ('e.png', 'cat')], r'names 1 .*e\.png.* and leaves out 1 of 4 .*d\.png'),
    ([('file', 'class', 'class'), *((*row, 1) for row in ROWS[1:])], "of the name 'class'"),
    ([*ROWS, ('a.png', 'dog')], r'1 picture\(s\) different classes .*a\.png'),
    ([*ROWS[:-1], ('d.png', '')], r"line 5: 'd\.png' has no class"),
    ([*ROWS[:-1], ('d.png', 'x', 'y')], r'line 5 has 3 column\(s\), expected 2'),
    ([[name] for name in CLASSES], r"one column only, 'a\.png'"),
    ([], 'is empty'),
  ],
  ids=range(9),
)
def test_other_tables_are_refused(tmp_path, rows, message):
  make_empty(tmp_path, *CLASSES)
  path = write(tmp_path / 'labels.csv', rows)
  with pytest.raises(InputError, match=f'{path}.*{message}'):
    folder.read(tmp_path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('a.png,cat\nd.png,caf\xe9\n'.encode('latin1'), r'line 2 is no UTF-8 \(byte 0xe9\).*iconv'),
    ('a.png,cat\n'.encode('utf-16-le'), 'no text in UTF-8'),
    (b'a.png|cat\nb.jpg|dog\n', 'one column only'),
    (b'\x89PNG\r\n\x1a\n\0\0', 'no UTF-8'),
  ],
)
def test_other_encodings_and_separators_are_refused(tmp_path, content, message):
  make_empty(tmp_path, *CLASSES)
  (tmp_path / 'labels.csv').write_bytes(content)
  with pytest.raises(InputError, match=f'{tmp_path}/labels.csv.*{message}'):
    folder.read(tmp_path)


def test_a_name_that_two_pictures_have_is_refused(tmp_path):
  make_empty(tmp_path, 'x/a.png', 'y/a.png')
  write(tmp_path / 'labels.csv', [('a.png', 'cat'), ('y/a.png', 'dog')])
  with pytest.raises(InputError, match=r"line 1: 'a\.png' may be 'x/a\.png' or 'y/a\.png'"):
    folder.read(tmp_path)
  make_empty(tmp_path, 'a.png')  # which has no other name
  write(tmp_path / 'labels.csv', [('a.png', 'cat'), ('x/a.png', 'cat'), ('y/a.png', 'dog')])
  assert folder.read(tmp_path).splits['train'].labels.tolist() == [0, 0, 1]
  write(tmp_path / 'labels.tsv', [('a.png', 'cat')])
  with pytest.raises(InputError, match='Remove one'):
    folder.read(tmp_path)


def test_a_picture_of_another_folder_is_no_match():
  known = ['train/a.png']
  assert picture_rows.Known(known).find('a.png') == known
  assert picture_rows.Known(known).find('test/a.png') == []


def test_classes_of_other_splits_are_those_of_training(tmp_path):
  make_empty(tmp_path, 'train/a.png', 'train/b.png', 'test/c.png')
  write(tmp_path / 'labels.csv', [('a.png', 'cat'), ('b.png', 'dog'), ('c.png', 'owl')])
  with pytest.raises(InputError, match=r'test/owl is a class that .*train does not have: cat, dog'):
    folder.read(tmp_path)
