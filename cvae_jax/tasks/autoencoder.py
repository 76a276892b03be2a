"""What the tasks share that train a `CVAE` network: what it sees, its pictures, its latents."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from cvae_jax.data import augmentation, batches, transforms
from cvae_jax.models import architectures, cvae, generation, likelihoods
from cvae_jax.tasks.task import Batch, Task, Variables

ENCODED_BATCH = 256
GRID_COLUMNS = 10
RECONSTRUCTION_ROWS = 4


class Autoencoder(Task):
  """A `CVAE` network from images to latents and back."""

  # Whether q(z | x) is a distribution with a prior: latents can be drawn, and images have bounds.
  is_generative = True

  def __init__(self, config, steps_per_epoch: int):
    self.network = cvae.build(config)
    self.likelihood = likelihoods.build(config)
    self.binarize = config.data.binarize
    self.compiler_options = architectures.compiler_options(config.model.name, config.deterministic)
    self._augment = augmentation.make_augment(config.data.augment)

  # Models that compute the same share their compiled functions.
  def _computes(self):
    return type(self), self.network, self.likelihood, self.binarize

  def __eq__(self, other):
    return isinstance(other, Autoencoder) and self._computes() == other._computes()

  def __hash__(self):
    return hash(self._computes())

  def init(self, key: Array) -> Variables:  # noqa: D102 (Task's)
    return cvae.init(self.network, key)

  def augmented(self, images: Array, augment_key: Array, pixels_key: Array) -> Array:
    """What a training step sees of images uint8 [B, H, W, C]: [0, 1], changed and binarized."""
    images = transforms.to_unit_interval(images)
    if self._augment:
      images = self._augment(augment_key, images)
    return transforms.binarize(pixels_key, images) if self.binarize == 'dynamic' else images

  def observed(self, images: Array, keys: Array) -> tuple[Array, Array]:
    """What a model is shown of each image, and the key for whatever else is drawn for it.

    Args:
      images: uint8 [B, H, W, C].
      keys: [B], one for each image: what is seen depends neither on the batch nor on the order.

    Returns:
      float32 [B, H, W, C] in [0, 1], and [B] keys.
    """
    image_keys = jax.vmap(jax.random.split)(keys)
    images = transforms.to_unit_interval(images)
    if self.binarize == 'dynamic':
      images = jax.vmap(transforms.binarize)(image_keys[:, 0], images)
    return images, image_keys[:, 1]

  def to_pixels(self, images: Array) -> Array:
    """[0, 1] to the likelihood's pixel range."""
    return transforms.to_pixel_range(images, self.likelihood.pixel_range)

  def encode(self, variables: Variables, images: Array, labels: Array) -> tuple[Array, Array]:
    """Mean and log-variance of q(z | x, c), [B, latent] each, of images [B, H, W, C] in [0, 1]."""
    return generation.encode(self.network, self.likelihood, variables, images, labels)

  def decode(self, variables: Variables, latents: Array, labels: Array) -> Array:
    """E[x | z, c], [B, H, W, C] in [0, 1], of latents [B, latent]."""
    return generation.decode(self.network, self.likelihood, variables, latents, labels)

  def latents(self, variables: Variables, batch: Batch) -> np.ndarray:
    """Posterior means, [N, latent], of images uint8 [N, H, W, C] as they are."""
    mean, _ = batches.map_rows(
      lambda images, labels: self.encode(variables, np.float32(images) / 255, labels),
      ENCODED_BATCH,
      *batch,
    )
    return mean

  def reconstructions(
    self, variables: Variables, batch: Batch, corrupt: Callable[[Array], Array] = lambda x: x
  ) -> np.ndarray:
    """Rows of the first images, each above the row of their reconstructions.

    Args:
      variables: the model's.
      batch: images uint8 [N, H, W, C] and labels [N].
      corrupt: what is done to images [N, H, W, C] in [0, 1] before the encoder sees them.

    Returns:
      [rows, columns, H, W, C] in [0, 1].
    """
    images, labels = batch
    columns = min(GRID_COLUMNS, len(images))
    count = min(RECONSTRUCTION_ROWS, len(images) // columns) * columns
    seen = corrupt(transforms.to_unit_interval(images[:count]))
    mean, _ = self.encode(variables, seen, labels[:count])
    decoded = self.decode(variables, mean, labels[:count])
    rows = [np.reshape(x, (-1, columns, *x.shape[1:])) for x in jax.device_get((seen, decoded))]
    return np.stack(rows, axis=1).reshape(-1, *rows[0].shape[1:])
