"""Arrays in memory or memory-mapped become a data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvae_jax.data.readers import array_values, classes
from cvae_jax.data.readers.sources import Source, Split, in_order_of_content
from cvae_jax.runtime.errors import InputError


def source_of(splits: Mapping[str, tuple[Any, Any | None]], bit_depth: int = 0) -> Source:
  """A data set of arrays; a run does not depend on the order of their rows.

  Large uint8 images that are mapped from a file stay there.

  Args:
    splits: images and labels of 'train', and of 'validation' and 'test' if there are such. Images
      as in `array_values.images_of`, of one shape in all splits. Labels as in
      `array_values.labels_of`, or None in every split: then there are no classes.
    bit_depth: bits of integer images that are wider than a byte; 0: their values are bytes.

  Raises:
    InputError: the arrays cannot be used, or do not fit each other.
  """
  images = {
    name: array_values.images_of(given, f'{name} images', bit_depth)
    for name, (given, _) in splits.items()
  }
  labels = {
    name: array_values.labels_of(given, f'{name} labels')
    for name, (_, given) in splits.items()
    if given is not None
  }
  if labels and (without := [name for name in splits if name not in labels]):
    raise InputError(
      f'The {without[0]} images have no labels, but those of {next(iter(labels))} have. '
      'Give the labels of every split, or of none.'
    )
  shape = images['train'].shape[1:]
  for name, split in images.items():
    if split.shape[1:] != shape:
      raise InputError(
        f'The {name} images are of shape {list(split.shape[1:])}, the train images of '
        f'{list(shape)}: expected height, width and channels to be the same.'
      )
    if labels and len(split) != len(labels[name]):
      raise InputError(
        f'The {name} images and labels differ in number: {len(split):,} images, '
        f'{len(labels[name]):,} labels.'
      )
  names = ()
  if labels:
    labels, names = classes.numbered(labels)
  else:
    labels = {name: np.zeros(len(split), np.int32) for name, split in images.items()}
  source = {name: Split(images[name], labels[name]) for name in splits}
  return Source(in_order_of_content(source), names, is_mixed=True)
