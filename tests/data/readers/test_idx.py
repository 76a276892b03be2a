"""IDX files of any names: found by their words, with any classes, or refused by their names."""

import gzip
import struct

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.readers import file_rows, idx
from cvae_jax.runtime.errors import InputError
from idx_files import encode
from made_data import config_of

IMAGES = np.random.RandomState(0).randint(0, 256, (78, 8, 9), np.uint8)
LETTERS = (np.arange(78) % 26 + 1).astype(np.uint8)
TYPES = {'>i4': 12, '>f4': 13, '>i2': 11}


def encode_wide(array, dtype):
  header = struct.pack('>HBB', 0, TYPES[dtype], array.ndim)
  return header + struct.pack(f'>{array.ndim}I', *array.shape) + array.astype(dtype).tobytes()


def write(folder, arrays, compress=False):
  folder.mkdir(exist_ok=True)
  for name, content in arrays.items():
    content = content if isinstance(content, bytes) else encode(content)
    (folder / name).write_bytes(gzip.compress(content) if compress else content)


def load(path, **changes):
  return datasets.load(config_of('idx', path, data__num_classes=0, **changes))


def pairs(*splits):
  return {
    (np.asarray(image).tobytes(), name)
    for split in splits
    for image, name in zip(split.images, np.array(split.class_names)[split.labels], strict=True)
  }


EXPECTED = {(image.tobytes(), str(label)) for image, label in zip(IMAGES, LETTERS, strict=True)}
SIZE = {'data__fit': 'crop', 'data__crop_size': 0}


@pytest.mark.parametrize('compress', [True, False])
@pytest.mark.parametrize(
  ('images', 'labels', 'end'),
  [
    ('emnist-letters-{}-images-idx3-ubyte', 'emnist-letters-{}-labels-idx1-ubyte', '.gz'),
    ('{}-images.idx3-ubyte', '{}-labels.idx1-ubyte', ''),
    ('X_{}', 'Y_{}', ''),
    ('{}.images.idx', '{}.label.idx', '.GZ'),
  ],
)
def test_files_are_found_by_their_words(tmp_path, images, labels, end, compress):
  for split, rows in (('train', slice(52)), ('test', slice(52, 78))):
    content = {images: IMAGES[rows, :, :8], labels: LETTERS[rows]}
    write(tmp_path, {name.format(split) + end: array for name, array in content.items()}, compress)
  splits = load(tmp_path, data__validation_examples=2, conditional=False)
  assert splits.train.class_names == tuple(map(str, range(1, 27)))
  assert [len(split.labels) for split in splits] == [50, 2, 26]
  expected = {(image[:, :8].tobytes(), str(n)) for image, n in zip(IMAGES, LETTERS, strict=True)}
  assert pairs(*splits) == expected


def test_two_files_are_split(tmp_path):
  write(tmp_path, {'my-images-idx3-ubyte': IMAGES[:, :, 1:], 'my-labels-idx1-ubyte': LETTERS % 3})
  splits = load(tmp_path, data__validation_examples=9)
  assert [len(split.labels) for split in splits] == [60, 9, 9]
  assert splits.test.class_names == ('0', '1', '2')


def test_the_columns_of_qmnist(tmp_path):
  labels = np.column_stack([LETTERS, *[np.arange(78)] * 7])
  content = {
    'qmnist-train-images-idx3-ubyte': IMAGES[:, :, :8],
    'qmnist-train-labels-idx2-int': encode_wide(labels, '>i4'),
    'qmnist-test-images-idx3-ubyte': IMAGES[:5, :, :8],
    'qmnist-test-labels-idx2-int': encode_wide(labels[:5], '>i4'),
  }
  write(tmp_path, content)
  splits = load(tmp_path, conditional=False)
  assert splits.test.class_names == tuple(map(str, range(1, 27)))
  assert len(pairs(splits.train, splits.validation)) == 78


