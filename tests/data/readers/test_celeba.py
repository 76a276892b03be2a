"""Lists and folders of CelebA as its authors and Kaggle pack them, whole and broken."""

import numpy as np
import pytest

from cvae_jax.data.readers import celeba, celeba_lists
from cvae_jax.runtime.errors import InputError

ATTRIBUTES = ['5_o_Clock_Shadow', 'Smiling', 'Young']
# On both sides of each published border, in no order.
ROWS = {
  '182638.jpg': (-1, 1, 1),
  '162770.jpg': (1, -1, 1),
  '000001.jpg': (1, 1, -1),
  '202599.jpg': (-1, -1, -1),
  '162771.jpg': (-1, 1, -1),
  '182637.jpg': (1, -1, -1),
}
PARTITION = {name: number % 3 for number, name in enumerate(sorted(ROWS))}


def attributes_text(rows=ROWS, csv=False, count=None):
  if csv:
    lines = [','.join(['image_id', *ATTRIBUTES])]
    lines += [','.join([name, *map(str, values)]) for name, values in rows.items()]
  else:  # with the blanks of the original
    lines = [str(len(rows) if count is None else count), ' '.join(ATTRIBUTES) + ' ']
    lines += [
      ' '.join([name, *(f'{value:2}' for value in values)]) for name, values in rows.items()
    ]
  return '\n'.join(lines) + '\n'


def partition_text(partition=PARTITION, csv=False):
  rows = [f'{name}{"," if csv else " "}{split}' for name, split in partition.items()]
  return '\n'.join(['image_id,partition'] * csv + rows) + '\n'


def write(
  folder,
  csv=False,
  pictures='img_align_celeba',
  lists='.',
  partitions=None,
  attributes=None,
  partition=None,
):
  """Writes CelebA, with a partition file only if `partitions` names its folder."""
  (folder / pictures).mkdir(parents=True)
  for name in ROWS:
    (folder / pictures / name).write_bytes(b'\xff\xd8')
  end = '.csv' if csv else '.txt'
  (folder / lists).mkdir(exist_ok=True)
  (folder / lists / f'list_attr_celeba{end}').write_text(attributes or attributes_text(csv=csv))
  if partitions or partition:
    (folder / (partitions or '.')).mkdir(exist_ok=True)
    path = folder / (partitions or '.') / f'list_eval_partition{end}'
    path.write_text(partition or partition_text(csv=csv))


def read(folder, attribute='Smiling'):
  return celeba.read(celeba.find(folder), attribute)


def names(splits):
  return {split: [path.name for path in paths] for split, (paths, _, _) in splits.items()}


PUBLISHED = {
  'train': ['000001.jpg', '162770.jpg'],
  'validation': ['162771.jpg', '182637.jpg'],
  'test': ['182638.jpg', '202599.jpg'],
}


@pytest.mark.parametrize('csv', [False, True])
def test_published_splits_are_in_order_of_the_numbers(tmp_path, csv):
  write(tmp_path, csv)
  splits = read(tmp_path)
  assert names(splits) == PUBLISHED
  assert {name: split.labels.tolist() for name, split in splits.items()} == {
    'train': [1, 0],
    'validation': [1, 0],
    'test': [1, 0],
  }
  for paths, labels, _ in splits.values():
    assert labels.dtype == np.int32
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize('csv', [False, True])
def test_a_partition_file_overrides_the_published_splits(tmp_path, csv):
  write(tmp_path, csv, partitions='.')
  assert names(read(tmp_path)) == {
    'train': ['000001.jpg', '182637.jpg'],
    'validation': ['162770.jpg', '182638.jpg'],
    'test': ['162771.jpg', '202599.jpg'],
  }


@pytest.mark.parametrize(('attribute', 'column'), [('5_o_Clock_Shadow', 0), ('Young', 2)])
def test_labels_are_the_column_of_the_attribute(tmp_path, attribute, column):
  write(tmp_path)
  for paths, labels, _ in read(tmp_path, attribute).values():
    assert labels.tolist() == [int(ROWS[path.name][column] == 1) for path in paths]


