"""A second stage in the hand: a trained flow over the latents of a model, and its settings."""

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax.data import batches
from cvae_jax.inference.bounds import Density
from cvae_jax.inference.conditions import Conditions
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import latent_flow
from cvae_jax.models.latent_flow import NUM_STEPS, LatentFlow
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError, check_integer, check_number, is_number
from cvae_jax.tasks.autoencoder import Autoencoder

MAX_BATCH = 256  # latents; more are split, so that memory stays bounded
MAX_FILLED = 64  # images with holes: gradients of the decoder take memory
MAX_GUIDANCE = 100.0
MAX_STEPS = 1_000


@dataclasses.dataclass(frozen=True)
class Flow:
  """A flow over the latents of a first stage, learned by flow matching.

  Attributes:
    network: of the flow.
    variables: its weights.
    task: the first stage.
    of_task: its weights.
    is_guidable: whether it was trained with hidden conditions.
    guidance: the factor of the conditions' effect; 1 is no guidance.
    num_steps: of Heun's method.
  """

  network: LatentFlow
  variables: dict
  task: Autoencoder
  of_task: dict
  is_guidable: bool
  guidance: float = 1.0
  num_steps: int = NUM_STEPS

  def __str__(self) -> str:
    guidance = '' if self.guidance == 1 else f', guidance {self.guidance:g}'
    return f'flow matching, {self.num_steps} steps{guidance}'

  @property
  def suffix(self) -> str:
    """A suffix for names of results: that of settings which are not the usual ones."""
    guidance = '' if self.guidance == 1 else f'-guidance{self.guidance:g}'
    return guidance + ('' if self.num_steps == NUM_STEPS else f'-steps{self.num_steps}')

  def replaced(self, guidance: float | None, num_steps: int | None) -> 'Flow':
    """The flow with other settings; None leaves one as it is.

    Raises:
      InputError: it cannot be guided, or a number is out of range.
    """
    flow = self
    if guidance is not None:
      check_number('guidance', guidance, 0, MAX_GUIDANCE)
      if guidance != 1 and not flow.is_guidable:
        raise InputError(
          f'guidance={guidance:g} compares samples with and without their conditions, but this '
          'model was never trained without them. Train with --config.condition_dropout=0.1.'
        )
      flow = dataclasses.replace(flow, guidance=float(guidance))
    if num_steps is not None:
      check_integer('steps', num_steps, 1, MAX_STEPS)
      flow = dataclasses.replace(flow, num_steps=num_steps)
    return flow

  def density(self) -> Density:
    """The density of latents, unguided: guidance gives none."""
    log_prob = LogProb(self.network, self.num_steps)
    return Density(log_prob, self.variables, f'flow matching, {self.num_steps} steps, unguided')

  def draw(self, conditions: Array, key: Array, indices: Array, temperature: np.float32) -> Array:
    """Latents [N, latent] of a batch; see `latent_flow.draw`."""
    given = self._rows(conditions), key, indices, temperature
    return self._run(latent_flow.draw, *given, self.guidance, self.num_steps)

  def under(self, latents: np.ndarray, conditions: Conditions, others: Conditions) -> np.ndarray:
    """Latents [N, latent] under `others` from the noise that gives `latents` under `conditions`."""

    def change(latents, *given):
      rows = map(self._rows, given)
      return self._run(latent_flow.change_conditions, latents, *rows, self.num_steps)

    return batches.map_rows(change, MAX_BATCH, latents, conditions.values, others.values)

  def vary(
    self,
    latents: np.ndarray,
    conditions: Conditions,
    noise: float,
    temperature: np.float32,
    seed: int = 0,
  ) -> np.ndarray:
    """Latents [N, latent] with noise in part, which the flow takes back.

    Raises:
      InputError: the noise is not above 0 and at most 1, or it is to be guided, but all conditions
        are unknown.
    """
    if not (is_number(noise) and 0 < noise <= 1):
      raise InputError(
        f'noise={noise!r} is not a number above 0, which changes nothing, and at most 1, which '
        'leaves nothing.'
      )
    self._check_guides(conditions)
    key = keys.of_user(seed, 'prior')

    def change(latents, given, indices):
      drawn = key, indices, np.float32(noise), temperature
      given = latents, self._rows(given), *drawn
      return self._run(latent_flow.vary, *given, self.guidance, self.num_steps)

    indices = np.arange(len(latents), dtype=np.int32)
    return batches.map_rows(change, MAX_BATCH, latents, conditions.values, indices)

  def through_noise(
    self,
    path: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    latents: Sequence[np.ndarray],
    conditions: Sequence[Conditions],
    num_steps: int,
  ) -> np.ndarray:
    """Paths [N, num_steps, latent] between two latents [N, latent], followed in their noise.

    The velocity goes from that under the first conditions to that under the second, in even steps.

    Args:
      path: (first, second, num_steps) -> [N, num_steps, latent]; see `interpolation`.
      latents: the first of all paths, and the last.
      conditions: theirs.
      num_steps: of the paths, both ends included.
    """
    count, size = latents[0].shape

    def to_noise(latents, given):
      return self._run(latent_flow.to_noise, latents, self._rows(given), self.num_steps)

    def from_noise(noise, first, second, fractions):
      rows = self._rows(first), self._rows(second)
      return self._run(latent_flow.from_noise, noise, *rows, fractions, self.num_steps)

    pairs = zip(latents, conditions, strict=True)
    ends = [batches.map_rows(to_noise, MAX_BATCH, z, given.values) for z, given in pairs]
    found = batches.map_rows(
      from_noise,
      MAX_BATCH,
      path(*ends, num_steps).reshape(count * num_steps, size),
      *(given.repeat(num_steps).values for given in conditions),
      np.tile(np.linspace(0, 1, num_steps, dtype=np.float32), count),
    )
    return found.reshape(count, num_steps, size)

  def fill(
    self, images: np.ndarray, holes: np.ndarray, conditions: Conditions, seed: int = 0
  ) -> np.ndarray:
    """Latents [N, latent] whose images agree with the known pixels of images.

    Args:
      images: float32 [N, H, W, C] in [0, 1].
      holes: bool [N, H, W, 1], true where pixels are not known.
      conditions: of the N images.
      seed: of the noise.

    Raises:
      InputError: it is to be guided, but all conditions are unknown.
    """
    self._check_guides(conditions)
    key, decoder = keys.of_user(seed, 'prior'), (self.task.network, self.task.likelihood)

    def find(images, known, given, indices):
      pixels, of_both = (images, known), (self._rows(given), given)
      settings = key, indices, self.guidance, self.num_steps
      return self._run(latent_flow.fill, *decoder, self.of_task, *pixels, *of_both, *settings)

    known = np.broadcast_to(1 - holes.astype(np.float32), images.shape)
    indices = np.arange(len(images), dtype=np.int32)
    return batches.map_rows(find, MAX_FILLED, images, known, conditions.values, indices)

  def _check_guides(self, conditions: Conditions) -> None:
    """Raises InputError if there is nothing to guide by."""
    if self.guidance != 1 and np.isnan(np.asarray(self._rows(conditions.values), float)).all():
      raise InputError(
        f'guidance={self.guidance:g} has no effect where all conditions are unknown: give some, '
        'such as the class, or leave it out.'
      )

  def _rows(self, conditions: Array) -> Array:
    return rows_of(self.network, conditions)

  def _run(self, function: Callable, *request) -> Array:
    """A function of `latent_flow`, compiled."""
    run = latent_flow.compiled(function, self.network)
    return run(self.network, self.variables, *request)


def rows_of(network: LatentFlow, conditions: Array) -> Array:
  """Conditions of a model as its flow takes them: rows, where the first stage has labels."""
  conditions = jnp.asarray(conditions)
  if network.columns and conditions.ndim == 1:
    return conditions_lib.rows_of(network.columns, conditions)
  return conditions


@dataclasses.dataclass(frozen=True)
class LogProb:
  """log p(z | c) of a flow, as `bounds.Density` has it; equal ones compute the same."""

  network: LatentFlow
  num_steps: int

  def __call__(self, variables: dict, latents: Array, conditions: Array) -> Array:
    """[B], in nats."""
    rows = rows_of(self.network, conditions)
    return latent_flow.log_prob(self.network, variables, latents, rows, self.num_steps)

  def operations(self, variables: dict) -> float:
    """Floating-point operations for one latent."""
    return latent_flow.operations(self.network, variables, self.num_steps)
