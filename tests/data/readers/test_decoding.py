"""Pictures in every format and mode, decoded, turned upright, cropped and resized."""

import struct

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data.readers import decoding
from made_data import save_picture, write_png

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (6, 6), np.uint8)
RGB = RANDOM.randint(0, 256, (6, 6, 3), np.uint8)


def read(path, channels=1, size=6, crop_size=0):
  return decoding.read(path, size, crop_size, channels)


def luma(rgb):
  """ITU-R 601, as Pillow documents its mode L."""
  return (rgb @ np.array([[299], [587], [114]])) / 1000


@pytest.mark.parametrize('suffix', ['png', 'webp'])
def test_lossless_pictures_are_decoded_exactly(tmp_path, suffix):
  options = {'lossless': True} if suffix == 'webp' else {}
  path = save_picture(tmp_path / f'rgb.{suffix}', RGB, **options)
  image = read(path, 3)
  np.testing.assert_array_equal(image, RGB)
  assert image.dtype == np.uint8
  np.testing.assert_allclose(read(path), luma(RGB), atol=1)
  grey = save_picture(tmp_path / 'grey.png', GREY)
  np.testing.assert_array_equal(read(grey)[..., 0], GREY)
  np.testing.assert_array_equal(read(grey, 3), np.stack([GREY] * 3, -1))


def test_jpeg_in_grey_rgb_and_cmyk(tmp_path):
  colour = np.full((8, 8, 3), (200, 100, 50), np.uint8)
  Image.fromarray(colour).convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)
  rgb = save_picture(tmp_path / 'rgb.jpeg', colour, quality=100)
  for path in (tmp_path / 'cmyk.jpg', rgb):
    np.testing.assert_allclose(read(path, 3, size=8), colour, atol=3)
  grey = save_picture(tmp_path / 'grey.jpg', np.full((8, 8), 77, np.uint8))
  np.testing.assert_allclose(read(grey, 3, size=8), 77, atol=1)


def paletted(*colours):
  """A picture whose first pixels are the colours in turn."""
  picture = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) % len(colours))
  picture.putpalette([value for colour in colours for value in colour])
  return picture


def test_palettes_and_single_bits(tmp_path):
  colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]]
  paletted(*colours).save(tmp_path / 'palette.png')
  assert read(tmp_path / 'palette.png', 3)[0, :4].tolist() == colours
  np.testing.assert_allclose(read(tmp_path / 'palette.png')[0, :4], luma(colours), atol=1)
  bits = GREY > 99
  Image.fromarray(bits).save(tmp_path / 'bits.png')
  np.testing.assert_array_equal(read(tmp_path / 'bits.png')[..., 0], bits * 255)


@pytest.mark.parametrize('channels', [1, 3])
def test_transparency_is_laid_over_white(tmp_path, channels):
  alpha = RANDOM.randint(0, 256, (6, 6, 1), np.uint8)
  alpha[0] = 0

  def on_white(image):
    return image * (alpha / 255) + 255 * (1 - alpha / 255)

  rgba = save_picture(tmp_path / 'rgba.png', np.concatenate([RGB, alpha], -1))
  webp, la = tmp_path / 'rgba.webp', tmp_path / 'la.png'
  Image.open(rgba).save(webp, lossless=True, exact=True)
  Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])]).save(la)
  image = read(rgba, channels)
  expected = on_white(RGB) if channels == 3 else luma(on_white(RGB))
  np.testing.assert_allclose(image, expected, atol=2)
  np.testing.assert_array_equal(read(webp, channels), image)
  grey = read(la, channels)
  expected = np.broadcast_to(on_white(GREY[..., None]), grey.shape)
  np.testing.assert_allclose(grey, expected, atol=1)
  assert (image[0] == 255).all()
  assert (grey[0] == 255).all()


def test_transparent_colours_of_a_palette(tmp_path):
  picture = paletted([200, 0, 0], [0, 200, 0], [0, 0, 200], [9, 8, 7])
  picture.save(tmp_path / 'index.png', transparency=1)
  picture.save(tmp_path / 'table.png', transparency=bytes([0, 255, 51, 255]))
  white = [255, 255, 255]
  assert read(tmp_path / 'index.png', 3)[0, :3].tolist() == [[200, 0, 0], white, [0, 0, 200]]
  assert read(tmp_path / 'table.png', 3)[0, :3].tolist() == [white, [0, 200, 0], [204, 204, 244]]


def key(*values):
  """The chunk of a PNG that names its transparent colour."""
  return b'tRNS', struct.pack(f'>{len(values)}H', *values)


@pytest.mark.parametrize(
  ('bits', 'line', 'transparent', 'expected'),
  [
    (1, bytes([0b01000000]), 0, [255, 255]),
    (1, bytes([0b01000000]), 1, [0, 255]),
    (2, bytes([0b01100000]), 1, [255, 170]),
    (4, bytes([0x35]), 3, [255, 85]),
    (8, bytes([3, 5]), 3, [255, 5]),
    (16, struct.pack('>2H', 300, 301), 300, [255, 1]),
  ],
)
def test_a_transparent_grey_in_any_bit_depth(tmp_path, bits, line, transparent, expected):
  path = write_png(tmp_path / 'x.png', 2, 2, bits, 0, [line, line], key(transparent))
  assert read(path, size=2)[..., 0].tolist() == [expected, expected]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
  values = np.array([[0, 128, 129, 257], [1000, 32768, 65406, 65535]] * 2, np.uint16)
  native = read(save_picture(tmp_path / 'native.png', values), size=4)
  np.testing.assert_array_equal(native[..., 0], np.round(values / 257))
  lines = [line.astype('>u2').tobytes() for line in values]
  by_hand = write_png(tmp_path / 'hand.png', 4, 4, 16, 0, lines)
  np.testing.assert_array_equal(read(by_hand, size=4), native)


