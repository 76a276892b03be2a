"""train.py on the user's own data, in each form that they come in."""

import csv
import gzip
import json

import numpy as np
import pytest
from PIL import Image

import parquet_files
from cvae_jax.data import datasets
from idx_files import encode
from made_data import config_of
from tiny import TINY_FLAGS

IMAGES = np.random.RandomState(0).randint(0, 256, (120, 8, 8), np.uint8)
NAMES = np.array(['ant', 'bee', 'cat'])[np.arange(120) % 3]
NUMBERS = np.arange(120) % 3


def write_npz(folder):
  parts = {'train': slice(0, 100), 'val': slice(100, 110), 'test': slice(110, 120)}
  arrays = {f'{name}_images': IMAGES[rows] for name, rows in parts.items()}
  arrays |= {f'{name}_labels': NUMBERS[rows, None] for name, rows in parts.items()}
  np.savez_compressed(folder / 'mine.npz', **arrays)
  return 'arrays', folder / 'mine.npz', NUMBERS


def write_npy(folder):
  np.save(folder / 'images.npy', IMAGES / 255)
  np.save(folder / 'labels.npy', NAMES)
  return 'arrays', folder, NAMES


def write_idx(folder):
  for split, rows in (('train', slice(0, 100)), ('test', slice(100, 120))):
    for kind, array in (('images-idx3', IMAGES), ('labels-idx1', (NUMBERS + 1).astype(np.uint8))):
      content = gzip.compress(encode(array[rows]))
      (folder / f'emnist-letters-{split}-{kind}-ubyte.gz').write_bytes(content)
  return 'idx', folder / 'emnist-letters', NUMBERS + 1


def write_parquet(folder):
  for number in (0, 1):
    rows = slice(60 * number, 60 * number + 60)
    columns = {'image': parquet_files.cells(IMAGES[rows]), 'label': NUMBERS[rows]}
    metadata = parquet_files.class_label(['ant', 'bee', 'cat'])
    parquet_files.write(folder / f'data/train-{number:05d}-of-00002.parquet', columns, metadata)
  return 'parquet', folder, NAMES


def save_pictures(folder, places):
  for place, image in zip(places, IMAGES, strict=True):
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / place)


def write_csv(folder):
  places = [f'images/{row:03d}.png' for row in range(120)]
  save_pictures(folder, places)
  with open(folder / 'labels.csv', 'w', newline='', encoding='utf-16') as file:
    csv.writer(file, delimiter=';').writerows([('file', 'kind'), *zip(places, NAMES, strict=True)])
  return 'folder', folder, NAMES


def write_nested(folder):
  save_pictures(folder, [f'site{row % 2}/{name}/{row}.png' for row, name in enumerate(NAMES)])
  return 'folder', folder, NAMES


FORMS = [write_npz, write_npy, write_idx, write_parquet, write_csv, write_nested]


@pytest.mark.slow
@pytest.mark.parametrize('write', FORMS)
def test_each_form_is_trained(forked_command, tmp_path, monkeypatch, write):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  (tmp_path / 'data').mkdir()
  name, place, labels = write(tmp_path / 'data')
  fields = {'data__num_classes': 0, 'data__validation_examples': 10, 'data__max_examples': 0}
  if write is write_nested:
    fields['data__class_level'] = -1
  flags = [f'--config.{field.replace("__", ".")}={value}' for field, value in fields.items()]
  flags += [f'--config.data.name={name}', f'--config.data.dir={place}', '--config.batch_size=32']
  done = forked_command('train.py', '--config', 'configs/default.py', *TINY_FLAGS, *flags)
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  saved = json.loads((tmp_path / 'runs/tiny/config.json').read_text())
  assert saved['class_names'] == sorted(set(map(str, labels)))
  # What was trained on is what the library of the format was given.
  splits = datasets.load(config_of(name, place, **fields))
  assert saved['data_fingerprint'] == datasets.fingerprint(splits.train, splits.validation)
  read = {
    (image.tobytes(), split.class_names[label])
    for split in splits
    for image, label in zip(split.images, split.labels, strict=True)
  }
  assert read == {(image.tobytes(), str(x)) for image, x in zip(IMAGES, labels, strict=True)}


def cut_archive(folder):
  path = folder / 'a.npz'
  np.savez(path, images=IMAGES, labels=NUMBERS)
  path.write_bytes(path.read_bytes()[:-100])
  return 'arrays', path


def differing_lengths(folder):
  np.savez(folder / 'a.npz', images=IMAGES, labels=NUMBERS[1:])
  return 'arrays', folder / 'a.npz'


def no_image(folder):
  parquet_files.write(folder / 'a.parquet', {'image': NUMBERS, 'label': NUMBERS})
  return 'parquet', folder


def missing_file(folder):
  write_csv(folder)
  (folder / 'images/007.png').unlink()
  return 'folder', folder


def one_class(folder):
  (folder / 'images.idx').write_bytes(encode(IMAGES))
  (folder / 'labels.idx').write_bytes(encode(np.zeros(120, np.uint8)))
  return 'idx', folder


@pytest.mark.parametrize(
  ('write', 'message'),
  [
    (cut_archive, 'cut off'),
    (differing_lengths, '120 images, 119 labels'),
    (no_image, "column 'image' is int64"),
    (missing_file, 'names 1 file(s) that are not there (images/007.png)'),
    (one_class, 'one class only'),
  ],
)
def test_bad_data_end_in_one_line(refused, tmp_path, write, message):
  (tmp_path / 'data').mkdir()
  name, place = write(tmp_path / 'data')
  flags = [f'--config.data.name={name}', f'--config.data.dir={place}']
  line = refused('train.py', '--config', 'configs/default.py', *TINY_FLAGS, *flags)
  assert message in line
  assert str(tmp_path / 'data') in line or name in line
