"""Trains a model on arrays in memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config.columns import ALL
from cvae_jax.data import datasets, tables
from cvae_jax.data.readers import Source, arrays
from cvae_jax.inference.loading import load
from cvae_jax.inference.model import Model
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import loop


def fit(
  images: Any,
  labels: Any = None,
  config: ConfigDict | None = None,
  workdir: str | Path | None = None,
  *,
  conditions: Mapping[str, Any] | None = None,
  validation: float | tuple[Any, Any] | None = 0.1,
) -> Model:
  """Trains a model on arrays, or goes on where the same call was interrupted.

  The run is an ordinary one: the commands work on its folder. Its bits do not depend on the order
  of the images, and are those of `train.py` on files with the same images.

  Args:
    images: [N, H, W, C] or [N, H, W], C from 1 to 16: uint8, or floats in [0, 1], which are rounded
      to bytes.
    labels: [N] integers or texts, the class of each image; None trains an unconditional model.
      The classes are numbered in sorted order: `Model.class_names`.
    config: from `default_config`; the size of the images, their channels and the classes follow
      from the arrays. Its `data.conditions` may choose from the `conditions` and the measures;
      empty takes all conditions.
    workdir: the run's folder; by default `runs/<config.name>`.
    conditions: instead of labels, columns of conditions by their names, each [N] numbers, bools or
      texts; None and NaN where one is unknown. Kinds are recognized, or given by
      `data.conditions='angle:number,colour'`.
    validation: the images and labels (or conditions) to validate on, or the fraction of `images`
      to hold out for that, of each class where it has enough, chosen by `config.data.split_seed`.
      None: as many as `config.data.validation_examples` says, whatever their classes.

  Returns:
    The trained model, as `load(workdir)` gives it: the best checkpoint.

  Raises:
    InputError: arrays, config or folder cannot be used; so also if the folder holds a run on other
      arrays.
    NonFiniteError, StoppedError, WriteError: see `training.loop.train`.
  """
  if config is None:
    config = config_lib.default(name='fit')
  config_lib.check_fields(config)
  config = config.copy_and_resolve_references()
  given = {'train': (images, conditions if labels is None else labels)}
  if labels is not None and conditions is not None:
    raise InputError('labels and conditions are both given. Give the labels as one of conditions.')
  if isinstance(validation, tuple | list) and len(validation) == 2:
    given['validation'] = validation
  elif validation is not None and not (isinstance(validation, float) and 0 < validation < 1):
    raise InputError(
      'validation is neither a pair (images, labels or conditions) nor a fraction between 0 and 1: '
      f'{str(validation)[:40]!r}.'
    )
  columns = {}
  if conditions is not None:
    config.data.conditions = config.data.conditions or ALL
    given, columns = _without_columns(given)
  source = arrays.source_of(given, config.data.bit_depth, config.data.conditions, columns)
  train = source.splits['train']
  # Without it, images would be held out for a test split too.
  source.splits['test'] = train.take(slice(0))
  _describe(config, source, train.images.shape[1:])
  if isinstance(validation, float):
    count = max(1, round(validation * len(train.labels)))
    # 0 stands for a tenth: a file with the same arrays is then split alike.
    config.data.validation_examples = 0 if validation == datasets.HELD_OUT else count
    classes = train.labels
    if config_lib.has_table(config):
      classes = tables.choose(source, config.data).splits['train'].labels
    source = source._replace(stratify=datasets.can_stratify(classes, count))
  try:
    workdir = paths.from_user(os.fspath(workdir or f'runs/{config.name}'))
  except TypeError as error:
    raise InputError(f'workdir={workdir!r} is no path of a folder.') from error
  if config.conditional and (renumbered := _renumbered(source.class_names)):
    progress.log(renumbered)
  try:
    loop.train(config, workdir, source=source)
  except OccupiedError as error:
    raise InputError(
      f'{error} Choose a free folder: workdir={str(error.free_workdir)!r}.'
    ) from error
  return load(workdir)


def _without_columns(given: dict[str, tuple[Any, Any]]):
  """The images of each split without labels, and each column of conditions in all splits."""
  columns = {}
  for split, (_, conditions) in given.items():
    if not isinstance(conditions, Mapping) or not conditions:
      raise InputError(
        f'The {split} conditions are {str(conditions)[:40]!r}, expected columns by their names: '
        "{'angle': [...], 'colour': [...]}."
      )
    for name, cells in conditions.items():
      if not isinstance(name, str) or not name:
        raise InputError(f'The {split} conditions have a column {name!r}, expected a name.')
      columns.setdefault(name, {})[split] = cells
  return {split: (images, None) for split, (images, _) in given.items()}, columns


def _renumbered(class_names: tuple[str, ...]) -> str:
  """A note where classes are named by other numbers than their own."""
  numbers = tuple(map(str, range(len(class_names))))
  are_numbers = all(name.lstrip('-').isdecimal() for name in class_names)
  if class_names == numbers or not are_numbers:
    return ''
  first, last = class_names[0], class_names[-1]
  return (
    f'The labels {first} to {last} are the classes 0 to {numbers[-1]}. Give the methods of the '
    'model these numbers, or the labels as texts: labels.astype(str).'
  )


def _describe(config: ConfigDict, source: Source, image_shape: tuple[int, int, int]) -> None:
  """Sets the fields of a config that follow from arrays."""
  data, (height, width, channels) = config.data, image_shape
  with data.ignore_type():  # an integer or a pair
    data.image_size = height if height == width else (height, width)
  data.name, data.dir, data.crop_size = 'arrays', '', 0
  data.channels, data.num_classes = channels, 0  # as many as the data have
  has_conditions = bool(source.class_names or data.conditions)
  config.conditional = config.conditional and has_conditions
