"""One picture, a file or an array, becomes a uint8 array of the shape that the config asks for."""

import contextlib
import io
import itertools
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cvae_jax.config import height_and_width
from cvae_jax.data.readers import file_rows
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.runtime.errors import InputError

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
MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # of Pillow, by the number of channels
TURNED = (5, 6, 7, 8)  # orientations of EXIF whose width is the height
TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags, and a value of the second


class Geometry(NamedTuple):
  """How pictures of any size and depth become arrays of one shape; fields of `config.data`."""

  height: int  # of the result, in pixels
  width: int
  crop_size: int  # longer side of a centre crop before resizing, in pixels; 0: no limit
  channels: int  # of pictures 1 for grey, 3 for RGB, 4 for RGBA
  fit: str = 'crop'  # what gives it the proportions of the result: 'crop', 'pad' or 'stretch'
  bit_depth: int = 0  # bits of the values in grey files of more than 8 bits; 0: as the file says

  @classmethod
  def of(cls, data) -> 'Geometry':
    """That of `config.data`."""
    return cls(*height_and_width(data), *(data[name] for name in cls._fields[2:]))

  def largest(self, width: int, height: int) -> tuple[int, int]:
    """Width and height of the largest rectangle of the result's proportions in another one."""
    if width * self.height < height * self.width:
      return width, max(1, round(width * self.height / self.width))
    return max(1, round(height * self.width / self.height)), height


class Picture(NamedTuple):
  """A decoded file."""

  image: np.ndarray  # uint8 [height, width, channels]
  largest: int  # value in a file of 16 bits, if `bit_depth` is 0; 0 for others
  has_more: bool  # further frames or pages, which are not read


def read(source: Path | bytes, geometry: Geometry) -> Picture:
  """Decodes a file or its bytes, turns it upright, and fits it to a size.

  With 1 or 3 channels, transparent pixels are laid over white; with 4, alpha is the last channel,
  and resized like the others. Of an animation or a stack the first frame is read.

  Where it has other proportions than the result, `geometry.fit` cuts out the largest centred
  rectangle that has the same ('crop'), adds black bars, transparent with alpha ('pad'), or changes
  the proportions ('stretch').

  Raises:
    Exception: whatever Pillow raises; see `problem`.
  """
  with opened(source) as file:
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
      keeps_alpha = geometry.channels == 4
      shallow, largest = _in_eight_bits(picture, coding, geometry.bit_depth, keeps_alpha)
      left, top, width, height = _centre(*shallow.size, geometry)
      part = shallow.crop((left, top, left + width, top + height))
      image = _resize(_array(part.convert(MODES[geometry.channels])), geometry)
      return Picture(image, largest, _has_more(picture))


def size(path: Path) -> tuple[int, int]:
  """Width and height of a picture that `read` can read, upright, before it is cut and resized."""
  with opened(path) as file, Image.open(file, formats=tuple(FORMATS)) as picture:
    width, height = picture.size
    with contextlib.suppress(Exception):  # broken EXIF data of an intact picture
      if picture.getexif().get(ExifTags.Base.Orientation) in TURNED:
        return height, width
    return width, height


def check_channels(data) -> None:
  """Raises InputError unless pictures can have the channels of `config.data`."""
  expected = 'data.channels of pictures is 1 (grey), 3 (RGB) or, with data.alpha=keep, 4 (RGBA)'
  if data.channels not in MODES:
    raise InputError(f'data.channels={data.channels}, but {expected}. Arrays can have others.')
  if data.channels == 4 and data.alpha != 'keep':
    raise InputError(
      f'data.channels=4, but data.alpha={data.alpha!r}: {expected}. Set --config.data.alpha=keep.'
    )


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


def opened(source: Path | bytes) -> io.BufferedReader:
  """Opens a regular file, or its bytes; a file of another kind, such as a pipe, might never end."""
  if isinstance(source, bytes):
    return io.BufferedReader(io.BytesIO(source))
  path = source
  if not stat.S_ISREG(os.stat(path).st_mode):
    raise OSError('it is no file')
  return open(path, 'rb')


