"""Pictures in every format and mode, decoded, turned upright, cropped and resized."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from cvae_jax.data.readers import decoding
from cvae_jax.data.readers.decoding import Geometry
from made_data import save_picture, write_png

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (6, 6), np.uint8)
RGB = RANDOM.randint(0, 256, (6, 6, 3), np.uint8)


def read(path, channels=1, size=6, crop_size=0, **changes):
  height, width = size if isinstance(size, tuple) else (size, size)
  return decoding.read(path, Geometry(height, width, crop_size, channels, **changes)).image


def fit(arrays, size, crop_size, fit='crop'):
  height, width = size if isinstance(size, tuple) else (size, size)
  return decoding.fit(arrays, Geometry(height, width, crop_size, arrays.shape[-1], fit))


def luma(rgb):
  """ITU-R 601, as Pillow documents its mode L."""
  return (rgb @ np.array([[299], [587], [114]])) / 1000


@pytest.mark.parametrize('suffix', ['png', 'webp', 'bmp', 'tif', 'tiff'])
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


@pytest.mark.parametrize('suffix', decoding.SUFFIXES)
def test_every_suffix_is_that_of_a_format(suffix):
  assert Image.registered_extensions()[suffix] in decoding.FORMATS


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('suffix', ['jpg', 'jpeg', 'jfif', 'tif'])
def test_inks_become_colours(tmp_path, suffix, channels):
  inks = np.indices((4, 4, 4, 4)).reshape(4, 16, 16).transpose(1, 2, 0) * 85  # C, M, Y, K
  inks = np.kron(inks, np.ones((8, 8, 1))).astype(np.uint8)  # blocks of a JPEG
  path, lossy = tmp_path / f'x.{suffix}', suffix != 'tif'
  options = {'format': 'JPEG', 'quality': 100, 'subsampling': 0} if lossy else {}
  Image.fromarray(inks, 'CMYK').save(path, **options)
  if lossy:
    assert b'Adobe' in path.read_bytes()[:100]  # which stores inks inverted
  colours = 255 * (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
  expected = colours if channels == 3 else luma(colours)
  np.testing.assert_allclose(read(path, channels, size=128), expected, atol=4 if lossy else 2)


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


def test_transparent_colours_of_a_gif(tmp_path):
  picture = paletted([200, 0, 0], [0, 200, 0], [0, 0, 200], [9, 8, 7])
  picture.save(tmp_path / 'x.gif', transparency=1)
  assert read(tmp_path / 'x.gif', 3)[0, :3].tolist() == [[200, 0, 0], [255] * 3, [0, 0, 200]]


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


# As large as a camera of 12 bits makes them.
DEEP = np.array([[0, 1, 8, 100], [2000, 4000, 4094, 4095]] * 2, np.uint16)


@pytest.mark.parametrize(
  ('photometric', 'order'), [('minisblack', '<'), ('minisblack', '>'), ('miniswhite', '<')]
)
def test_sixteen_bits_of_a_tiff(tmp_path, photometric, order):
  tifffile.imwrite(tmp_path / 'x.tif', DEEP, photometric=photometric, byteorder=order)
  for bit_depth, white in ((0, 65535), (12, 4095)):
    values = DEEP.astype(float) if photometric == 'minisblack' else white - DEEP.astype(float)
    image = read(tmp_path / 'x.tif', size=4, bit_depth=bit_depth)
    np.testing.assert_array_equal(image[..., 0], np.round(values * 255 / white))


def write_tiff_of_12_bits(path, values):
  """Two values in three bytes, a strip, and the fewest tags; tifffile needs a package for that."""
  rows, columns = values.shape
  bits = ''.join(f'{value:012b}' for value in values.ravel())
  pixels = int(bits, 2).to_bytes(len(bits) // 8, 'big')
  tags = {256: columns, 257: rows, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: rows}
  tags[279] = len(pixels)
  directory = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
  start = struct.pack('<2sHI', b'II', 42, 8 + len(pixels))
  path.write_bytes(start + pixels + struct.pack('<H', len(tags)) + directory + bytes(4))


def test_a_tiff_of_twelve_bits_needs_no_advice(tmp_path):
  write_tiff_of_12_bits(tmp_path / 'x.tif', DEEP)
  picture = decoding.read(tmp_path / 'x.tif', Geometry(4, 4, 0, 1))
  np.testing.assert_array_equal(picture.image[..., 0], np.round(DEEP / 4095 * 255))
  assert picture.largest == 0


def test_a_bit_depth_scales_files_of_sixteen_bits_alone(tmp_path):
  path = save_picture(tmp_path / 'x.png', DEEP)
  assert decoding.read(path, Geometry(4, 4, 0, 1)).largest == 4095
  scaled = decoding.read(path, Geometry(4, 4, 0, 1, bit_depth=12))
  np.testing.assert_array_equal(scaled.image[..., 0], np.round(DEEP / 4095 * 255))
  assert scaled.largest == 0
  grey = save_picture(tmp_path / 'grey.png', GREY)
  np.testing.assert_array_equal(read(grey, bit_depth=12)[..., 0], GREY)
  lines = [line.astype('>u2').tobytes() for line in np.stack([DEEP] * 3, -1)]
  colours = write_png(tmp_path / 'colours.png', 4, 4, 16, 2, lines)
  assert decoding.read(colours, Geometry(4, 4, 0, 3)).largest == 4095
  with pytest.raises(ValueError, match='bit_depth'):
    read(colours, 3, 4, bit_depth=12)


@pytest.mark.parametrize(
  ('values', 'bit_depth', 'reason'),
  [
    (DEEP, 10, r'4,095.* 1,023 .*data\.bit_depth'),
    (DEEP.astype(np.uint32), 0, r'32 bits.*data\.bit_depth'),
    (DEEP.astype(np.int32) - 7, 12, '-7'),
    (DEEP.astype(np.int16) - 7, 0, '-7'),
    (DEEP / np.float32(4095), 0, 'floating'),
  ],
)
def test_values_without_a_known_scale_are_refused(tmp_path, values, bit_depth, reason):
  tifffile.imwrite(tmp_path / 'x.tif', values, photometric='minisblack')
  with pytest.raises(ValueError, match=reason) as error:
    read(tmp_path / 'x.tif', size=4, bit_depth=bit_depth)
  assert len(str(error.value)) <= 80  # what `problem` shows


def test_values_of_32_bits_are_read_by_their_depth(tmp_path):
  tifffile.imwrite(tmp_path / 'x.tif', DEEP.astype(np.uint32), photometric='minisblack')
  image = read(tmp_path / 'x.tif', size=4, bit_depth=12)
  np.testing.assert_array_equal(image[..., 0], np.round(DEEP / 4095 * 255))


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')  # as `pictures` does
@pytest.mark.parametrize('suffix', ['bmp', 'tif', 'gif'])
def test_a_size_that_is_a_lie_claims_no_memory(tmp_path, suffix):
  path = save_picture(tmp_path / f'x.{suffix}', RGB[:5, :4])
  content, form = path.read_bytes(), {'bmp': '<2I', 'gif': '<2H'}.get(suffix)
  if form:
    changes = {struct.pack(form, 4, 5): struct.pack(form, 10_000, 10_000)}
  else:  # a tag of one number each: its name, its type, how many, and the number
    changes = {
      struct.pack('<HHII', tag, kind, 1, side): struct.pack('<HHII', tag, 4, 1, 10_000)
      for tag, side in ((256, 4), (257, 5))
      for kind in (3, 4)
    }
  for old, new in changes.items():
    content = content.replace(old, new, 1)
  path.write_bytes(content)
  with pytest.raises(Image.DecompressionBombError):
    read(path, 3)


@pytest.mark.parametrize('suffix', ['png', 'webp', 'gif', 'tif'])
def test_the_first_frame_of_an_animation_is_read(tmp_path, suffix):
  first, second = (Image.fromarray(np.full((6, 6, 3), value, np.uint8)) for value in (40, 200))
  path = tmp_path / f'x.{suffix}'
  options = {'lossless': True} if suffix == 'webp' else {}
  first.save(path, save_all=True, append_images=[second], **options)
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
  np.testing.assert_allclose(fit(checks, 8, 0), 127.5, atol=8)
  assert (fit(np.full((2, 9, 7, 3), 93, np.uint8), 16, 0) == 93).all()


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(('size', 'crop_size'), [(8, 0), (8, 8), (8, 9), (12, 11), (11, 99)])
def test_arrays_are_fitted_like_files(tmp_path, channels, size, crop_size):
  arrays = RANDOM.randint(0, 256, (3, 11, 15, channels), np.uint8)
  squeezed = arrays[..., 0] if channels == 1 else arrays
  for array, fitted in zip(squeezed, fit(arrays, size, crop_size), strict=True):
    path = save_picture(tmp_path / 'x.png', array)
    np.testing.assert_array_equal(fitted, read(path, channels, size, crop_size))


@pytest.mark.parametrize('shape', [(21, 40), (40, 21), (21, 21), (1, 300)])
@pytest.mark.parametrize('size', [16, 64])
def test_padding_adds_black_bars_and_stretching_keeps_everything(tmp_path, shape, size):
  array = RANDOM.randint(1, 256, (*shape, 3), np.uint8)
  path, picture = save_picture(tmp_path / 'x.png', array), Image.fromarray(array)
  stretched = picture.resize((size, size), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(read(path, 3, size, fit='stretch'), np.asarray(stretched))
  image = read(path, 3, size, fit='pad')
  if min(shape) > 1:
    padded = ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC)
    rows = [round((side * size) / max(shape)) for side in shape]
    top, left = ((size - side) // 2 for side in rows)
    inner = image[top : top + rows[0], left : left + rows[1]]
    resized = picture.resize(rows[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(inner, np.asarray(resized))
    assert int(image.sum()) == int(inner.sum())  # black around it
    assert abs(int(image.sum()) - int(np.asarray(padded).sum())) <= 0.05 * image.sum()
  else:
    assert image.any(axis=(1, 2)).sum() == 1
  for fit_name, expected in (('pad', image), ('stretch', np.asarray(stretched))):
    np.testing.assert_array_equal(fit(array[None], size, 0, fit_name)[0], expected)


def test_a_crop_limits_what_is_padded_or_stretched(tmp_path):
  path = save_picture(tmp_path / 'x.png', ARRAY)  # 21×40
  for name in ('pad', 'stretch'):
    cut = save_picture(tmp_path / 'cut.png', np.ascontiguousarray(ARRAY[:, 5:35]))
    np.testing.assert_array_equal(
      read(path, 3, 16, crop_size=30, fit=name), read(cut, 3, 16, fit=name)
    )
    assert not np.array_equal(read(path, 3, 16, fit=name), read(path, 3, 16))
    np.testing.assert_array_equal(
      read(path, 3, 16, crop_size=9, fit=name), read(path, 3, 16, crop_size=9)
    )


@pytest.mark.parametrize('name', ['crop', 'pad', 'stretch'])
def test_a_crop_has_the_proportions_of_the_result(tmp_path, name):
  path = save_picture(tmp_path / 'x.png', ARRAY)  # 21×40
  image = read(path, 3, (7, 14), crop_size=20, fit=name)
  np.testing.assert_array_equal(image, resized(ARRAY[5:15, 10:30], (7, 14)))


def test_fit_leaves_alone_what_fits():
  arrays = RANDOM.randint(0, 256, (3, 8, 8, 1), np.uint8)
  assert fit(arrays, 8, 0) is arrays
  assert fit(arrays, 8, 8) is arrays
  assert fit(arrays[:0], 5, 0).shape == (0, 5, 5, 1)
  np.testing.assert_array_equal(fit(arrays, 4, 4), arrays[:, 2:6, 2:6])


@pytest.mark.parametrize(
  ('size', 'crop_size', 'part'),
  [
    ((20, 10), 0, ARRAY[:, 15:25]),  # 21 high: 10.5 wide
    ((7, 14), 0, ARRAY[:20]),
    ((7, 14), 20, ARRAY[5:15, 10:30]),
    ((14, 7), 20, ARRAY[:20, 15:25]),
    ((10, 20), 1000, ARRAY[:20]),
    ((21, 40), 0, ARRAY),
    ((8, 256), 0, ARRAY[10:11]),  # 1.25 high
  ],
)
def test_the_largest_rectangle_of_the_same_proportions_is_cropped(tmp_path, size, crop_size, part):
  path = save_picture(tmp_path / 'x.png', ARRAY)
  expected = resized(part, size)
  np.testing.assert_array_equal(read(path, 3, size, crop_size), expected)
  np.testing.assert_array_equal(fit(ARRAY[None], size, crop_size)[0], expected)


def resized(array, size):
  picture = Image.fromarray(np.ascontiguousarray(array))
  return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
  ('size', 'inner'),
  [
    ((16, 64), (slice(0, 16), slice(17, 47))),  # 30.5 wide
    ((64, 16), (slice(28, 36), slice(0, 16))),  # 8.4 high
    ((42, 80), (slice(0, 42), slice(0, 80))),
  ],
)
def test_bars_fill_a_rectangle_and_stretching_fills_it_all(tmp_path, size, inner):
  path = save_picture(tmp_path / 'x.png', ARRAY)
  image = read(path, 3, size, fit='pad')
  np.testing.assert_array_equal(image[inner], resized(ARRAY, image[inner].shape[:2]))
  assert int(image.sum()) == int(image[inner].sum())  # black around it
  np.testing.assert_array_equal(read(path, 3, size, fit='stretch'), resized(ARRAY, size))


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize('fit_name', ['crop', 'pad', 'stretch'])
def test_each_channel_is_fitted_alike(fit_name, channels):
  arrays = RANDOM.randint(0, 256, (2, 21, 40, channels), np.uint8)
  together = fit(arrays, (13, 30), 0, fit_name)
  assert together.shape == (2, 13, 30, channels)
  for channel in range(channels):
    alone = fit(arrays[..., channel : channel + 1], (13, 30), 0, fit_name)
    np.testing.assert_array_equal(together[..., channel : channel + 1], alone)


def test_alpha_is_kept_as_the_fourth_channel(tmp_path):
  rgba = RANDOM.randint(0, 256, (21, 40, 4), np.uint8)
  rgba[:9, ..., 3] = 0  # whose colours count all the same
  path = save_picture(tmp_path / 'rgba.png', rgba)
  np.testing.assert_array_equal(read(path, 4, (21, 40)), rgba)
  for name in ('crop', 'pad', 'stretch'):
    expected = fit(rgba[None], (11, 9), 0, name)[0]
    np.testing.assert_array_equal(read(path, 4, (11, 9), fit=name), expected)
  opaque = read(save_picture(tmp_path / 'rgb.png', RGB), 4)
  np.testing.assert_array_equal(opaque[..., :3], RGB)
  assert (opaque[..., 3] == 255).all()
  paletted([200, 0, 0], [0, 200, 0]).save(tmp_path / 'index.png', transparency=1)
  index = read(tmp_path / 'index.png', 4)
  assert index[0, :2].tolist() == [[200, 0, 0, 255], [0, 200, 0, 0]]
  inks = Image.fromarray(RGB).convert('CMYK')
  inks.save(tmp_path / 'cmyk.tif')
  np.testing.assert_array_equal(read(tmp_path / 'cmyk.tif', 4)[..., :3], RGB)


def test_a_transparent_grey_of_sixteen_bits_keeps_its_alpha(tmp_path):
  line = struct.pack('>2H', 300, 65535)
  path = write_png(tmp_path / 'x.png', 2, 2, 16, 0, [line, line], key(300))
  assert read(path, 4, size=2)[0].tolist() == [[1, 1, 1, 0], [255, 255, 255, 255]]
