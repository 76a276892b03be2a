"""The three splits of a data set: which images are in which, and all of them in one size."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data import sources
from cvae_jax.data.readers import pictures
from cvae_jax.data.sources import Part
from cvae_jax.runtime.errors import InputError


class Dataset(NamedTuple):
  """Labelled images of one split; the labels of a set without any are 0."""

  images: np.ndarray  # uint8 [N, H, W, C]
  labels: np.ndarray  # int32 [N]
  class_names: tuple[str, ...]


class Splits(NamedTuple):
  """The three parts of a data set."""

  train: Dataset
  validation: Dataset
  test: Dataset


def fingerprint(*parts: Dataset) -> str:
  """A hash of images, labels and class names: that of the same data, wherever they lie."""
  digest = hashlib.blake2b(digest_size=16)
  for part in parts:
    digest.update(repr((part.images.shape, part.class_names)).encode())
    digest.update(np.ascontiguousarray(part.images))
    digest.update(np.ascontiguousarray(part.labels))
  return digest.hexdigest()


def describe(train: Dataset, validation: Dataset) -> dict[str, int | str]:
  """What `fingerprint` tells from another, in parts, so that a change can be named."""
  digest = hashlib.blake2b(digest_size=8)
  for part in (train, validation):
    digest.update(np.ascontiguousarray(part.labels))
  return {
    'training images': len(train.labels),
    'validation images': len(validation.labels),
    'labels': digest.hexdigest(),
  }


def load(config, at_most: int | None = None) -> Splits:
  """The data set that `config.data` describes.

  A set without a validation split of its own gives `validation_examples` of its training images,
  chosen by `split_seed`; one without a test split gives as many more. `max_examples` then keeps the
  first of the training images in that order. A test split is never touched.

  Args:
    config: a checked config.
    at_most: for a trial, take no more images than this of each split, but enough for a batch,
      and leave no cache of decoded pictures behind.

  Raises:
    InputError: the files are missing or broken, or do not fit the config.
  """
  data = config.data
  source = sources.read(data)
  _check_classes(config, source)
  parts = _three_parts(data, source)
  if data.max_examples:
    parts['train'] = _take(parts['train'], slice(data.max_examples))
  _check_batch(config, parts['train'])
  if at_most is not None and not data.skip_broken:  # else who knows how many it takes
    parts = {name: _take(part, slice(at_most)) for name, part in parts.items()}
  parts = _to_arrays(data, parts, cache=at_most is None)
  _check_batch(config, parts['train'])  # again: broken pictures may be gone
  if at_most is not None:
    parts = {name: _take(part, slice(at_most)) for name, part in parts.items()}
  return Splits(**{name: Dataset(*part, source.class_names) for name, part in parts.items()})


def _take(part: Part, rows) -> Part:
  """Rows of a part, by a slice or an array of numbers."""
  if isinstance(part.images, np.ndarray) or isinstance(rows, slice):
    return Part(part.images[rows], part.labels[rows])
  return Part([part.images[row] for row in rows], part.labels[rows])


def _check_classes(config, source: sources.Source) -> None:
  data, expected = config.data, len(source.class_names)
  if config.conditional and not expected:
    raise InputError(
      f'{data.name!r} has no labels, and conditional=True needs some. '
      'Set --config.conditional=False --config.data.num_classes=0.'
    )
  if config.conditional and data.num_classes != expected:
    raise InputError(
      f'data.num_classes={data.num_classes}, but {data.name!r} has {expected} classes. '
      f'Set --config.data.num_classes={expected}.'
    )
  for part in source.parts.values():
    wrong = part.labels[(part.labels < 0) | (part.labels >= max(expected, 1))]
    if len(wrong):
      raise InputError(
        f'{data.name!r} has a label {wrong[0]}, expected 0 to {expected - 1}: its classes are '
        f'{expected}.'
      )


def _check_batch(config, train: Part) -> None:
  if config.batch_size > len(train.labels):
    raise InputError(
      f'batch_size={config.batch_size} is more than the {len(train.labels):,} training images. '
      f'Choose at most {len(train.labels)}.'
    )


def _three_parts(data, source: sources.Source) -> dict[str, Part]:
  """Holds out of the training images what the source does not have as a split of its own."""
  parts = dict(source.parts)
  count, available = data.validation_examples, len(parts['train'].labels)
  if {'validation', 'test'}.isdisjoint(parts) and 2 * count >= available:
    raise InputError(
      f'data.validation_examples={count} for validation and as many for testing leave none of '
      f'{available:,} images to train on: expected 1 to {(available - 1) // 2}.'
    )
  for name in ('validation', 'test'):
    if name not in parts:
      held_out, rest = _split_off(parts['train'].labels, count, data.split_seed, source.stratify)
      parts[name], parts['train'] = (_take(parts['train'], rows) for rows in (held_out, rest))
  return {name: parts[name] for name in Splits._fields}


def _split_off(labels, count: int, seed: int, stratify: bool):
  """Row numbers (of `count` examples, of the rest), shuffled by `seed`, both int arrays."""
  # A stratified split needs one image of each class on both sides.
  least = len(np.unique(labels)) if stratify else 1
  if not least <= count <= len(labels) - least:
    raise InputError(
      f'data.validation_examples={count} cannot be split off {len(labels):,} training images: '
      f'expected {least} to {len(labels) - least}.'
    )
  rows = np.arange(len(labels))
  if stratify:
    from sklearn import model_selection

    rest, chosen = model_selection.train_test_split(
      rows, test_size=count, random_state=seed, stratify=labels
    )
    return chosen, rest
  # RandomState, whose stream NumPy promises never to change: a split outlives every upgrade.
  order = np.random.RandomState(seed).permutation(len(labels))
  return order[:count], order[count:]


def _to_arrays(data, parts: dict[str, Part], cache: bool) -> dict[str, Part]:
  """Images uint8 [N, image_size, image_size, channels] of every part."""
  if isinstance(parts['train'].images, np.ndarray):
    for part in parts.values():
      _check_channels(data, part.images)
    return {
      name: Part(pictures.fit(part.images, data.image_size, data.crop_size), part.labels)
      for name, part in parts.items()
    }
  return _decoded(data, parts, cache)


def _check_channels(data, images) -> None:
  if images.shape[-1] != data.channels:
    raise InputError(
      f'data.channels={data.channels}, but the images of {data.name!r} have {images.shape[-1]}. '
      f'Set --config.data.channels={images.shape[-1]}.'
    )


def _decoded(data, parts: dict[str, Part], cache: bool) -> dict[str, Part]:
  # All at once and sorted, so that another split of the same pictures finds them in the cache.
  paths: list[Path] = sorted({path for part in parts.values() for path in part.images})
  images, readable = pictures.decode(
    paths,
    data.image_size,
    data.crop_size,
    data.channels,
    cache=cache,
    skip_broken=data.skip_broken,
  )
  place = {path: row for row, path in enumerate(paths)}
  decoded = {}
  for name, part in parts.items():
    rows = np.array([place[path] for path in part.images])
    kept = readable[rows]
    if not kept.any():
      raise InputError(f'No picture of the {name} split of {data.dir!r} can be read.')
    decoded[name] = Part(images[rows[kept]], part.labels[kept])
  return decoded
