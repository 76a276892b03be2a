"""IDX files made here, whole and broken, and real ones."""

import gzip
import struct

import numpy as np
import pytest

from configs import mnist as mnist_config
from cvae_jax.data.datasets import load
from cvae_jax.data.readers import DATASETS, idx_format, mnist
from cvae_jax.runtime.errors import InputError
from idx_files import IMAGES, LABELS, encode, write
from made_data import config_of


def find(folder):
  return mnist.find(folder, 'mnist')


@pytest.mark.parametrize('compress', [True, False])
def test_what_was_written_is_read(tmp_path, compress):
  write(tmp_path, compress=compress)
  images, labels, _ = mnist.read_split(*find(tmp_path)['test'])
  np.testing.assert_array_equal(images[..., 0], IMAGES)
  np.testing.assert_array_equal(labels, LABELS)
  assert images.shape == (7, 5, 4, 1)
  assert labels.dtype == np.int32


@pytest.mark.parametrize(('compress', 'in_folders'), [(True, False), (False, False), (False, True)])
def test_the_names_of_mirrors_are_found(tmp_path, compress, in_folders):
  write(tmp_path / 'mnist', compress=compress)
  for path in sorted((tmp_path / 'mnist').iterdir()):
    name = path.name.replace('-idx', '.idx')
    if in_folders:
      path.rename(tmp_path / 'file')
      (tmp_path / 'mnist' / name).mkdir()
      (tmp_path / 'file').rename(tmp_path / 'mnist' / name / name)
    else:
      path.rename(path.with_name(name))
  for split in ('train', 'test'):
    images, labels, _ = mnist.read_split(*find(tmp_path)[split])
    np.testing.assert_array_equal(images[..., 0], IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_no_files_are_no_error_but_some_are(tmp_path):
  assert find(tmp_path) is None
  write(tmp_path)
  (tmp_path / 't10k-labels-idx1-ubyte.gz').unlink()
  with pytest.raises(InputError, match=f'{tmp_path} .*t10k-labels-idx1-ubyte'):
    find(tmp_path)


@pytest.mark.parametrize('inside', ['.', 'mnist'])
def test_files_are_found_in_the_folder_or_one_named_after_the_data_set(tmp_path, inside):
  write(tmp_path / inside)
  splits = load(config_of('mnist', tmp_path, conditional=False))
  assert [len(split.labels) for split in splits] == [5, 2, 7]
  assert len(load(config_of('mnist', tmp_path / inside, conditional=False)).test.labels) == 7


def test_a_stray_file_does_not_hide_a_whole_data_set(tmp_path):
  write(tmp_path / 'mnist')
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(b'')
  assert find(tmp_path)['test'][0].parent == tmp_path / 'mnist'
  (tmp_path / 'mnist' / 'train-images-idx3-ubyte.gz').unlink()
  with pytest.raises(InputError, match=f'{tmp_path} .*train-labels-idx1-ubyte'):
    find(tmp_path)


def test_the_folder_of_another_data_set_is_refused(tmp_path):
  write(tmp_path / 'fashion_mnist')
  with pytest.raises(InputError, match=r"data\.dir=.*'mnist'.*--config\.data\.name=fashion_mnist"):
    load(config_of('mnist', tmp_path / 'fashion_mnist'))


def test_one_call_registers_another_data_set(tmp_path, monkeypatch):
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  monkeypatch.setattr(mnist, '_names', set(mnist._names))
  mnist.register('kana', tuple('abcdefg'), mirrored=True)
  with pytest.raises(InputError, match=r"'kana'.*IDX files"):
    load(config_of('kana', tmp_path))
  write(tmp_path / 'kana')
  splits = load(config_of('kana', tmp_path, conditional=False))
  assert splits.test.class_names == tuple('abcdefg')
  assert DATASETS.trait('kana', 'mirrored') is True
  with pytest.raises(InputError, match=r'--config\.data\.name=kana'):
    find(tmp_path / 'kana')


GOOD = encode(IMAGES)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'header'),
    (GOOD[:9], 'header'),
    (GOOD[:-1], 'truncated: 139 .* 140 '),
    (GOOD + b'x', 'more than 140 '),
    (b'PNG!' + GOOD[4:], 'no IDX file'),
    (encode(LABELS), 'no IDX file of unsigned bytes in 3'),
    (GOOD[:4] + struct.pack('>3I', 2**31, 2**31, 2**31), 'truncated'),
  ],
)
@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_broken_content_is_named(tmp_path, content, message, suffix):
  path = tmp_path / f'train-images-idx3-ubyte{suffix}'
  path.write_bytes(gzip.compress(content) if suffix else content)
  with pytest.raises(InputError, match=message) as error:
    idx_format.read(path, 3)
  assert str(path) in str(error.value)


@pytest.mark.parametrize(
  'damage', [lambda b: b[: len(b) // 2], lambda b: b[:20] + b'?' + b[21:], lambda b: b'no gzip']
)
def test_broken_compression_is_named(tmp_path, damage):
  path = tmp_path / 'images.gz'
  path.write_bytes(damage(gzip.compress(GOOD)))
  with pytest.raises(InputError, match=r'images.gz'):
    idx_format.read(path, 3)


def test_images_and_labels_must_be_as_many(tmp_path):
  write(tmp_path, labels=LABELS[:-1])
  with pytest.raises(InputError, match=r'train-images.* 7 images, 6 labels'):
    mnist.read_split(*find(tmp_path)['train'])


def test_an_empty_file_is_refused(tmp_path):
  write(tmp_path, images=IMAGES[:0], labels=LABELS[:0])
  with pytest.raises(InputError, match=r'train-images.*no images'):
    mnist.read_split(*find(tmp_path)['train'])


@pytest.mark.data('mnist')
def test_real_mnist(real_data):
  images, labels, _ = mnist.read_split(*find(real_data)['train'])
  assert images.shape == (60_000, 28, 28, 1)
  assert labels[:5].tolist() == [5, 0, 4, 1, 9]
  assert np.bincount(labels)[:2].tolist() == [5923, 6742]


@pytest.mark.data('fashion_mnist')
def test_real_fashion_mnist(real_data):
  config = mnist_config.get_config()
  config.data.name, config.data.dir = 'fashion_mnist', str(real_data)
  splits = load(config)
  assert [len(split.labels) for split in splits] == [55_000, 5_000, 10_000]
  assert splits.train.class_names[9] == 'Ankle boot'
