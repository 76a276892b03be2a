"""Checks of the arrays that a user gives to a trained model."""

from typing import Any

import numpy as np

from cvae_jax.data.readers import array_images, array_labels
from cvae_jax.runtime.errors import InputError


def images_of(given: Any, image_shape: tuple[int, int, int]) -> np.ndarray:
  """Images as float32 [N, H, W, C] in [0, 1].

  Args:
    given: floats in [0, 1] or integers up to 255, of the same shape, or [N, H, W] if C = 1.
    image_shape: (H, W, C).

  Raises:
    InputError: they are no such images.
  """
  images = _array('images', given)
  if images.ndim == 3 and image_shape[-1] == 1:
    images = images[..., None]
  if images.ndim != 4 or images.shape[1:] != image_shape:
    height, width, channels = image_shape
    raise InputError(
      f'images have shape {images.shape}, expected [N, {height}, {width}, {channels}].'
    )
  if images.dtype.kind != 'f':
    return array_images.images_of(images, 'images').astype(np.float32) / 255
  if images.size and not (images.min() >= 0 and images.max() <= 1):
    raise InputError(f'images range from {images.min():g} to {images.max():g}, expected 0 to 1.')
  return images.astype(np.float32)


def as_bytes(images: np.ndarray) -> np.ndarray:
  """Images in [0, 1], rounded to uint8."""
  return np.rint(255 * images).astype(np.uint8)


def latents_of(given: Any, size: int) -> np.ndarray:
  """Latents as float32 [N, size].

  Raises:
    InputError: they are no finite numbers, or have another shape.
  """
  given = _array('latents', given)
  with np.errstate(over='ignore'):
    latents = given.astype(np.float32) if given.dtype.kind in 'fiu' else np.float32(np.nan)
  if not np.isfinite(latents).all():
    raise InputError(f'latents ({given.dtype}) are not all finite float32 numbers.')
  if latents.ndim != 2 or latents.shape[1] != size:
    raise InputError(f'latents have shape {latents.shape}, expected [N, {size}].')
  return latents


def mixtures_of(labels: Any, count: int, num_classes: int) -> np.ndarray | None:
  """Labels as weights of classes, float32 [count, classes]; None if they are no mixtures.

  Raises:
    InputError: some are not finite.
  """
  labels = _array('labels', labels)
  if labels.dtype.kind != 'f' or labels.shape != (count, num_classes):
    return None
  if not np.isfinite(labels).all():
    raise InputError('labels (mixtures of classes) are not all finite: expected numbers.')
  return labels.astype(np.float32)


def _array(name: str, values: Any) -> np.ndarray:
  """`values` as an array; raises InputError if rows differ in length or entries are masked."""
  array_labels.refuse_masked(values, name)
  try:
    return np.asarray(values)
  except ValueError as error:  # NumPy: "inhomogeneous shape"
    raise InputError(f'{name} are not one array: rows differ in length.') from error
