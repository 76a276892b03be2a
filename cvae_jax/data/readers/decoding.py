"""One picture, a file or an array, becomes a uint8 array of the size that the config asks for."""

import contextlib
import itertools
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cvae_jax.data.readers import file_rows
from cvae_jax.data.readers.file_rows import FileRows

FORMATS = {  # by Pillow's names, the suffixes of their files
  'PNG': ('.png',),
  'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
  'WEBP': ('.webp',),
  'BMP': ('.bmp',),
  'TIFF': ('.tif', '.tiff'),
  'GIF': ('.gif',),
}
SUFFIXES = tuple(itertools.chain(*FORMATS.values()))
FORMAT_NAMES = f'{", ".join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]}'  # for messages
# Pillow scales these pixels to 8 bits, but not the transparent colour that the PNG names.
TRANSPARENT_COLOUR_SCALES = {'L;2': 85, 'L;4': 17, 'RGB;16B': 1 / 256}
TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags, and a value of the second


class Geometry(NamedTuple):
  """How pictures of any size and depth become arrays of one shape; fields of `config.data`."""

  image_size: int  # height and width of the result, in pixels
  crop_size: int  # longest side of a centre crop before resizing, in pixels; 0: no limit
  channels: int  # 1 for grey, 3 for RGB
  fit: str = 'crop'  # what makes a square: 'crop', 'pad' or 'stretch'
  bit_depth: int = 0  # bits of the values in grey files of more than 8 bits; 0: as the file says

  @classmethod
  def of(cls, data) -> 'Geometry':
    """That of `config.data`."""
    return cls(*(data[name] for name in cls._fields))


class Picture(NamedTuple):
  """A decoded file."""

  image: np.ndarray  # uint8 [size, size, channels]
  largest: int  # value in a file of 16 bits, if `bit_depth` is 0; 0 for others
  has_more: bool  # further frames or pages, which are not read


def read(path: Path, geometry: Geometry) -> Picture:
  """Decodes a file, turns it upright, makes it a square and resizes it.

  Transparent pixels are laid over white; of an animation or a stack the first frame is read.

  Where it is no square, `geometry.fit` cuts out the largest centred square ('crop'), adds black
  bars ('pad') or changes the proportions ('stretch').

  Raises:
    Exception: whatever Pillow raises; see `problem`.
  """
  with open_regular(path) as file:
    if not file.peek(1):
      raise OSError('it is empty')
    with Image.open(file, formats=tuple(FORMATS)) as picture:
      limit = Image.MAX_IMAGE_PIXELS
      if limit and picture.width * picture.height > limit:
        raise Image.DecompressionBombError
      coding = picture.tile[0].args if picture.tile else None
      picture.load()
      with contextlib.suppress(Exception):  # broken EXIF data of an intact picture
        ImageOps.exif_transpose(picture, in_place=True)
      opaque, largest = _in_eight_bits(picture, coding, geometry.bit_depth)
      left, top, width, height = _centre(*opaque.size, geometry)
      part = opaque.crop((left, top, left + width, top + height))
      image = _resize(part.convert('L' if geometry.channels == 1 else 'RGB'), geometry)
      return Picture(image, largest, _has_more(picture))


def problem(error: Exception) -> str:
  """Why `read` failed, in a few words."""
  if isinstance(error, UnidentifiedImageError):
    return f'it is no {FORMAT_NAMES}, or only the beginning of one'
  if isinstance(error, Image.DecompressionBombError):
    return f'it has more than {Image.MAX_IMAGE_PIXELS:,} pixels'
  if isinstance(error, MemoryError):
    return 'there is not enough memory'
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  return text.splitlines()[0][:80]


def open_regular(path: Path):
  """Opens a regular file to read its bytes; any other, such as a pipe, might never end."""
  if not stat.S_ISREG(os.stat(path).st_mode):
    raise OSError('it is no file')
  return open(path, 'rb')