def fit(images: np.ndarray | FileRows, geometry: Geometry) -> np.ndarray | FileRows:
  """Fits arrays to a size, as `read` does with files.

  Args:
    images: uint8 [N, H, W, C]; each channel is resized alike.
    geometry: its `channels` and `bit_depth` have no effect.

  Returns:
    uint8 [N, height, width, C], in memory; `images` itself where they have that size already.
  """
  size = geometry.height, geometry.width
  left, top, width, height = _centre(images.shape[2], images.shape[1], geometry)
  if images.shape[1:3] == (height, width) == size:
    return images
  fitted = np.empty((len(images), *size, images.shape[-1]), np.uint8)
  for rows in file_rows.pieces(images):
    kept = images[rows][:, top : top + height, left : left + width]
    fitted[rows] = kept if (height, width) == size else [_resize(x, geometry) for x in kept]
  return fitted


def _centre(width, height, geometry):
  """Left, top, width and height of what is kept of a picture."""
  kept = width, height
  if limit := geometry.crop_size:
    kept = tuple(map(min, kept, geometry.largest(limit, limit)))
  if geometry.fit == 'crop':
    kept = geometry.largest(*kept)
  return (width - kept[0]) // 2, (height - kept[1]) // 2, *kept


def _array(picture):
  return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _resize(image, geometry):
  """uint8 [H, W, C] as [height, width, C]."""
  height, width = image.shape[:2]
  size = geometry.width, geometry.height
  if geometry.fit == 'pad':
    # Of the picture's own proportions, in the result.
    size = geometry._replace(height=height, width=width).largest(*size)
  if image.shape[-1] in (1, 3):
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = _array(picture.resize(size, Image.Resampling.BICUBIC))
  else:  # in Pillow's mode RGBA, alpha would change the other channels
    channels = map(Image.fromarray, np.moveaxis(image, -1, 0))
    resized = np.stack([x.resize(size, Image.Resampling.BICUBIC) for x in channels], axis=-1)
  left, top = (geometry.width - size[0]) // 2, (geometry.height - size[1]) // 2
  right, bottom = geometry.width - size[0] - left, geometry.height - size[1] - top
  return np.pad(resized, ((top, bottom), (left, right), (0, 0)))  # black


def _has_more(picture):
  """Whether a file has further frames or pages."""
  if picture.format not in FORMATS:  # MPO, of cameras: a JPEG and its preview or depth map
    return False
  with contextlib.suppress(Exception):  # a broken second frame of an intact first one
    return getattr(picture, 'is_animated', False)
  return True


def _in_eight_bits(picture, coding, bit_depth, keeps_alpha):
  """The picture in a mode of 8 bits, and `largest`.

  It is laid over white where it is transparent, unless it keeps its alpha.
  """
  if picture.mode == 'F':
    raise ValueError('its pixels are floating-point numbers: save it with 8 or 16 bits')
  if picture.mode.startswith('I'):
    return _deep_grey(picture, bit_depth, keeps_alpha)
  largest = 0
  if ';16' in str(coding):  # Pillow keeps the upper 8 bits of these
    if bit_depth:
      raise ValueError(
        '16 bits with colour or alpha cannot use data.bit_depth: save it with 8 bits'
      )
    largest = max(high for _, high in picture.convert('RGB').getextrema()) * 256 + 255
  if picture.has_transparency_data:
    picture = _with_alpha(picture, coding)
    if not keeps_alpha:
      picture = _on_white(picture)
  return picture, largest


def _deep_grey(picture, bit_depth, keeps_alpha):
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
  scaled = Image.fromarray(to_bytes(values, white))
  if (colour := picture.info.get('transparency')) is not None:
    scaled.putalpha(Image.fromarray((values != colour).astype(np.uint8) * 255))
    if not keeps_alpha:
      scaled = _on_white(scaled.convert('RGBA'))
  return scaled, 0 if bit_depth or file_bits < 16 else largest


def to_bytes(values: np.ndarray, white: int) -> np.ndarray:
  """Integers from 0 to `white`, at most 65,535, scaled to uint8 and rounded."""
  return ((values.astype(np.int32) * 255 + white // 2) // white).astype(np.uint8)


def _with_alpha(picture, coding):
  """A picture in a mode of 8 bits with transparency, in mode RGBA."""
  colour = picture.info.get('transparency')
  scale = TRANSPARENT_COLOUR_SCALES.get(coding) if isinstance(coding, str) else None
  if colour is not None and scale:
    scaled = (np.array(colour) * scale).astype(int).tolist()
    picture.info['transparency'] = tuple(scaled) if isinstance(colour, tuple) else scaled
  return picture.convert('RGBA')


def _on_white(picture):
  white = Image.new('RGBA', picture.size, 'white')
  return Image.alpha_composite(white, picture).convert('RGB')
