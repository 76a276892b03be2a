"""A file with any content is read, or refused with an error that names it."""

import csv
import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import idx_files
import parquet_files
from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.data.readers import (
  arrays,
  binarized_mnist,
  celeba,
  cifar,
  embedded,
  idx_format,
  labels_file,
  parquet,
  pictures,
)
from cvae_jax.data.readers.decoding import Geometry
from cvae_jax.plots import curves
from cvae_jax.runtime import tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.training.logging import metrics_file
from tiny import task_of, tiny_config

FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None)
MANY = settings(max_examples=2_000, deadline=None, database=None)


def changed(content: bytes):
  """The content with bytes replaced, removed or inserted, truncated, or other bytes."""
  places = st.integers(0, len(content))
  changes = st.lists(
    st.tuples(places, st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
  )

  def apply(changes):
    result = content
    for place, removed, added in changes:
      result = result[:place] + added + result[place + removed :]
    return result

  return st.one_of(
    changes.map(apply), places.map(lambda end: content[:end]), st.binary(max_size=200)
  )


def idx_content():
  return idx_files.encode(idx_files.IMAGES)


def read_idx(path):
  images = idx_format.read(path, 3)
  assert images.dtype == np.uint8
  assert images.ndim == 3


def picture_content(form, **options):
  file = io.BytesIO()
  random = np.random.RandomState(0)
  Image.fromarray(random.randint(0, 256, (12, 9, 3), np.uint8)).save(file, form, **options)
  return file.getvalue()


def read_picture(path):
  images, readable = pictures.decode([path], Geometry(8, 8, 0, 3), cache=False, skip_broken=False)
  assert images.shape == (1, 8, 8, 3)
  assert readable.all()


def npz_content(save):
  file = io.BytesIO()
  random = np.random.RandomState(0)
  names = ('train', 'valid', 'test')
  save(file, **{name: random.randint(0, 256, (3, 98), np.uint8) for name in names})
  return file.getvalue()


def read_npz(path):
  for bits in binarized_mnist.read([path]).values():
    assert bits.shape[1:] == (28, 28, 1)
    assert set(np.unique(bits)) <= {0, 255}


def config_content(folder):
  parts = {'training images': 7}
  config_lib.save(folder, SavedConfig(tiny_config(), tuple('abcdefghij'), 'f00d', parts))
  return (folder / 'config.json').read_bytes()


def read_config(path):
  config_lib.check(config_lib.read(path.parent).config)


COLUMNS = metrics_file.columns(task_of(tiny_config()))
ROWS = [[3, 1.5, *[0.25] * 10, 9.5], [6, 3.0, *[0.5] * 6, *[''] * 4, 19.5]]


def csv_content():
  text = io.StringIO()
  csv.writer(text).writerows([COLUMNS, *ROWS])
  return text.getvalue().encode()


def read_metrics(path):
  before = path.read_bytes()
  try:
    curves.training_curves(path)
    metrics_file.forget_after(path.parent, 5, COLUMNS, print)
  except InputError:
    assert path.read_bytes() == before
    raise
  assert before.startswith(path.read_bytes())


CELEBA = b'image_id,Male,Smiling\n000001.jpg,1,-1\n000002.jpg,-1,1\n000003.jpg,1,1\n'


def read_celeba(path):
  folder = path.parent
  partition = 'image_id,partition\n000001.jpg,0\n000002.jpg,1\n000003.jpg,2\n'
  (folder / 'list_eval_partition.csv').write_text(partition)
  (folder / 'img_align_celeba').mkdir(exist_ok=True)
  for number in (1, 2, 3):
    (folder / 'img_align_celeba' / f'00000{number}.jpg').touch()
  splits = celeba.read(celeba.find(folder), 'Smiling')
  assert [len(paths) for paths, *_ in splits.values()] == [1, 1, 1]


def cifar_content():
  batch = {'data': np.zeros((5, 3072), np.uint8), 'labels': [0, 1, 2, 3, 9]}
  return pickle.dumps(batch, protocol=4)


def read_cifar(path):
  images, labels, _ = cifar.read_split([path])
  assert images.shape == (len(labels), 32, 32, 3)


def arrays_content(save):
  file, random = io.BytesIO(), np.random.RandomState(0)
  save(file, images=random.randint(0, 256, (6, 8, 8), np.uint8), labels=np.arange(6) % 2)
  return file.getvalue()


def array_content():
  file = io.BytesIO()
  np.save(file, np.random.RandomState(0).randint(0, 256, (6, 8, 8), np.uint8))
  return file.getvalue()


def read_arrays(path):
  images, labels, _ = arrays.source(tiny_config(data__dir=str(path)).data).splits['train']
  assert images.dtype == np.uint8
  assert images.ndim == 4
  assert len(images) == len(labels)


def parquet_content(folder):
  images = parquet_files.cells(parquet_files.images(6))
  columns = {'image': images, 'label': ['a', 'b', 'c'] * 2}
  return parquet_files.write(folder / 'x.parquet', columns).read_bytes()


def read_parquet(path):
  split = parquet.source(tiny_config(data__dir=str(path)).data).splits['train']
  assert len(list(embedded.contents(split.images))) == len(split.labels)


LABELS = 'file,class\n1.png,café\n2.png,"a, b"\n'.encode()


def read_labels(path):
  for name in ('1.png', '2.png'):
    (path.parent / name).touch()
  found, _ = labels_file.read(path, {'train': path.parent})
  assert sum(map(len, found['train'].values())) == 2


def weights_content(folder):
  tensor_files.save(
    folder / 'w.safetensors', {'params': {'w': np.arange(12, dtype=np.float32)}}, step=3
  )
  return (folder / 'w.safetensors').read_bytes()


def read_weights(path):
  read, step = tensor_files.read(path, {'params': {'w': np.zeros(12, np.float32)}})
  # There is a hash of the numbers: what is read is what was written.
  np.testing.assert_array_equal(read['params']['w'], np.arange(12))
  assert isinstance(step, int)


FILES = {
  'train-images-idx3-ubyte': (lambda _: idx_content(), read_idx),
  'train-images-idx3-ubyte.gz': (lambda _: gzip.compress(idx_content()), read_idx),
  'picture.png': (lambda _: picture_content('PNG'), read_picture),
  'picture.jpg': (lambda _: picture_content('JPEG'), read_picture),
  'picture.webp': (lambda _: picture_content('WEBP'), read_picture),
  'picture.bmp': (lambda _: picture_content('BMP'), read_picture),
  'picture.tif': (lambda _: picture_content('TIFF'), read_picture),
  'compressed.tif': (lambda _: picture_content('TIFF', compression='tiff_lzw'), read_picture),
  'picture.gif': (lambda _: picture_content('GIF'), read_picture),
  'binarized_mnist.npz': (lambda _: npz_content(np.savez), read_npz),
  'compressed.npz': (lambda _: npz_content(np.savez_compressed), read_npz),
  'config.json': (config_content, read_config),
  'metrics.csv': (lambda _: csv_content(), read_metrics),
  'list_attr_celeba.csv': (lambda _: CELEBA, read_celeba),
  'data_batch_1': (lambda _: cifar_content(), read_cifar),
  'data_batch_1.bin': (lambda _: bytes([7, *bytes(3072)]) * 5, read_cifar),
  'arrays.npz': (lambda _: arrays_content(np.savez), read_arrays),
  'compressed_arrays.npz': (lambda _: arrays_content(np.savez_compressed), read_arrays),
  'images.npy': (lambda _: array_content(), read_arrays),
  'train.parquet': (parquet_content, read_parquet),
  'labels.csv': (lambda _: LABELS, read_labels),
  'weights.safetensors': (weights_content, read_weights),
}


def check_message(error, path):
  """It names the file or its folder, and is short."""
  assert str(path) in str(error) or str(path.parent) in str(error)
  assert len(str(error)) < 2_000


def check(name, folder, settings):
  make, read = FILES[name]
  path = folder / name
  content = make(folder)
  outcomes = set()

  @settings
  @given(changed(content))
  def reads_or_refuses(garbage):
    path.write_bytes(garbage)
    try:
      read(path)
      outcomes.add('read')
    except InputError as error:
      outcomes.add('refused')
      check_message(error, path)

  reads_or_refuses()
  assert 'refused' in outcomes


@pytest.mark.parametrize('name', FILES)
def test_garbage_is_read_or_refused(name, tmp_path):
  check(name, tmp_path, FEW)


@pytest.mark.faults
@pytest.mark.parametrize('name', FILES)
def test_much_garbage(name, tmp_path):
  check(name, tmp_path, MANY)


@pytest.mark.parametrize('name', FILES)
def test_the_file_itself_is_read(name, tmp_path):
  make, read = FILES[name]
  content = make(tmp_path)
  (tmp_path / name).write_bytes(content)
  read(tmp_path / name)
  assert content.startswith((tmp_path / name).read_bytes())


VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
  lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
  ),
  max_leaves=6,
)


