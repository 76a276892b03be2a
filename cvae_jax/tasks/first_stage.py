"""The trained model whose latents a second stage learns; its weights stay as they are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models.conditions import Input
from cvae_jax.models.cvae import Conditions
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.task import Variables

PIECE = 4_096  # images that are read at once
BATCH = 256


class FirstStage(NamedTuple):
  """A frozen autoencoder."""

  saved: SavedConfig
  task: Autoencoder
  variables: Variables
  step: int
  digest: str  # of the variables

  @property
  def latent_shape(self) -> tuple[int, ...]:
    """(latent,), or (height, width, channels) of a map."""
    return config_lib.latent_shape(self.saved.config)

  def conditions_of(self, columns: tuple[Input, ...], conditions: Conditions) -> Conditions:
    """Conditions of a second stage with these columns, as the first stage takes them."""
    if self.task.network.conditional and columns and not self.task.network.columns:
      return conditions_lib.labels_of(columns, jnp.asarray(conditions))
    if not self.task.network.conditional:
      return jnp.zeros(len(conditions), jnp.int32)
    return conditions

  def posteriors(
    self, dataset: Dataset, columns: tuple[Input, ...], mirrored: bool
  ) -> Float[np.ndarray, 'images views 2 latent']:
    """Mean and log-variance of q(z | x) of images and, if asked, of their mirror images."""

    def encode(images: Array, conditions: Array) -> Array:
      images = images.astype(jnp.float32) / 255
      given = self.conditions_of(columns, conditions)
      views = [images, images[:, :, ::-1]] if mirrored else [images]
      encoded = [jnp.stack(self.task.encode(self.variables, v, given), axis=1) for v in views]
      return jnp.stack(encoded, axis=1)

    encode, conditions = jax.jit(encode), dataset.conditions
    pieces = [
      batches.map_rows(encode, BATCH, np.asarray(dataset.images[rows]), conditions[rows])
      for rows in batches.pieces(len(conditions), PIECE)
    ]
    return np.concatenate(pieces)

  def decode(
    self, latents: Float[Array, 'batch latent'], columns: tuple[Input, ...], conditions: Conditions
  ) -> Float[Array, 'batch h w c']:
    """E[x | z, c] in [0, 1]; conditions are those of a second stage with these columns."""
    given = self.conditions_of(columns, conditions)
    return self.task.decode(self.variables, latents, given)
