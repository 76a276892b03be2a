"""What arrays may hold to be images or labels."""

import numpy as np
import pytest

from cvae_jax.data.readers import array_images, array_labels, file_rows
from cvae_jax.runtime.errors import InputError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 8, 9), np.uint8)
LABELS = np.arange(20) % 3


@pytest.mark.parametrize(
  ('given', 'bit_depth', 'expected'),
  [
    (IMAGES, 0, IMAGES),
    (IMAGES, 12, IMAGES),  # bytes are no deep pixels
    (IMAGES.astype(np.int64), 0, IMAGES),
    (IMAGES / 255, 0, IMAGES),
    ((IMAGES / 255).astype(np.float32), 0, IMAGES),
    ((IMAGES / 255).astype(np.float16), 0, IMAGES),
    (IMAGES / 255 * 1.0005, 0, IMAGES),  # as an interpolation overshoots
    (IMAGES > 99, 0, 255 * (IMAGES > 99)),
    (IMAGES.astype(np.uint16) * 257, 16, IMAGES),
    (IMAGES.astype(np.int32) * 16 + 7, 12, np.round((IMAGES * 16.0 + 7) / 4095 * 255)),
    ((IMAGES / 255).tolist(), 0, IMAGES),
  ],
  ids=range(11),
)
def test_images_become_bytes(given, bit_depth, expected):
  images = array_images.images_of(given, 'images', bit_depth)
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(images[..., 0], expected)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 16])
def test_channels_come_last(channels):
  images = np.repeat(IMAGES[..., None], channels, axis=-1)
  assert array_images.images_of(images, 'images').shape == (20, 8, 9, channels)
  tall = np.repeat(images, 3, axis=1)
  if channels > 1:
    first = tall.transpose(0, 3, 1, 2).repeat(2, axis=3)
    with pytest.raises(InputError, match=r'transpose\(0, 2, 3, 1\)'):
      array_images.images_of(first, 'images')


def test_bytes_in_a_file_stay_there(tmp_path, monkeypatch):
  np.save(tmp_path / 'images.npy', IMAGES)
  mapped = np.load(tmp_path / 'images.npy', mmap_mode='r')
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  images = file_rows.in_file(array_images.images_of(mapped, 'images'))
  assert isinstance(images, file_rows.FileRows)
  np.testing.assert_array_equal(images[:][..., 0], IMAGES)


def with_value(value, array=IMAGES / 255):
  array = array.copy()
  array[7, 2, 3] = value
  return array


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (IMAGES * 1.0, r'floats from 0 to 255, .*Divide by 255\?'),
    (IMAGES / 127.5 - 1, r'floats from -1 to 1.* images / 2 \+ 0\.5'),
    (with_value(1.5), r'floats from 0 to 1\.5'),
    (with_value(np.nan), 'NaN, first in image 7'),
    (with_value(np.inf), 'to inf'),
    (IMAGES.astype(np.uint16) * 16, r'up to 4,080.*--config\.data\.bit_depth=12'),
    (IMAGES.astype(np.int64) * 1000, 'up to 255,000'),
    (IMAGES - np.int64(100), 'integers from -100 to 155'),
    (IMAGES // 128, r'integers 0 and 1, .*astype\(bool\)'),
    (IMAGES.astype(complex), 'complex128'),
    (IMAGES.astype(object), 'object'),
    (IMAGES.astype(str), '<U3'),
    (IMAGES[:0], r'empty: shape \[0, 8, 9\]'),
    (IMAGES[:, :0], 'empty'),
    (IMAGES[0], r'shape \[8, 9\]'),
    (IMAGES.reshape(20, 72), r'shape \[20, 72\]'),
    (np.zeros((20, 64)), r'reshape\(-1, 8, 8\)'),
    (np.zeros((64, 48, 3)), r'images\[None\]'),
    (np.zeros((20, 8, 8, 17)), '17 channels'),
    (np.zeros((1, 20, 8, 8, 3)), r'shape \[1, 20, 8, 8, 3\]'),
    ([IMAGES[0], IMAGES[1, :4]], 'no array of one shape'),
    (3, 'a single int'),
  ],
  ids=range(22),
)
def test_other_images_are_refused(given, message):
  with pytest.raises(InputError, match=f'train images .*{message}'):
    array_images.images_of(given, 'train images')


def test_deep_pixels_must_fit_their_bits():
  with pytest.raises(InputError, match=r'4,095 \(data\.bit_depth=12\).*bit_depth=16'):
    array_images.images_of(IMAGES.astype(np.uint16) * 257, 'images', 12)


TEXTS = np.array(['cat', 'dog', 'owl'])[LABELS]


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    (LABELS, LABELS),
    (LABELS[:, None], LABELS),
    (LABELS * 1.0, LABELS),
    (LABELS > 1, LABELS > 1),
    (TEXTS, TEXTS),
    (TEXTS.tolist(), TEXTS),
    (TEXTS.astype(object), TEXTS),
    (np.strings.encode(TEXTS), TEXTS),
    (TEXTS.astype(np.dtypes.StringDType()), TEXTS),
  ],
  ids=range(9),
)
def test_labels_are_integers_or_texts(given, expected):
  labels = array_labels.labels_of(given, 'labels')
  assert labels.dtype.kind in 'biuU'
  np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (LABELS + 0.25, r'fraction is 0\.25'),
    (np.where(LABELS == 1, np.nan, 0.0), 'fraction is nan'),
    (np.eye(3)[LABELS], r'shape \[20, 3\].*argmax'),
    (np.tile(LABELS[:, None], 14), r'shape \[20, 14\].*one column'),
    (np.array(['a', 1], object), 'object'),
    (LABELS * 1j, 'complex'),
    (np.array([b'caf\xe9']), r'no UTF-8'),
    (LABELS[:0], 'empty'),
  ],
  ids=range(8),
)
def test_other_labels_are_refused(given, message):
  with pytest.raises(InputError, match=f'test labels .*{message}'):
    array_labels.labels_of(given, 'test labels')
