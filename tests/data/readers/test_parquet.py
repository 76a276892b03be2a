"""Parquet files of pictures: splits and columns by their names, rows decoded as files are."""

import os
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import parquet_files
from cvae_jax.data import datasets
from cvae_jax.data.readers import embedded, file_rows, parquet, picture_cache, pictures
from cvae_jax.data.readers.decoding import Geometry
from cvae_jax.data.readers.embedded import Embedded
from cvae_jax.runtime.errors import InputError
from made_data import config_of
from parquet_files import cells, class_label, images, write

IMAGES = images(60)
LABELS = np.arange(60) % 3
NAMES = ('frog', 'cat', 'dog')  # in the order of the file


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


def load(path, **changes):
  return datasets.load(config_of('parquet', path, data__num_classes=0, **changes))


def shards(folder, rows=((0, 30), (30, 50)), **options):
  for number, (begin, end) in enumerate(rows):
    name = f'train-{number:05d}-of-{len(rows):05d}.parquet'
    columns = {'image': cells(IMAGES[begin:end]), 'label': LABELS[begin:end]}
    write(folder / name, columns, class_label(NAMES), **options)
  columns = {'image': cells(IMAGES[50:]), 'label': LABELS[50:]}
  write(folder / 'test-00000-of-00001.parquet', columns, class_label(NAMES))
  return folder


def pairs(*splits):
  return {
    (image.tobytes(), name)
    for split in splits
    for image, name in zip(split.images, np.array(split.class_names)[split.labels], strict=True)
  }


EXPECTED = {(image.tobytes(), NAMES[label]) for image, label in zip(IMAGES, LABELS, strict=True)}


@pytest.mark.parametrize('inside', ['.', 'data'])
@pytest.mark.parametrize('row_group_size', [None, 7])
def test_shards_are_read(tmp_path, inside, row_group_size):
  shards(tmp_path / 'set' / inside, row_group_size=row_group_size)
  splits = load(tmp_path / 'set')
  assert [len(split.labels) for split in splits] == [48, 2, 10]
  assert splits.train.class_names == NAMES
  assert pairs(*splits) == EXPECTED
  assert pairs(splits.test) == {
    (image.tobytes(), NAMES[label]) for image, label in zip(IMAGES[50:], LABELS[50:], strict=True)
  }


@pytest.mark.parametrize(
  ('labels', 'names'),
  [
    (np.array(['cat', 'dog', 'owl'])[LABELS], ('cat', 'dog', 'owl')),
    (LABELS + 5, ('5', '6', '7')),
    (pa.array(np.array(['a', 'b', 'c'])[LABELS]).dictionary_encode(), ('a', 'b', 'c')),
  ],
  ids=['texts', 'integers', 'dictionary'],
)
@pytest.mark.parametrize('column', ['label', 'labels', 'fine_label'])
def test_labels_of_other_types(tmp_path, labels, names, column):
  write(tmp_path / 'x.parquet', {'img': cells(IMAGES), column: labels})
  splits = load(tmp_path / 'x.parquet')
  assert splits.train.class_names == names
  assert [len(split.labels) for split in splits] == [56, 2, 2]
  of_image = {image.tobytes(): names[label] for image, label in zip(IMAGES, LABELS, strict=True)}
  assert pairs(*splits) == set(of_image.items())


def test_other_names_and_plain_bytes(tmp_path, capsys):
  blobs = [parquet_files.encoded(image) for image in IMAGES]
  columns = {'jpg': blobs, 'kind': LABELS, 'other': LABELS}
  write(tmp_path / 'train' / '0000.parquet', columns)
  splits = load(tmp_path, data__label_column='kind')
  assert splits.train.class_names == ('0', '1', '2')
  assert pairs(*splits) == {(x.tobytes(), str(y)) for x, y in zip(IMAGES, LABELS, strict=True)}
  assert load(tmp_path, conditional=False).train.class_names == ()
  assert 'one of kind, other is' in capsys.readouterr().out
  write(tmp_path / 'train' / '0000.parquet', columns, class_label(NAMES, 'kind'))
  assert load(tmp_path).train.class_names == NAMES


