"""The prior that latents of a trained model are drawn from: its own, or the one fitted to it."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from cvae_jax.data import batches
from cvae_jax.inference.bounds import Density
from cvae_jax.inference.conditions import Conditions
from cvae_jax.inference.flow import Flow
from cvae_jax.models import fitted_prior, generation
from cvae_jax.models.fitted_prior import FittedPrior
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError, check_number, did_you_mean
from cvae_jax.tasks.autoencoder import Autoencoder

NAMES = ('fitted', 'model', 'flow_matching')
MAX_TEMPERATURE = 100  # far outside of anything a decoder has seen, and far from overflow
MAX_BATCH = 256  # images; larger requests are split, so that memory stays bounded
MAX_DRAWN_FACTORS = 1 << 24  # numbers, 64 MB: each image of a batch has a covariance of its own
MOMENT_DRAWS = 4_096  # for estimating the moments of a learned prior
MOMENT_DRAWS_OF_FLOW = 256  # of a flow, which takes many passes for one


def check_temperature(temperature: float) -> np.float32:
  """The temperature as float32.

  Raises:
    InputError: it is not a number from 0 to MAX_TEMPERATURE.
  """
  check_number('temperature', temperature, 0, MAX_TEMPERATURE)
  return np.float32(temperature)


@dataclasses.dataclass(frozen=True)
class LatentPrior:
  """p(z | c) of one model.

  Methods take `prior`: 'model' is the one that the model was trained with, 'fitted' the one fitted
  to its encoded training images, 'flow_matching' that of a second stage, and None the first of
  flow_matching, fitted and model that there is.

  Attributes:
    kind: `config.prior`; 'none' for an autoencoder without a distribution of latents.
    latent_dim: the size of z.
    fitted: the fitted prior, if there is one.
    fitted_error: why the fitted prior on disk cannot be used, if so.
    draw_own: (conditions, key, indices, temperature) -> [N, latent], from the model's own prior.
    change_conditions: (latents, conditions, others) -> [N, latent], by the model's own prior.
    flow: the second stage, if there is one.
  """

  kind: str
  latent_dim: int
  fitted: FittedPrior | None
  fitted_error: str
  draw_own: Callable
  change_conditions: Callable
  flow: Flow | None = None

  def with_flow(self, guidance: float | None, num_steps: int | None) -> 'LatentPrior':
    """The prior with other settings of its flow; None leaves one as it is.

    Raises:
      InputError: there is no flow, it cannot be guided, or a number is out of range.
    """
    if guidance is None and num_steps is None:
      return self
    given = 'guidance' if guidance is not None else 'steps'
    if self.flow is None:
      raise InputError(
        f'{given} is of a second stage, which this model does not have. Leave it out, or name a '
        'run of objective=flow_matching.'
      )
    return dataclasses.replace(self, flow=self.flow.replaced(guidance, num_steps))

  @property
  def exists(self) -> bool:
    """Whether the latents have a distribution."""
    return self.kind != 'none'

  def check_exists(self) -> None:
    """Raises InputError if the latents have no distribution."""
    if not self.exists:
      raise InputError(
        'This is a denoising autoencoder: its latents have no distribution to draw from, and its '
        'images no bound. Name another run with --workdir, or draw reconstructions with '
        'sample.py --mode=reconstruct and compare it to other runs with evaluate.py --compare.'
      )

  def choose(self, prior: str | None) -> str:
    """The name of the prior to use: 'fitted' or 'model'.

    Raises:
      InputError: there is no such prior.
    """
    self.check_exists()
    if prior not in (None, *NAMES):
      raise InputError(
        f'prior={prior!r} is not one of: {", ".join(NAMES)}.{did_you_mean(str(prior), NAMES)}'
      )
    if prior is None and self.flow is not None:
      return 'flow_matching'
    if prior == 'flow_matching':
      if self.flow is None:
        raise InputError(
          'These weights have no flow: it is a second stage, which train.py makes with '
          '--config.objective=flow_matching --config.first_stage=RUN.'
        )
      return prior
    if prior != 'model' and self.fitted_error:
      raise InputError(
        f'{self.fitted_error} Remove that file, or run train.py on the finished run again to fit '
        'the priors of its best and last checkpoint, or draw from prior="model", the one that the '
        'model was trained with.'
      )
    if prior == 'fitted' and self.flow is not None:
      raise InputError(
        'A second stage has no fitted prior: take prior="flow_matching", or prior="model", the one '
        'that its first stage was trained with.'
      )
    if prior == 'fitted' and self.fitted is None:
      raise InputError(
        'These weights have no fitted prior. train.py fits one for the best and the last '
        'checkpoint when a run ends, also if it has ended before. Or draw from prior="model", the '
        'one that the model was trained with.'
      )
    return prior or ('model' if self.fitted is None else 'fitted')

  def density(self, prior: str | None = None) -> Density | None:
    """The prior of bounds on log p(x | c): None is the model's own, which they are computed with.

    The default is the second stage where there is one. It is unguided: guidance gives no density.

    Raises:
      InputError: there is no such prior, or it is the fitted one, which bounds never take.
    """
    if prior == 'fitted':
      raise InputError(
        "prior='fitted' is for samples alone. Bounds on log p(x) are of the prior that the model "
        'was trained with, or of a second stage: prior="model" or "flow_matching".'
      )
    if self.choose(prior) != 'flow_matching':
      return None
    return self.flow.density()

  def describe(self, prior: str | None = None, temperature: float = 1.0) -> str:
    """The prior in words, for titles."""
    check_temperature(temperature)
    if self.is_standard(prior):
      return 'N(0, I)' if temperature == 1 else f'N(0, {temperature:g}² I)'
    chosen = self.choose(prior)
    names = {'fitted': 'fitted prior', 'flow_matching': str(self.flow)}
    name = names.get(chosen, f'{self.kind} prior')
    return name if temperature == 1 else f'{name}, temperature {temperature:g}'

  def is_standard(self, prior: str | None = None) -> bool:
    """Whether the prior is N(0, I)."""
    return self.choose(prior) == 'model' and self.kind == 'standard'

  def draw(
    self,
    conditions: Conditions,
    temperature: float = 1.0,
    seed: int = 0,
    prior: str | None = None,
    indices: np.ndarray | None = None,
  ) -> np.ndarray:
    """z ~ p(z | c).

    Args:
      conditions: of N images.
      temperature: factor on the standard deviation of each Gaussian of the prior, or of a flow's
        noise.
      seed: with one seed, a latent depends on its row and conditions only.
      prior: 'fitted', 'model' or None.
      indices: [N] numbers of the noise; None is that of the row. With one number, conditions that
        differ get the same noise.

    Returns:
      [N, latent] float32.
    """
    key, temperature = keys.of_user(seed, 'prior'), check_temperature(temperature)
    draw, batch_size, given = self.draw_own, MAX_BATCH, conditions.values
    chosen = self.choose(prior)
    if chosen == 'flow_matching':
      draw = self.flow.draw
    if chosen == 'fitted':
      given = np.maximum(conditions.labels, 0)
      draw = functools.partial(fitted_prior.draw, self.fitted)
      batch_size = int(np.clip(MAX_DRAWN_FACTORS // self.latent_dim**2, 1, MAX_BATCH))
    return batches.map_rows(
      lambda given, indices: draw(given, key, indices, temperature),
      batch_size,
      given,
      np.int32(np.arange(len(given)) if indices is None else indices),
    )

  def under(
    self,
    latents: np.ndarray,
    conditions: Conditions,
    others: Conditions,
    prior: str | None = None,
  ) -> np.ndarray:
    """Latents [N, latent] under `others` from the noise that gives `latents` under `conditions`.

    By the second stage, unguided, or else by the model's own prior; if that is N(0, I), they are
    the same.
    """
    if self.flow is not None and prior != 'model':
      return self.flow.under(latents, conditions, others)
    if self.is_standard('model'):
      return latents
    values = conditions.values, others.values
    return batches.map_rows(self.change_conditions, MAX_BATCH, latents, *values)

  def check_flow(self, action: str) -> Flow:
    """The second stage.

    Raises:
      InputError: there is none, which alone does what `action` says.
    """
    if self.flow is None:
      raise InputError(
        f'Only a second stage {action}, and this model has none. Train one, with train.py '
        '--config configs/latent_flow.py --config.first_stage=RUN, and name its run.'
      )
    return self.flow

  def moments(
    self, condition: Conditions, prior: str | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of p(z | c) in each dimension, [latent] float32 each.

    Those of a learned prior are estimated from draws; the others are exact.
    """
    if self.is_standard(prior):
      return np.zeros(self.latent_dim, np.float32), np.ones(self.latent_dim, np.float32)
    if self.choose(prior) == 'fitted':
      return fitted_prior.moments(jax.device_get(self.fitted), max(int(condition.labels[0]), 0))
    count = MOMENT_DRAWS if self.choose(prior) == 'model' else MOMENT_DRAWS_OF_FLOW
    draws = self.draw(condition.repeat(count), prior=prior)
    return draws.mean(axis=0), draws.std(axis=0)


# Functions of this module, which pickle can store; it cannot store compiled ones.
def draw_own(task: Autoencoder, variables: dict, *request) -> Array:
  """`generation.draw_prior` of a model."""
  return generation.draw_prior(task.network, variables, *request)


def change_conditions(task: Autoencoder, variables: dict, *request) -> Array:
  """`generation.change_conditions` of a model."""
  return generation.change_conditions(task.network, variables, *request)