def test_names_are_sorted_as_numbers(tmp_path):
  rows = {f'{number}.jpg': (1, 1, 1) for number in (2, 10, 9)} | {
    '170000.jpg': (1, 1, 1),
    '190000.jpg': (1, 1, 1),
  }
  write(tmp_path, attributes=attributes_text(rows))
  for name in ROWS.keys() | rows.keys():
    (tmp_path / 'img_align_celeba' / name).touch()
    if name not in rows:
      (tmp_path / 'img_align_celeba' / name).unlink()
  assert names(read(tmp_path))['train'] == ['2.jpg', '9.jpg', '10.jpg']


@pytest.mark.parametrize('inside', ['.', 'celeba'])
@pytest.mark.parametrize(
  'layout',
  [
    {'lists': 'Anno', 'partitions': 'Eval', 'pictures': 'Img/img_align_celeba'},
    {'lists': 'Anno', 'partitions': 'Eval'},
    {'csv': True, 'partitions': '.', 'pictures': 'img_align_celeba/img_align_celeba'},
    {},
  ],
  ids=['authors', 'authors unpacked', 'Kaggle', 'bare'],
)
def test_where_pictures_and_lists_are_found(tmp_path, inside, layout):
  assert celeba.find(tmp_path) is None
  assert celeba.find(tmp_path / 'nowhere') is None
  write(tmp_path / inside, **layout)
  files = celeba.find(tmp_path)
  end = '.csv' if layout.get('csv') else '.txt'
  home = tmp_path / inside
  assert files.pictures == home / layout.get('pictures', 'img_align_celeba')
  assert files.attributes == home / layout.get('lists', '.') / f'list_attr_celeba{end}'
  if 'partitions' in layout:
    assert files.partition == home / layout['partitions'] / f'list_eval_partition{end}'
  else:
    assert files.partition is None
  assert sum(len(split.images) for split in celeba.read(files, 'Young').values()) == 6


def test_pictures_or_lists_alone_are_an_error_unless_both_are_elsewhere(tmp_path):
  write(tmp_path)
  (tmp_path / 'list_attr_celeba.txt').rename(tmp_path / 'kept')
  with pytest.raises(InputError, match=r'img_align_celeba, but no list_attr_celeba.txt'):
    celeba.find(tmp_path)
  (tmp_path / 'kept').rename(tmp_path / 'list_attr_celeba.txt')
  (tmp_path / 'img_align_celeba').rename(tmp_path / 'pictures')
  with pytest.raises(InputError, match=r'list_attr_celeba.txt, but no folder img_align_celeba/'):
    celeba.find(tmp_path)
  write(tmp_path / 'celeba')
  assert names(read(tmp_path)) == PUBLISHED


def test_line_ends_of_windows_and_a_byte_order_mark_are_read(tmp_path):
  write(tmp_path, csv=True)
  path = tmp_path / 'list_attr_celeba.csv'
  path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n') + b'\r\n\r\n')
  assert names(read(tmp_path)) == PUBLISHED


def test_files_of_the_system_are_ignored(tmp_path):
  write(tmp_path)
  for name in ('.DS_Store', '._000001.jpg', 'Thumbs.db'):
    (tmp_path / 'img_align_celeba' / name).touch()
  assert names(read(tmp_path)) == PUBLISHED


def test_an_unknown_attribute_is_named_with_its_alternatives(tmp_path):
  write(tmp_path)
  with pytest.raises(
    InputError,
    match=r"'Smilling'.* 5_o_Clock_Shadow, Smiling, Young\. Did you mean 'Smiling'\?",
  ):
    read(tmp_path, 'Smilling')
  for attribute in ('', 'image_id', '000001.jpg'):
    with pytest.raises(InputError, match=f'data.label_attribute={attribute!r}'):
      read(tmp_path, attribute)


def test_pictures_and_lists_must_agree(tmp_path):
  write(tmp_path)
  for number in range(5):
    (tmp_path / 'img_align_celeba' / f'00010{number}.jpg').touch()
  with pytest.raises(
    InputError,
    match=r'img_align_celeba .*5 .*list_attr_celeba.txt .*000100.jpg, .*102.jpg, \.\.\.',
  ):
    read(tmp_path)


