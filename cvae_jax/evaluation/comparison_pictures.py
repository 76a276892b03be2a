"""Several models in one picture: the same images, the same noise, the latents of the classes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cvae_jax.data import corruption
from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation import scatter
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures
from cvae_jax.plots import html as page
from cvae_jax.runtime import keys

Drawn = Mapping[str, tuple[str, Figure]]  # file name -> title and figure

COLUMNS = 6  # of each of the three parts
NOISE = 0.25  # σ of the middle part
MAX_SCATTERS = 6


def side_by_side(models: Mapping[str, Model], shown: Dataset) -> Figure:
  """A row for each model: the same images reconstructed, denoised, and samples of the same noise.

  The first row holds what they are given. Samples come from the prior that each model was trained
  with, so that what the settings did to it is seen; a row ends where a model has none.

  Args:
    models: name -> model; all of images of one shape.
    shown: the images, of which the first are taken.
  """
  images = shown.images[:COLUMNS].astype(np.float32) / 255
  labels = shown.labels[:COLUMNS]
  key = keys.stream(0, 'noise of comparisons')
  noisy = np.asarray(corruption.corrupt('gaussian', NOISE, key, images))
  empty = np.full_like(images, np.nan)
  gap = empty[:1]
  rows = [np.concatenate([images, gap, noisy, gap, empty])]
  for model in models.values():
    own = labels if model.conditional else None
    drawn = empty
    if model.has_prior:
      count = None if model.conditional else len(images)
      drawn = model.sample(own, num_images=count, prior='model')
    rows.append(
      np.concatenate(
        [model.reconstruct(images, own), gap, model.reconstruct(noisy, own), gap, drawn]
      )
    )
  names = ['reconstructions', f'denoising (Gaussian, σ = {NOISE:g})']
  if any(model.has_prior for model in models.values()):
    names.append('samples from the model prior')
  return figures.image_grid(
    np.stack(rows),
    ['given', *models],
    parts={part * (len(images) + 1): name for part, name in enumerate(names)},
  )


def scatters(models: Mapping[str, Model], part: Dataset) -> dict[str, tuple[str, Figure]]:
  """The posterior means of each model, the first few of them: file name -> title and figure."""
  return {
    f'latents_{position}': (f'Latents of {name}', scatter.draw(model, part, 'pca', name))
    for position, (name, model) in enumerate(list(models.items())[:MAX_SCATTERS])
  }


def written(folder: Path, drawn: Drawn) -> list[str]:
  """Saves each figure as a PNG file in `folder`; the parts of a page that show them."""
  figures.save({folder / f'{name}.png': figure for name, (_, figure) in drawn.items()})
  return [
    page.picture(title, (folder / f'{name}.png').read_bytes()) for name, (title, _) in drawn.items()
  ]
