"""One picture, a file or an array, becomes a uint8 array of the size that the config asks for."""

import contextlib
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ('PNG', 'JPEG', 'WEBP')
# Pillow scales these pixels to 8 bits, but not the transparent colour that the PNG names.
TRANSPARENT_COLOUR_SCALES = {'L;2': 85, 'L;4': 17, 'RGB;16B': 1 / 256}


def read(path: Path, size: int, crop_size: int, channels: int) -> np.ndarray:
  """Decodes a file, turns it upright, crops it to a square and resizes it.

  Transparent pixels are laid over white; of an animation the first frame is read.

  Args:
    path: a PNG, JPEG or WEBP.
    size: height and width of the result, in pixels.
    crop_size: side of the centre crop before resizing, in pixels; 0, or more than the picture has:
      the largest square.
    channels: 1 for grey, 3 for RGB.

  Returns:
    uint8 [size, size, channels].

  Raises:
    Exception: whatever Pillow raises; see `problem`.
  """
  with open_regular(path) as file:
    if not file.peek(1):
      raise OSError('it is empty')
    with Image.open(file, formats=FORMATS) as picture:
      limit = Image.MAX_IMAGE_PIXELS
      if limit and picture.width * picture.height > limit:
        raise Image.DecompressionBombError
      coding = picture.tile[0].args if picture.tile else None
      picture.load()
      with contextlib.suppress(Exception):  # broken EXIF data of an intact picture
        ImageOps.exif_transpose(picture, in_place=True)
      opaque = _without_transparency(picture, coding)
      left, top, side = _centre_square(*opaque.size, crop_size)
      square = opaque.crop((left, top, left + side, top + side))
      return _resize(square.convert('L' if channels == 1 else 'RGB'), size)


def problem(error: Exception) -> str:
  """Why `read` failed, in a few words."""
  if isinstance(error, UnidentifiedImageError):
    return 'it is no PNG, JPEG or WEBP, or only the beginning of one'
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


def fit(images: np.ndarray, size: int, crop_size: int) -> np.ndarray:
  """Crops and resizes arrays as `read` does files.

  Args:
    images: uint8 [N, H, W, C], C 1 or 3.
    size: height and width of the result, in pixels.
    crop_size: as in `read`.

  Returns:
    uint8 [N, size, size, C]; `images` itself where they have that size already.
  """
  height, width = images.shape[1:3]
  left, top, side = _centre_square(width, height, crop_size)
  if (height, width) != (side, side):
    images = images[:, top : top + side, left : left + side]
  if side == size:
    return images
  resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
  for image, target in zip(images, resized, strict=True):
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    target[...] = _resize(picture, size)
  return resized


def _centre_square(width, height, crop_size):
  side = min(crop_size or width, width, height)
  return (width - side) // 2, (height - side) // 2, side


def _resize(picture, size):
  """A picture in mode L or RGB as an array [size, size, channels]."""
  resized = picture.resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(resized).reshape(size, size, -1)


def _without_transparency(picture, coding):
  """The picture in a mode of 8 bits, laid over white where it is transparent."""
  colour = picture.info.get('transparency')
  if picture.mode.startswith('I'):
    values = np.asarray(picture).astype(np.int32)
    if colour is not None:
      values[values == colour] = 65535
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
  if not picture.has_transparency_data:
    return picture
  scale = TRANSPARENT_COLOUR_SCALES.get(coding)
  if colour is not None and scale:
    scaled = (np.array(colour) * scale).astype(int).tolist()
    picture.info['transparency'] = tuple(scaled) if isinstance(colour, tuple) else scaled
  white = Image.new('RGBA', picture.size, 'white')
  return Image.alpha_composite(white, picture.convert('RGBA')).convert('RGB')
