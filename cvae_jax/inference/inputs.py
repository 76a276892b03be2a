"""Images to start from: rows of a dataset, or the user's picture files, with their classes."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import decoding, pictures
from cvae_jax.data.readers.classes import class_name
from cvae_jax.data.readers.decoding import FORMAT_NAMES
from cvae_jax.data.readers.entries import counted, walk
from cvae_jax.inference import bounds
from cvae_jax.inference.model import Model
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


class Inputs(NamedTuple):
  """Images to start from."""

  images: np.ndarray  # float32 [N, H, W, C] in [0, 1]
  labels: np.ndarray | None  # int32 [N]; None for an unconditional model
  names: tuple[str, ...]


class FoundLabels(NamedTuple):
  """Classes of pictures, from their folders or found by a model."""

  labels: np.ndarray  # int32 [N]
  from_folder: np.ndarray  # bool [N]
  probabilities: np.ndarray  # [N]; 1 for those from folders


def from_dataset(model: Model, dataset: Dataset, rows: Sequence[int]) -> Inputs:
  """Images of a split by their row numbers, named after their classes.

  Raises:
    InputError: there is no such row.
  """
  rows, count = np.asarray(rows), len(dataset.labels)
  if wrong := [row for row in rows if not 0 <= row < count]:
    raise InputError(f'index {wrong[0]} is not in this split: expected 0 to {count - 1}.')
  labels, classes = dataset.labels[rows], dataset.class_names
  names = tuple(classes[label] for label in labels) if classes else tuple(map(str, rows))
  images = dataset.images[rows].astype(np.float32) / 255
  return Inputs(images, labels if model.conditional else None, names)


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


def find_labels(model: Model, images: np.ndarray, paths: Sequence[Path]) -> FoundLabels | None:
  """The class of each picture; None for an unconditional model.

  A picture in a folder with the name or number of a class has that class. Of the others the model
  finds the likeliest, by Bayes from the bounds.

  Args:
    model: a trained model.
    images: uint8 [N, H, W, C].
    paths: their N files.

  Raises:
    InputError: the model has no bounds, but classes are to be found.
  """
  if not model.conditional:
    return None
  of_folders = [_label_of_folder(model, path) for path in paths]
  labels = np.array([-1 if label is None else label for label in of_folders], np.int32)
  unknown, probabilities = labels < 0, np.ones(len(paths))
  if unknown.any():
    if not model.has_prior:
      raise InputError(
        'A denoising autoencoder cannot find the class of a picture: name it with --label, or by '
        'the name of its folder.'
      )
    key = keys.stream(model.config.seed, 'prediction')
    log_probabilities = bounds.class_log_probabilities(
      model.task, model.variables, len(model.class_names), images[unknown], key
    )
    labels[unknown] = log_probabilities.argmax(axis=1)
    probabilities[unknown] = np.exp(log_probabilities.max(axis=1))
  return FoundLabels(labels, ~unknown, probabilities)


def folder_name(path: Path) -> str:
  """The name of the folder that a file is in, as that of a class."""
  return class_name(os.path.basename(os.path.dirname(os.path.abspath(path))))


def _label_of_folder(model, path):
  try:
    return model.label(folder_name(path))
  except InputError:  # a folder that is no class
    return None
