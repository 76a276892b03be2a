"""train.py on tables of conditions, in each form of files that they come in."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import parquet_files
from tiny import TINY_FLAGS

COUNT = 120
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (COUNT, 8, 8), np.uint8)
KIND = np.array(['ant', 'bee', 'cat', ''])[np.arange(COUNT) % 4]
SIZE = np.where(
  np.arange(COUNT) % 5 == 0, np.float32(np.nan), RANDOM.rand(COUNT).astype(np.float32)
)
WINGS = np.arange(COUNT) % 3 < 2


def write_npz(folder):
  np.savez(folder / 'a.npz', images=IMAGES, kind=KIND, size=SIZE, wings=WINGS)
  return 'arrays', folder / 'a.npz'


def write_parquet(folder):
  sizes = [None if np.isnan(size) else size for size in SIZE]
  columns = {
    'kind': [kind or None for kind in KIND],
    'size': sizes,
    'image': parquet_files.cells(IMAGES),
    'wings': WINGS,
  }
  parquet_files.write(folder / 'train.parquet', columns)
  return 'parquet', folder


def write_csv(folder, **line_3):
  rows = []
  for number, image in enumerate(IMAGES):
    Image.fromarray(image).save(folder / f'{number}.png')
    size = '' if np.isnan(SIZE[number]) else SIZE[number]
    row = {'kind': KIND[number], 'size': size, 'wings': ['no', 'yes'][int(WINGS[number])]}
    rows.append([f'{number}.png', *(row | (line_3 if number == 1 else {})).values()])
  with open(folder / 'labels.csv', 'w', newline='') as file:
    csv.writer(file, delimiter=';').writerows([['file', 'kind', 'size', 'wings'], *rows])
  return 'folder', folder


def flags(name, place, conditions):
  fields = {'name': name, 'dir': place, 'conditions': conditions, 'num_classes': 0}
  fields |= {'validation_examples': 10, 'max_examples': 0}
  return ['--config', 'configs/default.py', *TINY_FLAGS] + [
    f'--config.data.{field}={value}' for field, value in fields.items()
  ]


@pytest.mark.slow
@pytest.mark.parametrize('write', [write_npz, write_parquet, write_csv])
def test_each_form_is_trained(forked_command, tmp_path, monkeypatch, write):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  (tmp_path / 'data').mkdir()
  given = flags(*write(tmp_path / 'data'), 'wings,kind,size,slant')
  done = forked_command('train.py', *given, timeout=600)
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  shown = 'kind (category, 3 names), size (number), wings (flag)'
  assert f'Conditions: {shown}.' in done.stdout
  saved = json.loads((tmp_path / 'runs/tiny/config.json').read_text())
  columns = {column['name']: column for column in saved['columns']}
  assert [*columns] == ['wings', 'kind', 'size', 'slant']
  assert saved['config']['data']['columns'] == ['flag', 'category:3?', 'number?', 'number']
  assert columns['kind']['names'] == ['ant', 'bee', 'cat']
  assert np.nanmin(SIZE) <= columns['size']['low'] < columns['size']['high'] <= np.nanmax(SIZE)
  assert columns['size']['mean'] == pytest.approx(np.nanmean(SIZE), abs=0.1)


@pytest.mark.parametrize(
  ('conditions', 'message'),
  [
    ('sise,kind', "has no column 'sise'. It has kind, size, wings"),
    ('all', "labels.csv, line 3: 'big' in the column 'size' is no number"),
    ('wings:number', "labels.csv, line 2: 'yes' in the column 'wings' is no number"),
    ('kind:flag', "'ant' in the column 'kind' is no flag"),
    ('kind,kind', 'twice'),
  ],
)
def test_bad_tables_are_refused_in_one_line(refused, tmp_path, conditions, message):
  (tmp_path / 'data').mkdir()
  place = write_csv(tmp_path / 'data', size='big')
  assert message in refused('train.py', *flags(*place, conditions))
