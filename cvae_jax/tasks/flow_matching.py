"""Flow matching in the latents of a trained model: the second stage (Lipman et al. 2023).

Rectified flow (Liu et al. 2023): points x_t = (1 − t) x₀ + t x₁ between noise x₀ ~ N(0, I) and
latents x₁, whose velocity v = x₁ − x₀ the network learns to predict, at logit-normal times t (Esser
et al. 2024).
"""

import copy
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax.config import class_column
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import flow_matching, gaussians, latent_flow, velocity
from cvae_jax.models.cvae import Conditions
from cvae_jax.runtime import keys as keys_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.first_stage import FirstStage
from cvae_jax.tasks.task import TASKS, Task, Terms, Variables

NUM_TIMES = 8  # at which a validation image is evaluated
GRID_COLUMNS, MAX_CLASS_ROWS, SQUARE_COLUMNS = 10, 20, 8
MIN_STD = 1e-6  # of a latent

# Mean and log-variance of each view of an image, and its conditions; see `FirstStage.posteriors`.
Batch = tuple[Float[ArrayLike, 'batch views 2 latent'], Conditions]


def _check(config) -> None:
  if any(column.is_inferred for column in conditions_lib.of_config(config)):
    raise InputError(
      "objective='flow_matching' has no bound to sum over classes, but some classes of "
      f'data.conditions={config.data.conditions!r} are missing. Set --config.classifier_weight=0: '
      'then the network is told that a class is unknown.'
    )
  changes = ('rotation', 'shift', 'brightness', 'contrast', 'auto_contrast')
  for name in changes:
    if config.data.augment[name]:
      raise InputError(
        f'data.augment.{name}={config.data.augment[name]} changes images in every step, but '
        "objective='flow_matching' encodes them once: of augmentations it takes flip_probability "
        f'alone. Set --config.data.augment.{name}=0.'
      )


