"""The latents of a dataset as points in a plane, coloured by class."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.inference import inputs
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures, projection
from cvae_jax.plots.style import Figure
from cvae_jax.runtime import paths

MAX_IMAGES = 10_000
PIECE = 1_024

Means = Float[np.ndarray, 'images latent']  # of posteriors


def write(model: Model, data: Splits, split: str, method: str) -> Path:
  """Draws the latents of a split into `evaluation/<split>-latents-<method>.png` of the model.

  Raises:
    InputError: the folder cannot be written.
  """
  figure = draw(model, getattr(data, split), method, model.folder.name)
  path = model.folder / 'evaluation' / f'{split}{model.suffix}-latents-{method}.png'
  with paths.writing(path.parent):
    figures.save({path: figure})
  return path


def draw(model: Model, dataset: Dataset, method: str, title: str) -> Figure:
  """The posterior means of the first images of a dataset."""
  first = dataset.take(slice(MAX_IMAGES))
  return draw_means(means(model, first), first, method, title)


def draw_means(mean: Means, dataset: Dataset, method: str, title: str = '') -> Figure:
  """Draws the first rows of `mean`, the posterior means of a dataset."""
  plane, axis_names = projection.to_plane(mean[:MAX_IMAGES], method)
  labels = dataset.labels[:MAX_IMAGES]
  return figures.latent_scatter(plane, labels, dataset.class_names, axis_names, title)


def means(model: Model, dataset: Dataset) -> Means:
  """The posterior means of images under their own conditions, or those that are likeliest."""
  conditions = inputs.conditions_of(model, dataset)

  def encode(images, values):
    own = dataclasses.replace(conditions, values=values)
    return model.encode(images.astype('float32') / 255, conditions=own)[0]

  return batches.map_rows(encode, PIECE, dataset.images, conditions.values)