def places(content, before=()):
  for name, value in content.items():
    yield (*before, name)
    if isinstance(value, dict):
      yield from places(value, (*before, name))


def test_any_value_in_any_place_of_a_config(tmp_path):
  content, outcomes = json.loads(config_content(tmp_path)), set()

  @settings(FEW, max_examples=300)
  @given(st.sampled_from(list(places(content))), VALUES)
  def reads_or_refuses(place, value):
    other = json.loads(json.dumps(content))
    inner = other
    for name in place[:-1]:
      inner = inner[name]
    inner[place[-1]] = value
    (tmp_path / 'config.json').write_text(json.dumps(other))
    try:
      config_lib.check(config_lib.read(tmp_path).config)
      outcomes.add('read')
    except InputError as error:
      outcomes.add('refused')
      check_message(error, tmp_path)

  reads_or_refuses()
  assert outcomes == {'read', 'refused'}


def test_a_bomb_is_not_unpacked(tmp_path):
  with zipfile.ZipFile(tmp_path / 'binarized_mnist.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
    for name in ('train', 'valid', 'test'):
      archive.writestr(f'{name}.npy', bytes(1 << 28))
  with pytest.raises(InputError, match=r'binarized_mnist\.npz'):
    binarized_mnist.read([tmp_path / 'binarized_mnist.npz'])
