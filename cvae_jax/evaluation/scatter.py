"""The latents of a dataset as points in a plane, coloured by class."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures, projection
from cvae_jax.runtime import paths

MAX_IMAGES = 10_000
PIECE = 1_024

Images = UInt8[np.ndarray, 'images height width channels']
Labels = Int[np.ndarray, ' images']
Means = Float[np.ndarray, 'images latent']


def write(model: Model, data: Splits, split: str, method: str) -> Path:
  """Draws the latents of a split into `evaluation/<split>-latents-<method>.png` of the model.

  Args:
    model: a trained model.
    data: the images of its config.
    split: 'train', 'validation' or 'test'.
    method: projection onto the plane; see `projection.to_plane`.

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
  images, labels = dataset.images[:MAX_IMAGES], dataset.labels[:MAX_IMAGES]
  return draw_means(means(model, images, labels), labels, dataset.class_names, method, title)


def draw_means(
  mean: Means, labels: Labels, class_names: tuple[str, ...], method: str, title: str = ''
) -> Figure:
  """The posterior means of the first images, which have these labels."""
  plane, axis_names = projection.to_plane(mean[:MAX_IMAGES], method)
  return figures.latent_scatter(plane, labels[:MAX_IMAGES], class_names, axis_names, title)


def means(model: Model, images: Images, labels: Labels) -> Means:
  """The posterior means of images; an unconditional model ignores the labels."""

  def encode(images, labels):
    return model.encode(images.astype('float32') / 255, labels if model.conditional else None)[0]

  return batches.map_rows(encode, PIECE, images, labels)
