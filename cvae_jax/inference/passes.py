"""Passes of a trained network over arrays of any length, in batches of one compiled shape.

Images are float32 [N, H, W, C] in [0, 1], latents [N, latent], conditions the `values` of
`conditions.Conditions`. What is drawn of a row depends on the seed and the row's number.
"""

import numpy as np

from cvae_jax.data import batches
from cvae_jax.inference.latent_prior import MAX_BATCH, check_temperature
from cvae_jax.models import generation
from cvae_jax.runtime import keys
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.task import Variables


def encode(
  task: Autoencoder, variables: Variables, images: np.ndarray, conditions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and log-variance of q(z | x, c)."""
  return batches.map_rows(
    lambda *rows: task.encode(variables, *rows), MAX_BATCH, images, conditions
  )


def complete(
  task: Autoencoder, variables: Variables, images: np.ndarray, conditions: np.ndarray
) -> np.ndarray:
  """Conditions with the likeliest class where it is missing and the network has a q(c | x)."""
  if not task.network.is_inferring:
    return conditions
  return batches.map_rows(
    lambda *rows: generation.complete(task.network, task.likelihood, variables, *rows),
    MAX_BATCH,
    images,
    conditions,
  )


def decode(
  task: Autoencoder,
  variables: Variables,
  latents: np.ndarray,
  conditions: np.ndarray,
  kind=np.asarray,
) -> np.ndarray:
  """E[x | z, c]; `kind` makes of rows what the network takes, such as `Mixtures`."""
  return batches.map_rows(
    lambda latents, rows: task.decode(variables, latents, kind(rows)),
    MAX_BATCH,
    latents,
    conditions,
  )


def decode_draw(
  task: Autoencoder, variables: Variables, latents: np.ndarray, conditions: np.ndarray, seed: int
) -> np.ndarray:
  """x ~ p(x | z, c)."""
  key = keys.of_user(seed, 'pixels')
  return batches.map_rows(
    lambda latents, rows, indices: generation.decode_draw(
      task.network, task.likelihood, variables, latents, rows, key, indices
    ),
    MAX_BATCH,
    latents,
    conditions,
    np.arange(len(latents), dtype=np.int32),
  )


def draw_posterior(
  mean: np.ndarray, logvar: np.ndarray, temperature: float, seed: int
) -> np.ndarray:
  """z ~ N(mean, temperature² exp(logvar))."""
  key, temperature = keys.of_user(seed, 'posterior'), check_temperature(temperature)
  return batches.map_rows(
    lambda *rows: generation.draw_gaussian(*rows, key, temperature),
    MAX_BATCH,
    mean,
    logvar,
    np.arange(len(mean), dtype=np.int32),
  )
