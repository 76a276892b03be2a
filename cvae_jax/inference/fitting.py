"""Trains a model on arrays in memory."""

import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.data.readers import Source, Split, arrays
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
      from the arrays.
    workdir: the run's folder; by default `runs/<config.name>`.
    validation: the images and labels to validate on, or the fraction of `images` to hold out for
      that, of each class where it has enough, chosen by `config.data.split_seed`. None: as many
      as `config.data.validation_examples` says, whatever their classes.

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
  given = {'train': (images, labels)}
  if isinstance(validation, tuple | list) and len(validation) == 2:
    given['validation'] = validation
  elif validation is not None and not (isinstance(validation, float) and 0 < validation < 1):
    raise InputError(
      'validation is neither a pair (images, labels) nor a fraction between 0 and 1: '
      f'{str(validation)[:40]!r}.'
    )
  source = arrays.source_of(given, config.data.bit_depth)
  train = source.splits['train']
  if isinstance(validation, float):
    count = max(1, round(validation * len(train.labels)))
    # 0 stands for a tenth: a file with the same arrays is then split alike.
    config.data.validation_examples = 0 if validation == datasets.HELD_OUT else count
    source = source._replace(stratify=datasets.can_stratify(train.labels, count))
  # Without it, images would be held out for a test split too.
  source.splits['test'] = Split(train.images[:0], train.labels[:0])
  _describe(config, source, train.images.shape[1:])
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
  config.conditional = config.conditional and bool(source.class_names)