def test_missing_pictures_are_named(tmp_path):
  write(tmp_path)
  (tmp_path / 'img_align_celeba' / '162771.jpg').unlink()
  with pytest.raises(
    InputError, match=r'list_attr_celeba.txt .*1 .*img_align_celeba .*162771.jpg\.'
  ):
    read(tmp_path)


@pytest.mark.parametrize(
  ('partition', 'message'),
  [
    (
      {name: split for name, split in PARTITION.items() if name != '000001.jpg'},
      r'attr_celeba.txt .*1 .*partition.txt .*000001.jpg',
    ),
    (PARTITION | {'000007.jpg': 0}, r'partition.txt .*1 .*attr_celeba.txt .*000007.jpg'),
  ],
)
def test_the_two_lists_must_agree(tmp_path, partition, message):
  write(tmp_path, partition=partition_text(partition))
  with pytest.raises(InputError, match=message):
    read(tmp_path)


@pytest.mark.parametrize('split', celeba.SPLITS)
def test_an_empty_split_is_refused(tmp_path, split):
  number = celeba.SPLITS.index(split)
  partition = {name: (number + 1 + PARTITION[name] % 2) % 3 for name in ROWS}
  write(tmp_path, partition=partition_text(partition))
  with pytest.raises(InputError, match=f'{split!r} .*partition.txt'):
    read(tmp_path)


def test_an_empty_published_split_is_refused(tmp_path):
  rows = {name: values for name, values in ROWS.items() if name < '182638'}
  write(tmp_path, attributes=attributes_text(rows))
  for name in ROWS.keys() - rows.keys():
    (tmp_path / 'img_align_celeba' / name).unlink()
  with pytest.raises(InputError, match=r"'test' .*published"):
    read(tmp_path)


@pytest.mark.parametrize('name', ['202600.jpg', '000000.jpg'])
def test_numbers_outside_the_published_ranges_need_a_partition(tmp_path, name):
  rows = ROWS | {name: (1, 1, 1)}
  write(tmp_path, attributes=attributes_text(rows))
  (tmp_path / 'img_align_celeba' / name).touch()
  with pytest.raises(InputError, match=f'celeba.txt .*{name}'):
    read(tmp_path)
  (tmp_path / 'list_eval_partition.txt').write_text(partition_text(PARTITION | {name: 0}))
  assert name in names(read(tmp_path))['train']