def fit(images: np.ndarray | FileRows, geometry: Geometry) -> np.ndarray | FileRows:
  """Makes squares of arrays and resizes them, as `read` does with files.

  Args:
    images: uint8 [N, H, W, C], C 1 or 3.
    geometry: its `channels` and `bit_depth` have no effect.

  Returns:
    uint8 [N, size, size, C], in memory; `images` itself where they have that size already.
  """
  size = geometry.image_size
  left, top, width, height = _centre(images.shape[2], images.shape[1], geometry)
  if images.shape[1:3] == (height, width) == (size, size):
    return images
  fitted = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
  for rows in file_rows.pieces(images):
    kept = images[rows][:, top : top + height, left : left + width]
    is_square = height == width == size
    fitted[rows] = kept if is_square else [_resize(_picture(image), geometry) for image in kept]
  return fitted


def _centre(width, height, geometry):
  """Left, top, width and height of what is kept of a picture."""
  limit = geometry.crop_size or max(width, height)
  if geometry.fit == 'crop':
    limit = min(limit, width, height)
  kept = min(width, limit), min(height, limit)
  return (width - kept[0]) // 2, (height - kept[1]) // 2, *kept


def _picture(image):
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _resize(picture, geometry):
  """A picture in mode L or RGB as an array [size, size, channels]."""
  size = geometry.image_size
  shape = size, size
  if geometry.fit == 'pad':
    shape = tuple(max(1, round(side * size / max(picture.size))) for side in picture.size)
  resized = picture.resize(shape, Image.Resampling.BICUBIC)
  if shape != (size, size):
    square = Image.new(picture.mode, (size, size))  # black
    square.paste(resized, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    resized = square
  return np.asarray(resized).reshape(size, size, -1)


def _has_more(picture):
  """Whether a file has further frames or pages."""
  if picture.format not in FORMATS:  # MPO, of cameras: a JPEG and its preview or depth map
    return False
  with contextlib.suppress(Exception):  # a broken second frame of an intact first one
    return getattr(picture, 'is_animated', False)
  return True


def _in_eight_bits(picture, coding, bit_depth):
  """The picture in a mode of 8 bits, laid over white where it is transparent, and `largest`."""
  if picture.mode == 'F':
    raise ValueError('its pixels are floating-point numbers: save it with 8 or 16 bits')
  if picture.mode.startswith('I'):
    return _deep_grey(picture, bit_depth)
  largest = 0
  if ';16' in str(coding):  # Pillow keeps the upper 8 bits of these
    if bit_depth:
      raise ValueError(
        '16 bits with colour or alpha cannot use data.bit_depth: save it with 8 bits'
      )
    largest = max(high for _, high in picture.convert('RGB').getextrema()) * 256 + 255
  return _without_transparency(picture, coding), largest


def _deep_grey(picture, bit_depth):
  """A picture of more than 8 bits in 8 bits, and `largest`."""
  tags = getattr(picture, 'tag_v2', {})  # of a TIFF
  file_bits = tags.get(TIFF_BITS, (16,))[0]
  bits = bit_depth or file_bits
  if bits > 16:
    raise ValueError(f'its pixels have {bits} bits: if they use 16 or fewer, set data.bit_depth')
  white, values = (1 << bits) - 1, np.asarray(picture).astype(np.int32)
  smallest, largest = int(values.min()), int(values.max())
  if smallest < 0 or largest > white:
    wrong = smallest if smallest < 0 else largest
    raise ValueError(f'it holds {wrong:,}, expected 0 to {white:,} in {bits} bits (data.bit_depth)')
  if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
    values = white - values
  if (colour := picture.info.get('transparency')) is not None:
    values[values == colour] = white
  scaled = ((values * 255 + white // 2) // white).astype(np.uint8)
  return Image.fromarray(scaled), 0 if bit_depth or file_bits < 16 else largest


def _without_transparency(picture, coding):
  """A picture in a mode of 8 bits, laid over white where it is transparent."""
  if not picture.has_transparency_data:
    return picture
  colour = picture.info.get('transparency')
  scale = TRANSPARENT_COLOUR_SCALES.get(coding) if isinstance(coding, str) else None
  if colour is not None and scale:
    scaled = (np.array(colour) * scale).astype(int).tolist()
    picture.info['transparency'] = tuple(scaled) if isinstance(colour, tuple) else scaled
  white = Image.new('RGBA', picture.size, 'white')
  return Image.alpha_composite(white, picture.convert('RGBA')).convert('RGB')