@pytest.mark.parametrize(('dtype', 'scale', 'bit_depth'), [('>f4', 1 / 255, 0), ('>i2', 16, 12)])
def test_images_of_other_types(tmp_path, dtype, scale, bit_depth):
  write(tmp_path, {'images.idx': encode_wide(IMAGES[:, :, :8] * scale, dtype)})
  source = idx.source(config_of('idx', tmp_path, data__bit_depth=bit_depth).data)
  images = {image.tobytes() for image in source.splits['train'].images}
  white = (1 << bit_depth) - 1 if bit_depth else 1
  expected = np.round(IMAGES[:, :, :8] * scale / white * 255).astype(np.uint8)
  assert images == {image.tobytes() for image in expected}


def test_the_beginning_of_names_chooses_a_data_set(tmp_path):
  for kind in ('letters', 'digits'):
    for split in ('train', 'test'):
      content = {'images-idx3': IMAGES[:, :, :8], 'labels-idx1': LETTERS}
      write(tmp_path, {f'emnist-{kind}-{split}-{name}': x for name, x in content.items()})
  with pytest.raises(InputError, match=r'emnist-digits-train-.*emnist-letters-train-'):
    idx.find(tmp_path)
  found = idx.find(tmp_path / 'emnist-letters')
  assert {path.name[:14] for path in found.values()} == {'emnist-letters'}
  assert len(found) == 4


def test_both_forms_of_a_file_and_kaggles_folders(tmp_path):
  write(tmp_path, {'train-images-idx3-ubyte.gz': gzip.compress(encode(IMAGES))})
  write(tmp_path, {'train-images.idx3-ubyte': IMAGES, 'notes.txt': b'x', '._images.idx': b'x'})
  place = tmp_path / 'train-labels.idx1-ubyte'
  write(place, {place.name: LETTERS})
  found = idx.find(tmp_path)
  assert {str(role): path.name for role, path in found.items()} == {
    'train images': 'train-images.idx3-ubyte',
    'train labels': 'train-labels.idx1-ubyte',
  }


def test_a_large_file_is_streamed_in_the_same_order(tmp_path, monkeypatch):
  write(tmp_path, {'images.idx': IMAGES[:, :, :8], 'labels.idx': LETTERS % 2})
  in_memory = load(tmp_path)
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)
  in_file = load(tmp_path)
  assert isinstance(in_file.train.images, file_rows.FileRows)
  assert datasets.fingerprint(*in_file) == datasets.fingerprint(*in_memory)
  np.testing.assert_array_equal(in_file.train.images[:6], in_memory.train.images[:6])


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ({}, 'holds no IDX file'),
    ({'train-labels-idx1-ubyte': LETTERS}, 'no training images.*train-labels-idx1-ubyte'),
    ({'images.idx': IMAGES, 'labels.idx': LETTERS[:-1]}, '78 images, 77 labels'),
    ({'images.idx': encode(IMAGES)[:-1], 'labels.idx': LETTERS}, r'images\.idx is truncated'),
    ({'images.idx': b'PNG!', 'labels.idx': LETTERS}, r'images\.idx is no IDX file'),
    ({'images.idx': gzip.compress(encode(IMAGES))[:-9]}, r'images\.idx cannot be read'),
    ({'train-images.idx': IMAGES, 'test-labels.idx': LETTERS}, 'test labels, but no test images'),
    ({'images.idx': LETTERS}, r'shape \[78\]'),
    ({'images.idx': IMAGES, 'my-images.idx': IMAGES}, r'images-idx, my-images-idx'),
  ],
  ids=range(9),
)
def test_other_files_are_refused(tmp_path, content, message):
  write(tmp_path, content)
  with pytest.raises(InputError, match=message) as error:
    load(tmp_path)
  assert str(tmp_path) in str(error.value)


def test_no_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match=r'--config\.data\.dir=DIR'):
    idx.source(config_of('idx', '').data)
  with pytest.raises(InputError, match='nowhere cannot be found'):
    idx.find(tmp_path / 'nowhere' / 'x')
