"""Images in arrays of any type become bytes, or are refused by what they hold."""

import math
from typing import Any

import numpy as np

from cvae_jax.config import MAX_CHANNELS
from cvae_jax.data.readers import decoding, file_rows
from cvae_jax.data.readers.array_labels import array_of, shown
from cvae_jax.runtime.errors import InputError

NARROWEST = 5  # pixels; a narrower last axis is one of channels
TOLERANCE = 1e-3  # of floats beyond [0, 1], which rounding to bytes forgives


def images_of(given: Any, name: str, bit_depth: int = 0) -> np.ndarray:
  """Checks images and makes bytes of them.

  Args:
    given: [N, H, W] or [N, H, W, C], C from 1 to 16: uint8; floats in [0, 1]; bools; or integers
      from 0 to 255, or to 2^bit_depth − 1.
    name: for messages, 'train images'.
    bit_depth: bits of integers wider than a byte, which are scaled to 8; 0: they are bytes.

  Returns:
    uint8 [N, H, W, C]; where it is uint8 already a view of `given`, which may be a map of a
    file.

  Raises:
    InputError: they cannot be images; the message says why, and what may be meant.
  """
  images = array_of(given, name)
  _check_shape(images.shape, name)
  if images.dtype.kind not in 'biuf':
    raise InputError(
      f'The {name} are of type {images.dtype}, expected uint8, or floats in [0, 1].'
      + (' Take the absolute value, or the real part.' if images.dtype.kind == 'c' else '')
    )
  low, high = _range(images, name)
  _check_range(images.dtype, low, high, name, bit_depth)
  if images.dtype != np.uint8:
    converted = np.empty(images.shape, np.uint8)
    for rows in file_rows.pieces(images):
      converted[rows] = _as_bytes(images[rows], bit_depth)
    images = converted
  return images if images.ndim == 4 else images[..., None]


def _check_shape(shape, name):
  given = f'The {name} have shape {shown(shape)}'
  problem = f'{given}, expected [N, H, W] or [N, H, W, C], C from 1 to {MAX_CHANNELS}.'
  if len(shape) == 4:
    _, channels, height, width = shape
    is_square = height == width
    are_few = channels <= MAX_CHANNELS and channels < min(height, width)
    if are_few and (is_square or width > MAX_CHANNELS):
      raise InputError(
        f'{given}: their channels seem to come first. Put them last with '
        'images.transpose(0, 2, 3, 1).'
      )
    if shape[-1] > MAX_CHANNELS:
      raise InputError(f'{problem} {shape[-1]:,} channels are too many.')
  elif len(shape) == 3:
    if shape[-1] < NARROWEST:
      raise InputError(f'{problem} One image alone is images[None].')
  elif len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] and side >= NARROWEST:
    raise InputError(f'{problem} Rows of pixels are images.reshape(-1, {side}, {side}).')
  else:
    raise InputError(problem)


def _range(images, name):
  """The smallest and the largest value; of bools 0 and 1.

  Raises:
    InputError: some are NaN.
  """
  images, low, high = file_rows.in_file(images), math.inf, -math.inf
  for rows in file_rows.pieces(images):
    piece = images[rows]
    least, most = piece.min().item(), piece.max().item()
    if math.isnan(least):
      count = int(np.isnan(piece).reshape(len(piece), -1).any(1).argmax())
      raise InputError(
        f'The {name} hold NaN, first in image {rows.start + count:,}. Leave such images out, or '
        'fill the holes: numpy.nan_to_num.'
      )
    low, high = min(low, least), max(high, most)
    if images.dtype == np.uint8 and high > 1:
      break  # all that is to know
  return low, high


def _check_range(dtype, low, high, name, bit_depth):
  if dtype.kind == 'b':
    return
  if dtype.kind == 'f':
    if low < -TOLERANCE or high > 1 + TOLERANCE:
      hint = ''
      if low >= 0 and 1 < high <= 255:
        hint = ' Divide by 255?'
      elif low >= -1 and high <= 1:
        hint = ' images / 2 + 0.5?'
      raise InputError(f'The {name} are floats from {low:g} to {high:g}, expected 0 to 1.{hint}')
    return
  if low < 0:
    raise InputError(f'The {name} are integers from {low:,} to {high:,}, expected 0 or more.')
  if high == 1:
    raise InputError(
      f'The {name} are the integers 0 and 1, expected 0 to 255. Are they binary? Then convert them '
      'with images.astype(bool); else multiply by 255.'
    )
  white = (1 << bit_depth) - 1 if bit_depth and dtype.itemsize > 1 else 255
  if high > white:
    bits = int(high).bit_length()
    advice = f'With {bits} bits: --config.data.bit_depth={bits}.'
    if bits > 16:
      advice = 'Scale them, and convert with images.astype(numpy.uint8).'
    raise InputError(
      f'The {name} are integers up to {high:,}, expected at most {white:,} '
      f'(data.bit_depth={bit_depth}). {advice}'
    )


def _as_bytes(images, bit_depth):
  if images.dtype.kind == 'f':
    # float16 holds 255 · x to within an eighth only
    wide = images.astype(np.float32) if images.dtype.itemsize < 4 else images
    return np.round(wide * 255).astype(np.uint8)
  if images.dtype.kind == 'b':
    return images * np.uint8(255)
  if bit_depth and images.dtype.itemsize > 1:
    return decoding.to_bytes(images, (1 << bit_depth) - 1)
  return images.astype(np.uint8)