@pytest.mark.parametrize('other', [NAMES[::-1], NAMES[:2], None])
def test_files_that_number_their_classes_differently_are_refused(tmp_path, other):
  shards(tmp_path)
  columns = {'image': cells(IMAGES[:6]), 'label': LABELS[:6] % 2}
  write(tmp_path / 'test-00000-of-00001.parquet', columns, other and class_label(other))
  with pytest.raises(InputError, match=r"test-00000-of-00001.*'frog', 'cat', 'dog'"):
    load(tmp_path)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
  pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
  (tmp_path / 'train.parquet').write_text(pointer)
  with pytest.raises(InputError, match=r'train.parquet.*git lfs pull'):
    load(tmp_path)


def test_all_splits_and_other_files(tmp_path, capsys):
  for name in ('train', 'validation', 'test', 'extra'):
    rows = slice(0, 6) if name != 'train' else slice(0, 60)
    write(tmp_path / f'{name}.parquet', {'image': cells(IMAGES[rows]), 'label': LABELS[rows]})
  assert [len(split.labels) for split in load(tmp_path)] == [60, 6, 6]
  assert 'extra.parquet' in capsys.readouterr().out


def test_a_split_with_hidden_labels_is_passed_over(tmp_path, capsys):
  for split, labels in (('train', LABELS), ('test', np.full(60, -1))):
    columns = {'image': cells(IMAGES), 'label': labels}
    write(tmp_path / f'{split}.parquet', columns, class_label(NAMES))
  assert [len(split.labels) for split in load(tmp_path)] == [56, 2, 2]
  assert 'test split' in capsys.readouterr().out
  write(tmp_path / 'train.parquet', columns, class_label(NAMES))
  with pytest.raises(InputError, match='label -1'):
    load(tmp_path)


def test_it_is_the_same_as_a_folder_of_the_pictures(tmp_path, cache_home):
  shards(tmp_path / 'set', rows=((0, 50),))
  found = parquet.source(config_of('parquet', tmp_path / 'set').data).splits['train'].images
  paths = []
  for row, image in enumerate(IMAGES[:50]):
    paths.append(tmp_path / f'{row:02d}.png')
    Image.fromarray(image).save(paths[-1])
  geometry = Geometry(8, 8, 0, 1)
  from_table, _ = pictures.decode(found, geometry, cache=True, skip_broken=False)
  from_files, _ = pictures.decode(paths, geometry, cache=True, skip_broken=False)
  np.testing.assert_array_equal(from_table, from_files)
  assert len([*(cache_home / 'cvae_jax' / 'pictures').iterdir()]) == 1  # the same content


@pytest.mark.parametrize('large', [False, True])
def test_the_cache_is_read_the_second_time_in_the_same_order(tmp_path, monkeypatch, large):
  shards(tmp_path / 'set')
  in_memory = datasets.load(
    config_of('parquet', tmp_path / 'set', data__num_classes=0), at_most=1000
  )
  if large:
    monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)
  first = load(tmp_path / 'set')
  monkeypatch.setattr(pictures, '_decode_all', lambda *_: pytest.fail('decoded again'))
  second = load(tmp_path / 'set')
  assert isinstance(second.train.images, file_rows.FileRows) is large
  for splits in (first, second):
    assert datasets.fingerprint(*splits) == datasets.fingerprint(*in_memory)
    np.testing.assert_array_equal(splits.train.images[:6], in_memory.train.images[:6])


def test_memory_does_not_grow_with_the_pictures(tmp_path, monkeypatch):
  blobs = [parquet_files.encoded(image) for image in images(50, size=64)] * 60
  write(tmp_path / 'x.parquet', {'image': blobs, 'label': np.arange(3000) % 3})
  del blobs
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 1 << 20)
  monkeypatch.setattr(file_rows, 'PIECE_BYTES', 1 << 18)
  tracemalloc.start()
  try:
    splits = load(tmp_path / 'x.parquet', data__image_size=64)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert isinstance(splits.train.images, file_rows.FileRows)
  assert peak < 3000 * 64 * 64 / 2


@pytest.mark.parametrize('rows', [[0, 1, 2], [5, 130, 199], [199, 3, 3, 64], [150]])
def test_rows_are_found_in_any_order(tmp_path, rows):
  blobs = [b'%d' % row for row in range(200)]
  file = write(tmp_path / 'x.parquet', {'a': blobs}, row_group_size=60)
  wanted = [Embedded(file, 'a', row) for row in rows]
  assert list(embedded.contents(wanted)) == [blobs[row] for row in rows]


