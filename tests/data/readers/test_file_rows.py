"""Rows of arrays in files: the same as of arrays in memory, and read only when asked for."""

import os
import tracemalloc

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS, Source, Split, file_rows
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.data.readers.sources import in_order_of_content
from cvae_jax.runtime.errors import InputError
from idx_files import write
from made_data import config_of, make

ARRAY = np.random.RandomState(0).randint(0, 256, (50, 6, 5, 3), np.uint8)


@pytest.fixture
def all_large(monkeypatch):
  """Every array in a file stays there."""
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)


def stored(folder, array=ARRAY, mode='r'):
  np.save(folder / 'array.npy', array)
  return np.load(folder / 'array.npy', mmap_mode=mode)


@pytest.mark.parametrize(
  'rows',
  [7, -2, slice(None), slice(3, 40), slice(40, 3, -2), slice(60, 70), np.array([9, 10, 11, 4, 4]),
   np.array([[1, 2], [49, 0]]), np.array([], int), np.arange(50) % 7 == 2],
  ids=str,
)  # fmt: skip
def test_rows_are_those_of_the_array(tmp_path, all_large, rows):
  kept = file_rows.in_file(stored(tmp_path))
  assert isinstance(kept, FileRows)
  assert (kept.shape, kept.dtype, len(kept)) == (ARRAY.shape, ARRAY.dtype, 50)
  assert kept.nbytes == ARRAY.nbytes
  np.testing.assert_array_equal(kept[rows], ARRAY[rows])
  order = np.random.RandomState(1).permutation(50)
  np.testing.assert_array_equal(kept.take(order)[rows], ARRAY[order][rows])
  np.testing.assert_array_equal(kept.take(order).take(slice(5, 20)), ARRAY[order][5:20])


def test_views_of_a_map_are_found_in_its_file(tmp_path, all_large):
  mapped = stored(tmp_path)
  for view, expected in (
    (mapped[10:, ..., None], ARRAY[10:, ..., None]),
    (mapped[::3], ARRAY[::3]),
    (mapped[5:, 2:4], ARRAY[5:, 2:4]),
    (np.asarray(mapped), ARRAY),
  ):
    kept = file_rows.in_file(view)
    assert isinstance(kept, FileRows)
    np.testing.assert_array_equal(kept, expected)
  records = np.zeros(50, [('flag', '?'), ('image', 'u1', ARRAY.shape[1:])])
  records['image'] = ARRAY
  kept = file_rows.in_file(stored(tmp_path, records)['image'])
  assert isinstance(kept, FileRows)
  np.testing.assert_array_equal(kept[[4, 8]], ARRAY[[4, 8]])


def test_other_arrays_stay_as_they_are(tmp_path, monkeypatch):
  mapped = stored(tmp_path)
  assert file_rows.in_file(mapped) is mapped  # small
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  changeable = stored(tmp_path, mode='c')
  for array in (ARRAY, changeable, mapped[:, :, 1:]):  # the last has rows with gaps
    assert file_rows.in_file(array) is array
    np.testing.assert_array_equal(file_rows.take(array, slice(2, 5)), array[2:5])


def test_a_file_that_becomes_shorter_is_named(tmp_path, all_large):
  kept = file_rows.in_file(stored(tmp_path))
  os.truncate(tmp_path / 'array.npy', 1000)
  kept[:2]
  with pytest.raises(InputError, match=r'array\.npy has become shorter'):
    kept[49]


def test_the_order_of_content_is_that_of_the_hashes(tmp_path, monkeypatch):
  import hashlib

  images = np.concatenate([ARRAY, ARRAY[:10]])  # with equal ones, which stay in order
  labels = np.arange(60, dtype=np.int32) % 10
  digests = [
    hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()
    for image, label in zip(images, labels, strict=True)
  ]
  expected = sorted(range(60), key=digests.__getitem__)
  monkeypatch.setattr(file_rows, 'PIECE_BYTES', 700)
  in_memory = in_order_of_content({'train': Split(images, labels)})['train']
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  in_file = in_order_of_content({'train': Split(stored(tmp_path, images), labels)})['train']
  assert isinstance(in_file.images, FileRows)
  for split in (in_memory, in_file):
    np.testing.assert_array_equal(split.images, images[expected])
    np.testing.assert_array_equal(split.labels, labels[expected])


@pytest.mark.parametrize('size', [8, 6])
def test_a_large_data_set_is_split_as_a_small_one(tmp_path, monkeypatch, size):
  images = np.random.RandomState(2).randint(0, 256, (90, 8, 8), np.uint8)
  write(tmp_path, images, np.arange(90, dtype=np.uint8) % 10, compress=False)
  config = config_of('mnist', tmp_path, data__validation_examples=20, data__image_size=size)
  in_memory = datasets.load(config)
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)
  in_file = datasets.load(config)
  assert isinstance(in_file.train.images, FileRows) is (size == 8)  # resized ones are in memory
  for small, large in zip(in_memory, in_file, strict=True):
    assert isinstance(small.images, np.ndarray)
    np.testing.assert_array_equal(large.images, small.images)
    np.testing.assert_array_equal(large.labels, small.labels)
  assert datasets.fingerprint(*in_file) == datasets.fingerprint(*in_memory)


def test_arrays_of_the_user_stay_in_their_file(tmp_path, monkeypatch, all_large):
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  images = np.random.RandomState(3).randint(0, 256, (60, 8, 8, 1), np.uint8)

  @DATASETS.register('mapped')
  def mapped(data):
    labels = np.arange(60, dtype=np.int32) % 10
    return Source({'train': Split(stored(tmp_path, images), labels)}, tuple('0123456789'))

  splits = datasets.load(config_of('mapped', tmp_path, data__validation_examples=10))
  assert all(isinstance(split.images, FileRows) for split in splits)
  rows = np.concatenate([split.images for split in splits])
  assert {row.tobytes() for row in rows} == {image.tobytes() for image in images}


@pytest.mark.parametrize('cached', [False, True])
def test_decoded_pictures_stay_in_the_cache(tmp_path, monkeypatch, cached):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  make('folder', tmp_path / 'pictures')
  config = config_of('folder', tmp_path / 'pictures', data__num_classes=10)
  in_memory = datasets.load(config) if cached else datasets.load(config, at_most=1000)
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  in_file = datasets.load(config)
  assert isinstance(in_memory.train.images, np.ndarray)
  assert isinstance(in_file.train.images, FileRows)
  assert datasets.fingerprint(*in_file) == datasets.fingerprint(*in_memory)


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 1 << 20)
  monkeypatch.setattr(file_rows, 'PIECE_BYTES', 1 << 18)
  images = np.zeros((40_000, 28, 28), np.uint8)
  images[:, 0, :4] = np.arange(40_000, dtype=np.int32)[:, None].view(np.uint8)
  write(tmp_path, images, np.arange(40_000, dtype=np.uint8) % 10, compress=False)
  config = config_of('mnist', tmp_path, data__validation_examples=100, data__image_size=28)
  num_bytes = images.nbytes
  del images
  tracemalloc.start()
  try:
    splits = datasets.load(config)
    datasets.fingerprint(splits.train, splits.validation)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < num_bytes / 6  # of 784 bytes an image, about 90 for numbers, hashes and labels
