"""Images laid out in one picture, pixel by pixel, and written as PNG or GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvae_jax.runtime import paths

# Pictures are enlarged by a whole factor to about this side, so that 28×28 images can be looked at.
TARGET_SIDE_PIXELS = 640
FRAME_MILLISECONDS = 100


def shown(images: np.ndarray, channels: Sequence[int]) -> np.ndarray:
  """The channels of [..., C] that stand for it in a picture; see `config.shown_channels`."""
  is_whole = tuple(channels) == tuple(range(images.shape[-1]))
  return images if is_whole else images[..., list(channels)]


def rows_of(values: np.ndarray, columns: int, blank: float = 0) -> np.ndarray:
  """[N, ...] as [rows, columns, ...], row by row; `blank` fills up the last row."""
  rows = -(-len(values) // columns)
  padding = [(0, rows * columns - len(values))] + [(0, 0)] * (values.ndim - 1)
  filled = np.pad(values, padding, constant_values=blank)
  return filled.reshape(rows, columns, *values.shape[1:])


def tile(images: np.ndarray, border: int = 1, colour: float = 0) -> np.ndarray:
  """Lays [rows, columns, H, W, C] out in one picture, each image with a border, in pixels.

  It is [rows * (H + 2 border), columns * (W + 2 border), C], and divides evenly into its tiles.
  """
  around = [(0, 0), (0, 0), (border, border), (border, border), (0, 0)]
  tiles = np.pad(images, around, constant_values=colour)
  rows, columns, height, width, channels = tiles.shape
  return tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def picture(tiles: np.ndarray) -> np.ndarray:
  """Rows and columns of images as pixels, a black line around each image; small ones are enlarged.

  From floats in [0, 1], [rows, columns, H, W, 1 or 3], to uint8
  [scale * rows * (H + 2), scale * columns * (W + 2), 1 or 3].
  """
  pixels = tile(np.round(np.clip(np.asarray(tiles), 0, 1) * 255).astype(np.uint8))
  scale = max(1, TARGET_SIDE_PIXELS // max(pixels.shape[:2]))
  return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def grid(images: np.ndarray, columns: int) -> np.ndarray:
  """The `picture` of [N, H, W, C] images in [0, 1], row by row; black fills up the last row."""
  return picture(rows_of(np.asarray(images), columns))


def save_png(path: Path, picture: np.ndarray) -> None:
  """Writes uint8 [H, W, 1 or 3] to `path`, whole or not at all."""
  with paths.whole(path) as temporary:
    _image(picture).save(temporary, 'PNG')


def save_gif(path: Path, frames: Sequence[np.ndarray]) -> None:
  """Writes frames, uint8 [H, W, 1 or 3], as a GIF that plays forwards and backwards in a loop."""
  there_and_back = [_image(frame) for frame in (*frames, *frames[-2:0:-1])]
  options = {'append_images': there_and_back[1:], 'duration': FRAME_MILLISECONDS, 'loop': 0}
  with paths.whole(path) as temporary:
    there_and_back[0].save(temporary, 'GIF', save_all=True, **options)


def _image(picture):
  return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