def test_broken_pictures_are_named_by_their_row(tmp_path, capsys):
  column = cells(IMAGES).to_pylist()
  column[7] = {'bytes': None, 'path': 'x.png'}
  column[9] = {'bytes': b'GIF89a', 'path': None}
  columns = {'image': pa.array(column, parquet_files.CELL), 'label': LABELS}
  file = write(tmp_path / 'x.parquet', columns)
  with pytest.raises(InputError, match=rf"{file}, row 7 of column 'image' .*1 more"):
    load(tmp_path)
  splits = load(tmp_path, data__skip_broken=True)
  assert sum(len(split.labels) for split in splits) == 58
  assert 'row 9' in capsys.readouterr().out


def columns(**changes):
  return {'image': cells(IMAGES), 'label': LABELS} | changes


@pytest.mark.parametrize(
  ('content', 'fields', 'message'),
  [
    (columns(image=LABELS), {}, r"column 'image' is int64, expected pictures"),
    (columns(image=list(IMAGES.reshape(60, -1))), {}, r"column 'image' is list<"),
    (columns(), {'data__image_column': 'label'}, r"column 'label' is int64.*image_column"),
    (columns(), {'data__image_column': 'imagine'}, r"image_column='imagine'.*'image'"),
    (columns(), {'data__label_column': 'lable'}, r"label_column='lable'.*'label'"),
    ({'a': LABELS}, {}, r'no pictures: its columns are a \(int64\).*image_column'),
    ({'a': cells(IMAGES), 'b': cells(IMAGES)}, {}, r'several columns of pictures \(a, b\)'),
    (columns(label=LABELS + 0.5), {}, r"column 'label'.*fraction"),
    (columns(label=[[1, 2]] * 60), {}, r"column 'label' is list<"),
    (columns(label=[None, *LABELS[1:].tolist()]), {}, r"1 of 60 rows have no 'label'"),
    ({'image': cells(IMAGES[:0]), 'label': LABELS[:0]}, {}, 'holds no rows'),
    ({'image': cells(IMAGES)}, {}, 'no labels.*conditional=False'),
    (columns(label=['a'] * 60), {}, 'one class'),
  ],
  ids=range(13),
)
def test_other_columns_are_refused(tmp_path, content, fields, message):
  write(tmp_path / 'x.parquet', content)
  with pytest.raises(InputError, match=message):
    load(tmp_path, **fields)


def remove(name):
  return lambda folder: (folder / name).unlink()


def cut(folder):
  os.truncate(folder / 'train-00001-of-00002.parquet', 500)


def unlike(folder):
  write(folder / 'train-00001-of-00002.parquet', {'image': cells(IMAGES)})


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (remove('train-00001-of-00002.parquet'), r'lacks 1 of the 2 .*train-00001-of-00002'),
    (cut, r'train-00001-of-00002\.parquet cannot be read'),
    (unlike, r"train-00001-of-00002\.parquet has no column 'label'"),
  ],
)
def test_shards_that_are_not_whole_are_refused(tmp_path, change, message):
  change(shards(tmp_path / 'set'))
  with pytest.raises(InputError, match=message):
    load(tmp_path / 'set')


def test_places_without_training_files_are_refused(tmp_path):
  write(tmp_path / 'other' / 'inner' / 'x.parquet', columns())
  write(tmp_path / 'tests' / 'test.parquet', columns())
  for place, message in (('', 'needs'), ('gone', 'cannot be found'), ('other', 'inner'),
                         ('tests', 'no training files')):  # fmt: skip
    with pytest.raises(InputError, match=message):
      load(tmp_path / place if place else '')


def test_a_missing_library_is_named(tmp_path, monkeypatch):
  shards(tmp_path / 'set')
  monkeypatch.setitem(sys.modules, 'pyarrow', None)
  monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
  with pytest.raises(InputError, match='pip install pyarrow'):
    load(tmp_path / 'set')


def test_a_disk_that_fills_up_while_decoding(tmp_path, monkeypatch, capsys, cache_home):
  shards(tmp_path / 'set')
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(picture_cache.os, 'fsync', full)
  splits = load(tmp_path / 'set')
  assert pairs(*splits) == EXPECTED
  assert 'No space left' in capsys.readouterr().out
  assert [*(cache_home / 'cvae_jax' / 'pictures').iterdir()] == []
