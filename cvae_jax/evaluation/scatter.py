"""Where a model puts the images of a split: one picture, in two dimensions."""

from pathlib import Path

from matplotlib.figure import Figure

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures, projection
from cvae_jax.runtime.errors import InputError

MAX_IMAGES = 10_000
PIECE = 1_024


def write(model: Model, data: Splits, split: str, method: str) -> Path:
  """Draws the posterior means of the first MAX_IMAGES images of a split, coloured by class.

  Args:
    model: a trained model.
    data: the images of its config.
    split: 'train', 'validation' or 'test'.
    method: of the projection, see `projection`.

  Returns:
    `evaluation/<split>-latents-<method>.png` in the folder of the model's results.

  Raises:
    InputError: the folder cannot be written.
  """
  figure = draw(model, getattr(data, split), method, model.folder.name)
  path = model.folder / 'evaluation' / f'{split}{model.suffix}-latents-{method}.png'
  try:
    figures.save({path: figure})
  except OSError as error:
    raise InputError(f'Cannot write {path}: {error.strerror}. Begin in another folder.') from error
  return path


def draw(model: Model, part: Dataset, method: str, of: str = '') -> Figure:
  """The posterior means of the first MAX_IMAGES images of a split, coloured by class."""
  images, labels = part.images[:MAX_IMAGES], part.labels[:MAX_IMAGES]
  plane, axes = projection.to_plane(means(model, images, labels), method)
  named = part.class_names
  return figures.latent_scatter(plane, labels if named else None, named, axes, of)


def means(model: Model, images, labels):
  """Posterior means [N, latent] of images uint8 [N, H, W, C] and labels [N]."""

  def encode(images, labels):
    return model.encode(images.astype('float32') / 255, labels if model.conditional else None)[0]

  return batches.map_rows(encode, PIECE, images, labels)