@TASKS.register('flow_matching', _check, protocol='8 times for each image', stage=2)
class FlowMatching(Task):
  """‖v(x_t, t, c) − (x₁ − x₀)‖², summed over latents, mean over images."""

  terms = validation_terms = ('velocity_error',)
  score = 'velocity_error'
  commands = (
    ('to evaluate it', 'evaluate --workdir={}'),
    ('to draw from it', 'sample --workdir={}'),
  )

  def __init__(self, config, steps_per_epoch: int, first_stage: FirstStage):
    self.first_stage = first_stage
    self.network = latent_flow.build(config, first_stage.latent_shape)
    self.compiler_options = velocity.compiler_options(self.network.velocity, config.deterministic)
    self._condition_dropout = config.condition_dropout
    self._flip_probability = config.data.augment.flip_probability
    self._statistics: dict[str, Array] = {}

  def prepare(self, train: Dataset, validation: Dataset) -> tuple[Task, Dataset, Dataset]:
    """Both with posteriors in place of images, [N, views, 2, latent]: they are encoded once."""
    columns, has_mirror = self.network.columns, self._flip_probability > 0
    encoded = self.first_stage.posteriors(train, columns, has_mirror)
    prepared = copy.copy(self)
    shape = (-1, 2, *self.first_stage.latent_shape)
    mean, logvar = np.moveaxis(encoded.reshape(shape), 1, 0)
    places = tuple(range(mean.ndim - 1))  # all but channels, or the latents of a vector
    variance = mean.var(axis=places, dtype=np.float64) + np.exp(logvar).mean(axis=places)
    repeat = lambda values: np.broadcast_to(values, shape[2:]).astype(np.float32).ravel()  # noqa: E731
    prepared._statistics = {
      'mean': repeat(mean.mean(axis=places, dtype=np.float64)),
      'std': repeat(np.maximum(np.sqrt(variance), MIN_STD)),
    }
    seen = self.first_stage.posteriors(validation, columns, False)
    return prepared, train._replace(images=encoded), validation._replace(images=seen)

  def init(self, key: Key[Array, '']) -> Variables:
    variables = dict(latent_flow.init(self.network, key))
    if self._statistics:
      variables[latent_flow.STATISTICS] = jax.tree.map(jnp.asarray, self._statistics)
    return variables

  def loss(
    self,
    variables: Variables,
    batch: Batch,
    hyper: Mapping[str, ArrayLike],
    key: Key[Array, ''],
    step: Int[ArrayLike, ''],
  ) -> tuple[Float[Array, ''], tuple[Terms, Variables]]:
    posteriors, conditions = batch
    view_key, draw_key, noise_key, time_key, hide_key = jax.random.split(key, 5)
    views = jnp.zeros(len(posteriors), jnp.int32)
    if posteriors.shape[1] > 1:
      views = jax.random.bernoulli(view_key, self._flip_probability, views.shape).astype(jnp.int32)
    chosen = jnp.take_along_axis(posteriors, views[:, None, None, None], axis=1)
    mean, logvar = chosen[:, 0, 0], chosen[:, 0, 1]
    latents = gaussians.reparameterize(draw_key, mean, logvar)
    noise = jax.random.normal(noise_key, mean.shape)
    times = flow_matching.logit_normal(time_key, (len(mean),))
    if self._condition_dropout:
      hidden = jax.random.bernoulli(hide_key, self._condition_dropout, (len(mean),))
      conditions = conditions_lib.hide(conditions, hidden)
    error = jnp.mean(self._errors(variables, latents, noise, times, conditions))
    kept = {name: values for name, values in variables.items() if name != 'params'}
    return error, ({'velocity_error': error}, kept)

  def _errors(self, variables, latents, noise, times, conditions) -> Float[Array, ' batch']:
    """The squared error of the velocity, summed over latents."""
    target = self.network.apply(variables, latents, method='standardized')
    points, velocities = flow_matching.interpolate(noise, target, times)
    predicted = self.network.apply(variables, points, times, conditions)
    return jnp.sum(jnp.square(predicted - velocities), axis=-1)

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    posteriors, conditions = batch
    mean, logvar = posteriors[:, 0, 0], posteriors[:, 0, 1]

    def errors(number):
      drawn = jax.vmap(
        lambda key: jax.random.normal(jax.random.fold_in(key, number), (2, mean.shape[1]))
      )(keys)
      begins = jax.vmap(lambda key: jax.random.uniform(key))(keys)
      # One time in each of NUM_TIMES intervals of equal probability.
      times = jax.nn.sigmoid(ndtri(jnp.clip((number + begins) / NUM_TIMES, 1e-6, 1 - 1e-6)))
      latents = mean + jnp.exp(0.5 * logvar) * drawn[:, 0]
      return self._errors(variables, latents, drawn[:, 1], times, conditions)

    return {'velocity_error': jnp.mean(jax.lax.map(errors, jnp.arange(NUM_TIMES)), axis=0)}

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Samples, a row for each class, from the same noise at every step."""
    has_classes = self._num_classes > 0
    rows, columns = min(self._num_classes, MAX_CLASS_ROWS), GRID_COLUMNS
    if not has_classes:
      rows = columns = SQUARE_COLUMNS
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32) * has_classes, columns)
    conditions = conditions_lib.of_classes(self.network.columns, labels, batch[1])
    latents = latent_flow.compiled(latent_flow.draw, self.network)(
      self.network,
      variables,
      conditions,
      keys_lib.named(key, 'samples'),
      jnp.arange(len(labels)),
      1.0,
    )
    # By the host: a run of a sweep may be on another device than the first stage.
    latents, conditions = map(jnp.asarray, jax.device_get((latents, conditions)))
    samples = jax.device_get(self.first_stage.decode(latents, self.network.columns, conditions))
    return {'samples': samples.reshape(rows, columns, *samples.shape[1:])}

  @property
  def _num_classes(self) -> int:
    """Of the conditions; 0 where these hold no class."""
    if not self.network.columns:
      return self.network.num_classes if self.network.conditional else 0
    number = class_column(self.network.columns)
    return 0 if number is None else self.network.columns[number].num_names