def test_sixteen_bits_of_colours(tmp_path):
  colours = RANDOM.randint(0, 2**16, (4, 4, 3)).astype('>u2')
  lines = [line.tobytes() for line in colours]
  image = read(write_png(tmp_path / 'rgb.png', 4, 4, 16, 2, lines), 3, size=4)
  np.testing.assert_allclose(image, colours / 257, atol=1)
  keyed = write_png(tmp_path / 'keyed.png', 4, 4, 16, 2, lines, key(*colours[1, 2].tolist()))
  keyed = read(keyed, 3, size=4)
  assert (keyed[1, 2] == 255).all()
  assert (image != keyed).any(-1).sum() == 1
  transparent = np.concatenate([colours, np.zeros((4, 4, 1), '>u2')], -1)
  lines = [line.tobytes() for line in transparent]
  assert (read(write_png(tmp_path / 'rgba.png', 4, 4, 16, 6, lines), 3, size=4) == 255).all()


@pytest.mark.parametrize('suffix', ['png', 'webp'])
def test_the_first_frame_of_an_animation_is_read(tmp_path, suffix):
  first, second = (Image.fromarray(np.full((6, 6, 3), value, np.uint8)) for value in (40, 200))
  path = tmp_path / f'x.{suffix}'
  first.save(path, save_all=True, append_images=[second], lossless=True)
  assert (read(path, 3) == 40).all()


UPRIGHT = RANDOM.randint(0, 256, (6, 10, 3), np.uint8)
ORIENTED = {
  1: UPRIGHT,
  2: UPRIGHT[:, ::-1],
  3: np.rot90(UPRIGHT, 2),
  4: UPRIGHT[::-1],
  5: UPRIGHT.swapaxes(0, 1),
  6: np.rot90(UPRIGHT, 1),
  7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
  8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize('orientation', ORIENTED)
@pytest.mark.parametrize('suffix', ['png', 'webp', 'jpg'])
def test_pictures_are_turned_upright(tmp_path, orientation, suffix):
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {'quality': 100, 'subsampling': 0} if suffix == 'jpg' else {'lossless': True}
  stored = np.ascontiguousarray(ORIENTED[orientation])
  path = save_picture(tmp_path / f'x.{suffix}', stored, exif=exif, **options)
  np.testing.assert_allclose(read(path, 3), UPRIGHT[:, 2:8], atol=4 if suffix == 'jpg' else 0)


@pytest.mark.parametrize('exif', [b'MM\0\x2a\xff\xff\xff\xff', b'garbage'])
def test_broken_exif_does_not_break_a_picture(tmp_path, exif):
  path = save_picture(tmp_path / 'x.png', GREY, exif=b'Exif\0\0' + exif)
  np.testing.assert_array_equal(read(path)[..., 0], GREY)


ARRAY = RANDOM.randint(0, 256, (21, 40, 3), np.uint8)
LARGEST, SMALL = ARRAY[:, 9:30], ARRAY[6:14, 16:24]


@pytest.mark.parametrize(
  ('size', 'crop_size', 'square'),
  [
    (21, 0, LARGEST),
    (8, 0, LARGEST),
    (50, 0, LARGEST),
    (8, 8, SMALL),
    (5, 8, SMALL),
    (8, 22, LARGEST),
    (8, 1000, LARGEST),
  ],
)
def test_the_centre_is_cropped_and_resized(tmp_path, size, crop_size, square):
  path = save_picture(tmp_path / 'x.png', ARRAY)
  picture = Image.fromarray(np.ascontiguousarray(square))
  expected = picture.resize((size, size), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(read(path, 3, size, crop_size), np.asarray(expected))


def test_shrinking_averages_and_keeps_constants():
  checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[None, ..., None]
  np.testing.assert_allclose(decoding.fit(checks, 8, 0), 127.5, atol=8)
  assert (decoding.fit(np.full((2, 9, 7, 3), 93, np.uint8), 16, 0) == 93).all()


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(('size', 'crop_size'), [(8, 0), (8, 8), (8, 9), (12, 11), (11, 99)])
def test_arrays_are_fitted_like_files(tmp_path, channels, size, crop_size):
  arrays = RANDOM.randint(0, 256, (3, 11, 15, channels), np.uint8)
  squeezed = arrays[..., 0] if channels == 1 else arrays
  for array, fitted in zip(squeezed, decoding.fit(arrays, size, crop_size), strict=True):
    path = save_picture(tmp_path / 'x.png', array)
    np.testing.assert_array_equal(fitted, read(path, channels, size, crop_size))


def test_fit_leaves_alone_what_fits():
  arrays = RANDOM.randint(0, 256, (3, 8, 8, 1), np.uint8)
  assert decoding.fit(arrays, 8, 0) is arrays
  assert decoding.fit(arrays, 8, 8) is arrays
  assert decoding.fit(arrays[:0], 5, 0).shape == (0, 5, 5, 1)
  np.testing.assert_array_equal(decoding.fit(arrays, 4, 4), arrays[:, 2:6, 2:6])
