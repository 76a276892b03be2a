"""A data set in three splits, with all images in one size."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import Column
from cvae_jax.data import tables
from cvae_jax.data.readers import DATASETS, Source, Split, decoding, file_rows, pictures
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.data.readers.sources import in_random_order
from cvae_jax.data.tables import Table
from cvae_jax.runtime.errors import InputError

HELD_OUT = 0.1  # the fraction for each split that a data set lacks
FEW_IMAGES = 20  # of a class, to learn it from
MAX_COUNTED = 100  # classes, each with its counts


class Dataset(NamedTuple):
  """The images of one split with their labels or conditions."""

  images: np.ndarray | FileRows  # uint8 [N, H, W, C]; large ones may stay in their file
  labels: np.ndarray  # int32 [N]; 0 where the data set has none, −1 where one is missing
  class_names: tuple[str, ...]
  table: Table | None = None  # of conditions, if there are others than labels

  @property
  def conditions(self) -> np.ndarray:
    """What a model is given of each image: [N] labels, or the [N, columns] values of the table."""
    return self.labels if self.table is None else self.table.values

  @property
  def columns(self) -> tuple[Column, ...]:
    """Of the table; () without one."""
    return () if self.table is None else self.table.columns

  def take(self, rows: slice | np.ndarray) -> 'Dataset':
    """The examples at `rows`; images in a file stay there."""
    table = None if self.table is None else self.table.take(rows)
    images = file_rows.take(self.images, rows)
    return Dataset(images, self.labels[rows], self.class_names, table)


class Splits(NamedTuple):
  """The three splits of a data set."""

  train: Dataset
  validation: Dataset
  test: Dataset


def completed(config: ConfigDict, train: Dataset) -> ConfigDict:
  """`config` with what it leaves to the data."""
  columns = tuple(map(config_lib.inputs_text, train.columns))
  return config_lib.with_data(config, len(train.class_names), columns)


def fingerprint(*splits: Dataset) -> str:
  """A hash of images, labels and class names: the same for the same data, from whichever files."""
  digest = hashlib.blake2b(digest_size=16)
  for split in splits:
    digest.update(repr((split.images.shape, split.class_names)).encode())
    for rows in file_rows.pieces(split.images):
      digest.update(np.ascontiguousarray(split.images[rows]))
    digest.update(np.ascontiguousarray(split.conditions))
    if split.table:
      digest.update(repr(split.columns).encode())
  return digest.hexdigest()


def describe(train: Dataset, validation: Dataset) -> dict[str, int | str]:
  """Facts that tell in words what has changed where fingerprints differ."""
  digest = hashlib.blake2b(digest_size=8)
  for split in (train, validation):
    digest.update(np.ascontiguousarray(split.conditions))
  return {
    'training images': len(train.labels),
    'validation images': len(validation.labels),
    'labels': digest.hexdigest(),
  }


def load(config, at_most: int | None = None, source: Source | None = None) -> Splits:
  """Loads the data set that `config.data` describes.

  A source whose images are in any order is shuffled first, always alike. Where it has no validation
  split, `validation_examples` of its training images are held out, chosen by `split_seed`; where it
  has no test split, as many more. `max_examples` then keeps the first of the remaining training
  images, and no more of the validation. A test split is never changed.

  Args:
    config: a checked config.
    at_most: for a trial: keep at most this many images of each split, and cache no decoded
      pictures. At least a batch.
    source: the data set; None reads the one that `config.data` names.

  Raises:
    InputError: the files are missing or broken, or do not fit the config.
  """
  data = config.data
  if source is None:
    source = DATASETS[data.name](data)
  has_table = config_lib.has_table(config)
  if has_table:
    source = tables.choose(source, data)
  _check_classes(config, source)
  if not source.is_mixed:
    source = source._replace(splits=in_random_order(source.splits))
  splits = _three_splits(data, source)
  for name in ('train', 'validation'):
    splits[name] = splits[name].take(slice(data.max_examples or None))
  _check_batch_size(config, splits['train'])
  if data.num_labels:
    few = data.num_labels, data.split_seed
    train = tables.with_few_labels(splits['train'], source.columns, *few)
    if at_most is not None:  # half of a trial has labels
      is_missing = train.labels < 0
      halves = (np.flatnonzero(x)[: at_most // 2] for x in (~is_missing, is_missing))
      train = train.take(np.concatenate([*halves]))
    splits['train'] = train
  first = slice(at_most)
  if not data.skip_broken:  # Otherwise broken pictures decide how many are needed.
    splits = {name: split.take(first) for name, split in splits.items()}
  splits = _to_arrays(data, splits, cache=at_most is None)
  _check_batch_size(config, splits['train'])  # again: broken pictures are gone
  if config.conditional and at_most is None:
    _check_every_class(data, source, splits['train'])
  names, found = source.class_names, dict.fromkeys(splits)
  if has_table:
    splits = tables.measured(splits, source.columns, cache=at_most is None)
    found = tables.standardized(splits, source.columns)
  return Splits(
    **{
      name: Dataset(images, labels, names, found[name]).take(first)
      for name, (images, labels, _) in splits.items()
    }
  )


def _check_classes(config, source: Source) -> None:
  data, expected = config.data, len(source.class_names)
  has_table = config_lib.has_table(config)
  if config.conditional and not has_table:
    _check_labels(data, source)
  for name, split in source.splits.items():
    lowest = -1 if has_table else 0
    wrong = split.labels[(split.labels < lowest) | (split.labels >= max(expected, 1))]
    if len(wrong):
      raise InputError(
        f'The {name} split of {data.name!r} has a label {wrong[0]}, expected 0 to {expected - 1}.'
      )


def _check_labels(data, source: Source) -> None:
  """Raises InputError unless a model without a table can be given the labels."""
  expected = len(source.class_names)
  if not expected:
    images = source.splits['train'].images
    are_files = isinstance(images, list) and isinstance(images[0], Path)
    raise InputError(
      f'{data.name!r} has no labels, but conditional=True needs them. '
      'Set --config.conditional=False'
      f'{", or put the pictures of each class in a folder of its own" if are_files else ""}.'
    )
  # Runs of earlier versions were trained on one class; their configs say so.
  if expected == 1 != data.num_classes:
    raise InputError(
      f'{data.name!r} has one class only, {source.class_names[0]!r}: it tells a conditional model '
      'nothing. Set --config.conditional=False, or --config.data.num_classes=1 to do it anyway.'
    )
  if data.num_classes not in (0, expected):
    raise InputError(
      f'data.num_classes={data.num_classes}, but {data.name!r} has {expected} classes. '
      f'Set --config.data.num_classes={expected}.'
    )


def _check_every_class(data, source: Source, train: Split) -> None:
  class_names = source.class_names
  counts = _counts(train.labels, len(class_names))
  if class_names and not counts.all():
    is_held_out = np.isin(np.flatnonzero(counts == 0), source.splits['train'].labels).any()
    missing = [name for name, count in zip(class_names, counts, strict=True) if not count]
    shown = ', '.join(map(repr, missing[:5])) + (', ...' if len(missing) > 5 else '')
    advice = 'Add images of it, or leave the class out.'
    if is_held_out:
      advice = 'Lower --config.data.validation_examples, or set another --config.data.split_seed.'
    if data.max_examples:
      advice = f'Raise --config.data.max_examples={data.max_examples}, or set it to 0 for all.'
    raise InputError(
      f'{len(missing)} of {len(class_names)} classes have no image among the '
      f'{len(train.labels):,} training images: {shown}. {advice}'
    )


def _counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """How many images each class has; missing labels do not count."""
  return np.bincount(labels[labels >= 0], minlength=num_classes)


def class_counts(splits: Splits) -> list[str]:
  """Lines that show how many images of each class each split has; a warning for small classes."""
  class_names = splits.train.class_names
  counts = [_counts(split.labels, len(class_names)) for split in splits]
  if not class_names:
    return []
  if len(class_names) > MAX_COUNTED:
    low, high = counts[0].min(), counts[0].max()
    lines = [f'{len(class_names):,} classes of {low:,} to {high:,} training images']
  else:
    columns = zip(class_names, *counts, strict=True)
    listed = ', '.join(f'{name} {"/".join(map(str, numbers))}' for name, *numbers in columns)
    lines = [f'images of each class (training/validation/test): {listed}']
  if missing := np.count_nonzero(splits.train.labels < 0):
    return [*lines, f'{missing:,} of {len(splits.train.labels):,} training images have no class']
  few = [f'{class_names[label]!r} ({counts[0][label]})' for label in np.argsort(counts[0])]
  if num_few := int(np.sum(counts[0] < FEW_IMAGES)):
    shown = ', '.join(few[: min(num_few, 5)]) + (', ...' if num_few > 5 else '')
    lines.append(
      f'Warning: {num_few} class(es) have fewer than {FEW_IMAGES} training images: {shown}. '
      'Expect poor samples of them.'
    )
  return lines


def _check_batch_size(config, train: Split) -> None:
  if config.batch_size > len(train.labels):
    raise InputError(
      f'batch_size={config.batch_size} is more than the {len(train.labels):,} training images. '
      f'Choose at most {len(train.labels)}.'
    )


def _three_splits(data, source: Source) -> dict[str, Split]:
  """Holds out of the training images the splits that the source lacks."""
  splits, stratify = dict(source.splits), source.stratify
  count, available = data.validation_examples, len(splits['train'].labels)
  if not count:
    count = max(round(available * HELD_OUT), 1)
    stratify |= can_stratify(splits['train'].labels, count)
  if {'validation', 'test'}.isdisjoint(splits) and 2 * count >= available:
    raise InputError(
      f'data.validation_examples={count} for validation and as many for testing leave none of '
      f'{available:,} images to train on: expected 1 to {(available - 1) // 2}.'
    )
  for name in ('validation', 'test'):
    if name not in splits:
      train = splits['train']
      held_out, rest = _hold_out(train.labels, count, data.split_seed, stratify)
      splits[name], splits['train'] = train.take(held_out), train.take(rest)
  return {name: splits[name] for name in Splits._fields}


def can_stratify(labels: np.ndarray, count: int) -> bool:
  """Whether `count` examples can be held out, twice, with one of each class in every split."""
  sizes = np.unique(labels, return_counts=True)[1]
  return len(sizes) <= count and sizes.min() >= len(Splits._fields)


def _hold_out(labels, count: int, seed: int, stratify: bool) -> tuple[np.ndarray, np.ndarray]:
  """Indices of `count` examples, and of the rest, both shuffled by `seed`."""
  # A stratified split needs one image of each class on both sides.
  minimum = len(np.unique(labels)) if stratify else 1
  if not minimum <= count <= len(labels) - minimum:
    raise InputError(
      f'data.validation_examples={count} cannot be held out of {len(labels):,} training images: '
      f'expected {minimum} to {len(labels) - minimum}.'
    )
  if stratify:
    from sklearn import model_selection

    rest, held_out = model_selection.train_test_split(
      np.arange(len(labels)), test_size=count, random_state=seed, stratify=labels
    )
    return held_out, rest
  # NumPy promises never to change RandomState's stream: a split outlives every upgrade.
  order = np.random.RandomState(seed).permutation(len(labels))
  return order[:count], order[count:]


def _to_arrays(data, splits: dict[str, Split], cache: bool) -> dict[str, Split]:
  """Images uint8 [N, height, width, channels] of every split, in memory or in a file."""
  geometry = decoding.Geometry.of(data)
  if not isinstance(splits['train'].images, list):
    for split in splits.values():
      if (channels := split.images.shape[-1]) != data.channels:
        raise InputError(
          f'data.channels={data.channels}, but the images of {data.name!r} have {channels}. '
          f'Set --config.data.channels={channels}.'
        )
    return {
      name: split._replace(images=decoding.fit(split.images, geometry))
      for name, split in splits.items()
    }
  decoding.check_channels(data)
  # All at once and sorted: another split of the same pictures finds them in the cache.
  paths = sorted({path for split in splits.values() for path in split.images})
  images, readable = pictures.decode(paths, geometry, cache, data.skip_broken)
  index = {path: row for row, path in enumerate(paths)}
  decoded = {}
  for name, split in splits.items():
    rows = np.array([index[path] for path in split.images])
    kept = readable[rows]
    if not kept.any():
      raise InputError(f'No picture of the {name} split of {data.dir!r} can be read.')
    rest = split.take(np.flatnonzero(kept))
    decoded[name] = rest._replace(images=file_rows.take(images, rows[kept]))
  return decoded
