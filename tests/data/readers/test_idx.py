"""The IDX reader on files made here, whole and broken."""

import gzip
import struct

import numpy as np
import pytest

from cvae_jax.data.readers import idx
from cvae_jax.runtime.errors import InputError
from idx_files import IMAGES, LABELS, encode, write


@pytest.mark.parametrize('compress', [True, False])
def test_reads_what_was_written(tmp_path, compress):
  write(tmp_path, compress=compress)
  images, labels = idx.read_split(*idx.find(tmp_path)['test'])
  np.testing.assert_array_equal(images[..., 0], IMAGES)
  np.testing.assert_array_equal(labels, LABELS)
  assert images.shape == (7, 5, 4, 1)
  assert labels.dtype == np.int32


def test_no_files_are_no_error_but_some_are(tmp_path):
  assert idx.find(tmp_path) is None
  write(tmp_path)
  (tmp_path / 't10k-labels-idx1-ubyte.gz').unlink()
  with pytest.raises(InputError, match='not t10k-labels-idx1-ubyte'):
    idx.find(tmp_path)


GOOD = encode(IMAGES)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'ends within its header'),
    (GOOD[:9], 'ends within its header'),
    (GOOD[:-1], 'truncated: its header promises 140 bytes'),
    (GOOD + b'x', 'longer than its header says'),
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
    idx.read(path, 3)
  assert str(path) in str(error.value)


@pytest.mark.parametrize(
  'damage', [lambda b: b[: len(b) // 2], lambda b: b[:20] + b'?' + b[21:], lambda b: b'no gzip']
)
def test_broken_compression_is_named(tmp_path, damage):
  path = tmp_path / 'images.gz'
  path.write_bytes(damage(gzip.compress(GOOD)))
  with pytest.raises(InputError, match=r'images.gz'):
    idx.read(path, 3)


def test_counts_must_agree(tmp_path):
  write(tmp_path, labels=LABELS[:-1])
  with pytest.raises(InputError, match=r'7 images, but .* 6 labels'):
    idx.read_split(*idx.find(tmp_path)['train'])


def test_an_empty_file_is_refused(tmp_path):
  write(tmp_path, images=IMAGES[:0], labels=LABELS[:0])
  with pytest.raises(InputError, match='holds no images'):
    idx.read_split(*idx.find(tmp_path)['train'])


@pytest.mark.data('mnist')
def test_real_mnist(real_data):
  images, labels = idx.read_split(*idx.find(real_data)['train'])
  assert images.shape == (60_000, 28, 28, 1)
  assert labels[:5].tolist() == [5, 0, 4, 1, 9]
  assert np.bincount(labels)[:2].tolist() == [5923, 6742]