GOOD, GOOD_CSV = attributes_text(), attributes_text(csv=True)
BAD_ATTRIBUTES = {
  'nothing': (' ', "line 1 is ''"),
  'no names': ('6\n', 'line 2 .*none'),
  'a name twice': (GOOD.replace('Young', 'Smiling'), 'line 2 .*Smiling, Smiling'),
  'no count': (GOOD[2:], "line 1 is '5_o_Clock_Shadow Smiling Young'"),
  'a wrong count': (attributes_text(count=7), "6 pictures.*'7'.*line 1"),
  'truncated': (GOOD[:-4], 'line 8 .*2 values.* 3'),
  'truncated at a line': (GOOD[: GOOD.index('162771')], "4 pictures.*'6'"),
  'a value more': (GOOD.replace('.jpg  1 -1', '.jpg  1 1 -1'), 'line 4 .*4 values'),
  'a blank line': (GOOD.replace('\n00', '\n\n00'), 'line 5 .*0 values'),
  'a 0': (GOOD.replace('000001.jpg  1', '000001.jpg  0'), "line 5 .*'0'"),
  'a 2 elsewhere': (GOOD.replace('1\n20', '2\n20'), "line 5 .*'-2'"),
  'a word': (GOOD.replace('000001.jpg  1', '000001.jpg yes'), "line 5 .*'yes'"),
  'another name': (GOOD.replace('000001.jpg', '../001.jpg'), 'line 5 '),
  'another suffix': (GOOD.replace('000001.jpg', '000001.png'), 'line 5 '),
  'other digits': (GOOD.replace('000001', '00000\N{ARABIC-INDIC DIGIT ONE}'), 'line 5 '),
  'a huge number': (GOOD.replace('000001', '1' * 5000), 'line 5 '),
  'a name again': (GOOD.replace('000001', '162770'), 'line 5 .*162770.jpg'),
}
BAD_CSV = {
  'nothing': ('', "line 1 .*''"),
  'no header': (GOOD_CSV[GOOD_CSV.index('\n') + 1 :], "line 1 .*'182638.jpg'"),
  'txt': (GOOD, "line 1 .*'6'"),
  'no names': ('image_id\n', 'line 1 .*none'),
  'a 0': (GOOD_CSV.replace('000001.jpg,1', '000001.jpg,0'), "line 4 .*'0'"),
  'an empty value': (GOOD_CSV.replace('000001.jpg,1', '000001.jpg,'), "line 4 .*''"),
  'truncated': (GOOD_CSV[:-4], 'line 7 .*2 values'),
  'a name again': (GOOD_CSV.replace('000001', '162770'), 'line 4 .*162770.jpg'),
}
BAD_PARTITION = {
  'nothing': ('\n', 'line 1 .*0 values'),
  'a 3': (partition_text(PARTITION | {'000001.jpg': 3}), "line 1 .*'3'"),
  'a -1': (partition_text(PARTITION | {'162770.jpg': -1}), "line 2 .*'-1'"),
  'a column more': (partition_text(PARTITION | {'162770.jpg': '1 1'}), 'line 2 .*2 values'),
  'a column less': (partition_text(PARTITION | {'162770.jpg': ''}), 'line 2 .*0 values'),
  'another name': (partition_text({'a.jpg': 0} | PARTITION), "line 1 .*'a.jpg'"),
  'a name again': (partition_text() + '162770.jpg 0\n', 'line 7 .*162770.jpg'),
}
BAD_PARTITION_CSV = {
  'no header': (partition_text(csv=True)[19:], "line 1 is '000001.jpg,0'"),
  'a 3': (partition_text(PARTITION | {'000001.jpg': 3}, csv=True), "line 2 .*'3'"),
}


def check_refused(tmp_path, path, message):
  with pytest.raises(InputError, match=message) as error:
    read(tmp_path)
  assert str(path) in str(error.value)
  assert len(str(error.value)) < 400 + len(str(path))


BROKEN = [
  pytest.param(name, content, message, id=f'{name}: {problem}')
  for name, cases in {
    'list_attr_celeba.txt': BAD_ATTRIBUTES,
    'list_attr_celeba.csv': BAD_CSV,
    'list_eval_partition.txt': BAD_PARTITION,
    'list_eval_partition.csv': BAD_PARTITION_CSV,
  }.items()
  for problem, (content, message) in cases.items()
]


@pytest.mark.parametrize(('name', 'content', 'message'), BROKEN)
def test_a_broken_list_is_named_with_its_line(tmp_path, name, content, message):
  write(tmp_path, csv=name.endswith('.csv'), partitions='.')
  (tmp_path / name).write_text(content)
  check_refused(tmp_path, tmp_path / name, message)


@pytest.mark.parametrize('content', [b'\xff\xfe\x00', np.random.RandomState(0).bytes(5000)])
def test_lists_that_are_no_text_are_named(tmp_path, content):
  write(tmp_path)
  (tmp_path / 'list_attr_celeba.txt').write_bytes(content)
  check_refused(tmp_path, tmp_path / 'list_attr_celeba.txt', 'text')


def test_files_too_large_are_not_read(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.setattr(celeba_lists, 'MAX_BYTES', 100)
  check_refused(tmp_path, tmp_path / 'list_attr_celeba.txt', '100 bytes')


def test_files_that_have_gone_are_named(tmp_path):
  write(tmp_path)
  files = celeba.find(tmp_path)
  for missing in (
    files._replace(attributes=tmp_path / 'gone.txt'),
    files._replace(pictures=tmp_path / 'gone'),
  ):
    with pytest.raises(InputError, match='gone'):
      celeba.read(missing, 'Young')
