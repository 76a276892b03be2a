"""Images to start from: rows of a dataset, or the user's picture files, with their classes."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import decoding, pictures
from cvae_jax.data.readers.classes import class_name
from cvae_jax.data.readers.decoding import FORMAT_NAMES
from cvae_jax.data.readers.entries import counted, walk
from cvae_jax.inference import bounds
from cvae_jax.inference.conditions import Conditioning, Conditions
from cvae_jax.inference.model import Model
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

MAX_ROUNDS = 5  # over the columns that are to be found
NUMBER_STEPS = 21  # of the trained range, to find the number of a picture from its bounds


class Inputs(NamedTuple):
  """Images to start from."""

  images: np.ndarray  # float32 [N, H, W, C] in [0, 1]
  conditions: Conditions
  names: tuple[str, ...]


class Found(NamedTuple):
  """Conditions of pictures, given, from their folders or found by a model."""

  conditions: Conditions
  from_folder: np.ndarray  # bool [N], whether the class is
  probabilities: np.ndarray  # [N], of the class; 1 for those from folders


def from_dataset(model: Model, dataset: Dataset, rows: Sequence[int]) -> Inputs:
  """Images of a split by their row numbers, named after their classes.

  Raises:
    InputError: there is no such row.
  """
  rows, count = np.asarray(rows), len(dataset.labels)
  if wrong := [row for row in rows if not 0 <= row < count]:
    raise InputError(f'index {wrong[0]} is not in this split: expected 0 to {count - 1}.')
  labels, classes = dataset.labels[rows], dataset.class_names
  pairs = zip(rows, labels, strict=True)
  names = [classes[label] if classes and label >= 0 else str(row) for row, label in pairs]
  images = dataset.images[rows].astype(np.float32) / 255
  return Inputs(images, conditions_of(model, dataset, rows), tuple(names))


def conditions_of(
  model: Model, dataset: Dataset, rows: slice | np.ndarray = slice(None)
) -> Conditions:
  """The conditions of images of a dataset; an unconditional model ignores them."""
  given = dataset.conditions[rows]
  return Conditions(model.columns, given if model.conditional else np.zeros(len(given), np.int32))


def find_pictures(folder: Path) -> list[Path]:
  """The picture files in a folder and its subfolders, in order of their names.

  Other files, and what the system left there, are counted and passed over.

  Raises:
    InputError: there is no such folder, or no picture in it.
  """
  if not folder.is_dir():
    state = 'a file' if folder.exists() else 'not there'
    raise InputError(f'{printable(folder)} is {state}: name a folder.')

  found, passed_over = [], Counter()
  for parent, entries in walk(folder, follow_links=False):
    found += [Path(parent, name) for name in entries.pictures]
    passed_over += entries.passed_over()
  others = counted(passed_over)
  if not found:
    given = f', only {others}' if others else ''
    raise InputError(f'{printable(folder)} holds no picture ({FORMAT_NAMES}){given}.')
  if others:
    print(f'Passed over in {printable(folder)}: {others}.')
  return sorted(found)


def read_pictures(
  model: Model, paths: list[Path], skip_broken: bool
) -> tuple[np.ndarray, list[Path]]:
  """Picture files, cut and resized as the config of the model says.

  Args:
    model: a trained model.
    paths: the files.
    skip_broken: list those that cannot be read and leave them out, instead of raising.

  Returns:
    uint8 [N, H, W, C], and their files.

  Raises:
    InputError: a file is missing or cannot be read, or none can; or no picture has the channels
      of the model.
  """
  if model.config.data.channels not in decoding.MODES:
    raise InputError(
      f'The images of this model have {model.config.data.channels} channels, which no picture has: '
      'start from its data set, with --indices.'
    )
  for path in paths:
    if not path.is_file():
      state = 'no file' if path.exists() else 'not there'
      raise InputError(f'{printable(path)} is {state}.')
  geometry = decoding.Geometry.of(model.config.data)
  images, readable = pictures.decode(paths, geometry, cache=False, skip_broken=skip_broken)
  if not readable.any():
    first = printable(paths[0])
    raise InputError(f'None of {len(paths)} pictures can be read; the first is {first}.')
  return images[readable], [path for path, whole in zip(paths, readable, strict=True) if whole]


def find_conditions(
  model: Model, images: np.ndarray, paths: Sequence[Path], given: Mapping[str, Any] | None = None
) -> Found:
  """The conditions of each picture; of an unconditional model there are none.

  A picture in a folder with the name or number of a class has that class. What else is not given is
  measured, or the model finds the likeliest, by Bayes from the bounds: first the class, then flags
  and numbers one after another, numbers at steps of their trained range; and again, as long as one
  changes with the others.

  Args:
    model: a trained model.
    images: uint8 [N, H, W, C].
    paths: their N files.
    given: conditions by column, a value or [N].

  Raises:
    InputError: the model has no bounds, but conditions are to be found.
  """
  space, count = model.conditioning, len(paths)
  values, number = space.values(given or {}), space.class_number
  of_folders, probabilities = np.full(count, -1), np.ones(count)
  if number is not None and number not in values:
    of_folders = np.array([_label_of_folder(model, path) for path in paths])
  from_folder = of_folders >= 0
  # To begin with, what is to be found is unknown, or else usual. The class is found first.
  first = {n: _first(space, n) for n in range(len(space.columns)) if n not in values}
  first = {n: value for n, value in first.items() if not space.columns[n].measured}
  conditions = space.completed(first | values, count, images)
  if number in first and from_folder.any():
    known = np.where(from_folder, of_folders, conditions.table[:, number])
    conditions = conditions.replaced(number, known)
  to_find = sorted(first, key=lambda column: column != number)
  if from_folder.all() and number in to_find:
    to_find.remove(number)
  if to_find and not model.reads_conditions:  # all classes are as likely
    probabilities[~from_folder] = 1 / max(len(model.class_names), 1)
    return Found(conditions, from_folder, probabilities)
  if to_find and not model.has_prior:
    raise InputError(
      'A denoising autoencoder cannot find the conditions of a picture: name its class with '
      '--label, or by the name of its folder, and others with --condition.'
    )
  for _ in range(MAX_ROUNDS if len(to_find) > 1 else 1):
    before = conditions.table
    for column in to_find:
      unknown = ~from_folder if column == number else np.ones(count, bool)
      best, highest = _likeliest(model, images[unknown], conditions[unknown], column)
      table = conditions.table.copy()
      table[unknown, column] = best
      conditions = conditions.of_table(table)
      if column == number:
        probabilities[unknown] = highest
    if np.array_equal(before, conditions.table, equal_nan=True):
      break
  return Found(conditions, from_folder, probabilities)


def given_conditions(
  model: Model, paths: Sequence[Path], given: Mapping[str, Any] | None = None
) -> Conditions:
  """Given conditions of each picture, and the class of its folder; others are unknown.

  Raises:
    InputError: one is not given that the model has never seen unknown.
  """
  space = model.conditioning
  values, number = space.values(given or {}), space.class_number
  if number is not None and number not in values:
    labels = np.array([_label_of_folder(model, path) for path in paths])
    values[number] = np.where(labels >= 0, labels, np.nan)
  needed = [
    column.name
    for place, column in enumerate(space.columns)
    if not space.inputs[place].has_unknown and np.isnan(values.get(place, np.nan)).any()
  ]
  if needed:
    raise InputError(
      f'This model was never trained without {", ".join(needed)[:500]}: name it with --label or '
      '--condition.'
    )
  return space._replace(training=None).completed(values, len(paths))


def read_mask(model: Model, path: Path, of: Sequence[Path]) -> np.ndarray:
  """A mask, cut and resized as the pictures that it is for.

  Args:
    model: a trained model.
    path: of the mask.
    of: the pictures that it is for; without any, the images have the model's size.

  Returns:
    uint8 [H, W].

  Raises:
    InputError: it cannot be read, or has neither the proportions of each picture nor the size of
      the model.
  """
  if not path.is_file():
    state = 'no file' if path.exists() else 'not there'
    raise InputError(f'{printable(path)} is {state}: --mask names a picture, white where to fill.')
  geometry = decoding.Geometry.of(model.config.data)._replace(channels=1, bit_depth=0)
  usual = geometry.width, geometry.height
  own = _size(path)
  if own == usual:
    geometry = geometry._replace(crop_size=0)
  try:
    image = decoding.read(path, geometry).image
  except Exception as error:  # the errors of Pillow's decoders share no base class
    raise InputError(f'{printable(path)} cannot be read ({decoding.problem(error)}).') from error
  for width, height in map(_size, of) if of else [usual]:
    is_alike = own[0] * height == own[1] * width and not geometry.crop_size
    if own not in ((width, height), usual) and not is_alike:
      raise InputError(
        f'{printable(path)} has {own[0]}×{own[1]} pixels, expected {width}×{height}, as the image '
        f'that it is for, or {usual[0]}×{usual[1]}, as the model.'
      )
  return image[..., 0]


def _size(path: Path) -> tuple[int, int]:
  """Width and height of a picture."""
  try:
    return decoding.size(path)
  except Exception as error:  # the errors of Pillow's decoders share no base class
    raise InputError(f'{printable(path)} cannot be read ({decoding.problem(error)}).') from error


def _first(space: Conditioning, number: int) -> float:
  """What a column is before it is found: unknown, if the network takes that."""
  inputs = space.inputs[number]
  return np.nan if inputs.has_unknown or inputs.is_inferred else 0.0


def _likeliest(
  model: Model, images: np.ndarray, conditions: Conditions, number: int
) -> tuple[np.ndarray, np.ndarray]:
  """The likeliest values [N] of a column, the others as they are, and their probabilities."""
  column = model.columns[number]
  values = np.arange(len(column.value_names), dtype=np.float32)
  if column.kind == 'number':
    ends = column.standardized(np.array([column.low, column.high]))
    values = np.linspace(*ends, NUMBER_STEPS, dtype=np.float32)
  candidates = [conditions.replaced(number, value).values for value in values]
  key = keys.stream(model.config.seed, 'prediction')
  found = bounds.log_probabilities(model.task, model.variables, images, candidates, key)
  return values[found.argmax(axis=1)], np.exp(found.max(axis=1))


def folder_name(path: Path) -> str:
  """The name of the folder that a file is in, as that of a class."""
  return class_name(os.path.basename(os.path.dirname(os.path.abspath(path))))


def _label_of_folder(model: Model, path: Path) -> int:
  """−1 where the folder has no name of a class."""
  try:
    return model.label(folder_name(path))
  except InputError:  # a folder that is no class
    return -1
