"""Images laid out in one picture, pixel by pixel, and written as PNG or GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvae_jax.runtime import paths

# A picture is enlarged by whole pixels to about this side, so that 28×28 images can be looked at.
TARGET_SIDE_PIXELS = 640
FRAME_MILLISECONDS = 100


def grid(images: np.ndarray, columns: int) -> np.ndarray:
  """Lays images out row by row.

  Args:
    images: [N, H, W, C] floats in [0, 1], C = 1 or 3.
    columns: images in a row; the last row is filled up with black.

  Returns:
    uint8 [rows * (H + 2), columns * (W + 2), C] before enlargement: one black pixel around each
    image, so the picture divides evenly into its tiles.
  """
  rows = -(-len(images) // columns)
  pixels = np.round(np.clip(np.asarray(images), 0, 1) * 255).astype(np.uint8)
  blank = ((0, rows * columns - len(pixels)), (1, 1), (1, 1), (0, 0))
  tiles = np.pad(pixels, blank)
  height, width, channels = tiles.shape[1:]
  tiles = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
  picture = tiles.reshape(rows * height, columns * width, channels)
  scale = max(1, TARGET_SIDE_PIXELS // max(picture.shape[:2]))
  return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def pairs(images: np.ndarray, reconstructions: np.ndarray, columns: int) -> np.ndarray:
  """A grid in which each row of images has their reconstructions in the row below.

  Args:
    images: [N, H, W, C] floats in [0, 1], N a multiple of `columns`.
    reconstructions: the same shape.
    columns: images in a row.
  """
  both = np.stack(
    [np.asarray(x).reshape(-1, columns, *images.shape[1:]) for x in (images, reconstructions)],
    axis=1,
  )
  return grid(both.reshape(-1, *images.shape[1:]), columns)


def save_png(path: Path, picture: np.ndarray) -> None:
  """Writes uint8 [H, W, 1 or 3] to `path`, whole or not at all."""
  with paths.whole(path) as temporary:
    _image(picture).save(temporary, 'PNG')


def save_gif(path: Path, frames: Sequence[np.ndarray]) -> None:
  """Writes an animation that goes to and fro forever, whole or not at all.

  Args:
    path: the file.
    frames: uint8 [H, W, 1 or 3] each, from one end to the other.
  """
  there_and_back = [_image(frame) for frame in (*frames, *frames[-2:0:-1])]
  with paths.whole(path) as temporary:
    there_and_back[0].save(
      temporary,
      'GIF',
      save_all=True,
      append_images=there_and_back[1:],
      duration=FRAME_MILLISECONDS,
      loop=0,
    )


def _image(picture):
  return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
