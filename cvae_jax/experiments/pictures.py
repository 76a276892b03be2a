"""Several models in one picture: the same images reconstructed, and samples of the same noise."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from cvae_jax import figures
from cvae_jax.data.splits import Dataset
from cvae_jax.inference import Model

COLUMNS = 8


def side_by_side(models: Mapping[str, Model], shown: Dataset) -> Figure:
  """A row for each model: reconstructions of the same images on the left, samples on the right.

  The first row holds the images. Samples come from the prior that each model was trained with, so
  that what the settings did to it is seen; a row ends where a model has none.

  Args:
    models: name -> model; all of images of one shape.
    shown: the images, of which the first are taken.
  """
  images = shown.images[:COLUMNS].astype(np.float32) / 255
  labels = shown.labels[:COLUMNS]
  columns = len(images)
  empty = np.full_like(images, np.nan)
  gap = empty[:1]
  rows = [np.concatenate([images, gap, empty])]
  for model in models.values():
    own = labels if model.conditional else None
    drawn = empty
    if model.has_prior:
      count = None if model.conditional else columns
      drawn = model.sample(own, num_images=count, prior='model')
    rows.append(np.concatenate([model.reconstruct(images, own), gap, drawn]))
  classes = '; samples of the same classes' if any(m.conditional for m in models.values()) else ''
  return figures.image_grid(
    np.stack(rows),
    ['images', *models],
    title=f'reconstructions (left), samples from the model prior (right){classes}',
  )
