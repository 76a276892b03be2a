"""Images with a hole: where the hole is, and what is known of such an image."""

from typing import Any

import numpy as np

from cvae_jax.inference.conditions import Conditioning, Conditions
from cvae_jax.runtime.errors import InputError

HOLE = 0.5  # the grey of a hole that is shown


def holes_of(given: Any, count: int, image_shape: tuple[int, int, int]) -> np.ndarray:
  """The pixels to fill, bool [N, H, W, 1].

  Args:
    given: [H, W] for all images or [N, H, W], with or without a last axis of 1: bool, 0 or 1,
      floats in [0, 1] or bytes. From half of the largest value on, a pixel is to be filled.
    count: N.
    image_shape: (H, W, C).

  Raises:
    InputError: it has another shape, or nothing to fill, or nothing that is known.
  """
  mask, size = np.asarray(given), image_shape[:2]
  if mask.ndim > 2 and mask.shape[-1] == 1 and mask.shape[-3:-1] == size:
    mask = mask[..., 0]
  if mask.shape not in (size, (count, *size)) or mask.dtype.kind not in 'biuf':
    height, width = size
    raise InputError(
      f'mask has shape {mask.shape} ({mask.dtype}), expected numbers [{height}, {width}] or '
      f'[{count}, {height}, {width}].'
    )
  if mask.dtype.kind in 'iu' and mask.max(initial=0) > 1:
    mask = mask / 255
  if mask.size and not (mask.min() >= 0 and mask.max() <= 1):
    raise InputError(f'mask ranges from {mask.min():g} to {mask.max():g}, expected 0 to 1.')
  holes = np.broadcast_to(mask >= 0.5, (count, *size))[..., None]
  filled = holes.any(axis=(1, 2, 3)), holes.all(axis=(1, 2, 3))
  if not filled[0].all():
    raise InputError('mask has no white pixel, so there is nothing to fill: white is to be filled.')
  if filled[1].any():
    raise InputError(
      'mask is all white, so nothing of the image is left: black is kept. Draw samples instead.'
    )
  return holes


def known_conditions(
  conditioning: Conditioning, labels: Any, conditions: Any, count: int
) -> Conditions:
  """Conditions of images with a hole: those that are given, and others unknown.

  Nothing is measured or inferred, for that takes a whole image.

  Raises:
    InputError: one is not given that the model never saw unknown.
  """
  return conditioning._replace(training=None).of(labels, conditions, count)


def with_hole(images: np.ndarray, holes: np.ndarray) -> np.ndarray:
  """Images as they are shown, the hole grey."""
  return np.where(holes, np.float32(HOLE), images)
