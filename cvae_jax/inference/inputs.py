"""Images to start from: rows of a dataset, or the user's picture files, with their classes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import folder as folder_reader
from cvae_jax.data.readers import pictures
from cvae_jax.inference import bounds
from cvae_jax.inference.model import Model
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError


class Inputs(NamedTuple):
  """Images to start from."""

  images: np.ndarray  # float32 [N, H, W, C] in [0, 1]
  labels: np.ndarray | None  # int32 [N]; None for an unconditional model
  names: tuple[str, ...]


class FoundLabels(NamedTuple):
  """Classes of images that a model has found."""

  labels: np.ndarray  # int32 [N]
  probabilities: np.ndarray  # [N]


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

  Raises:
    InputError: there is no such folder, or no picture in it.
  """
  if not folder.is_dir():
    raise InputError(f'{folder} is {"a file" if folder.exists() else "not there"}: name a folder.')

  def refuse(error):
    raise InputError(
      f'{error.filename} cannot be listed: {error.strerror}. Make it readable, or leave it out.'
    ) from error

  found = sorted(
    Path(parent, name)
    for parent, _, names in os.walk(folder, onerror=refuse)
    for name in names
    if name.lower().endswith(folder_reader.SUFFIXES)
  )
  if not found:
    raise InputError(f'{folder} holds no picture ({", ".join(folder_reader.SUFFIXES)}).')
  return found


def read_pictures(
  model: Model, paths: list[Path], skip_broken: bool
) -> tuple[np.ndarray, list[Path]]:
  """Picture files, cropped and resized as the config of the model says.

  Args:
    model: a trained model.
    paths: the files.
    skip_broken: list those that cannot be read and leave them out, instead of raising.

  Returns:
    uint8 [N, H, W, C], and their files.

  Raises:
    InputError: a file is missing or cannot be read, or none can.
  """
  for path in paths:
    if not path.is_file():
      raise InputError(f'{path} is {"no file" if path.exists() else "not there"}.')
  data = model.config.data
  geometry = data.image_size, data.crop_size, data.channels
  images, readable = pictures.decode(paths, *geometry, cache=False, skip_broken=skip_broken)
  if not readable.any():
    raise InputError(f'None of {len(paths)} pictures can be read; the first is {paths[0]}.')
  return images[readable], [path for path, whole in zip(paths, readable, strict=True) if whole]


def find_labels(model: Model, images: np.ndarray) -> FoundLabels | None:
  """The likeliest class of each image, by Bayes from the bounds; None for an unconditional model.

  Args:
    model: a trained model.
    images: uint8 [N, H, W, C].

  Raises:
    InputError: the model has no bounds.
  """
  if not model.conditional:
    return None
  if not model.has_prior:
    raise InputError(
      'A denoising autoencoder cannot find the class of a picture: name it with --label.'
    )
  key = keys.stream(model.config.seed, 'prediction')
  log_probabilities = bounds.class_log_probabilities(model, images, key)
  labels = log_probabilities.argmax(axis=1).astype(np.int32)
  return FoundLabels(labels, np.exp(log_probabilities.max(axis=1)))
