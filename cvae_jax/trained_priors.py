"""What a trained model's latents can be drawn from: its own prior, and the one fitted to it."""

import dataclasses
import numbers
from collections.abc import Callable

import jax
import numpy as np

from cvae_jax import fitted_prior, keys
from cvae_jax.data import batches
from cvae_jax.errors import InputError, did_you_mean
from cvae_jax.fitted_prior import FittedPrior

NAMES = ('fitted', 'model')
# Far outside of anything a decoder has seen, and still far from overflow.
MAX_TEMPERATURE = 100
# Larger requests run in pieces of this many images, so that memory stays bounded.
MAX_BATCH = 256
MOMENT_DRAWS = 4_096  # which the moments of a learned prior are estimated from


def check_temperature(temperature: float) -> np.float32:
  """The temperature, for the device.

  Raises:
    InputError: it is no number that could be one.
  """
  if not (isinstance(temperature, numbers.Real) and 0 <= temperature <= MAX_TEMPERATURE):
    raise InputError(f'temperature={temperature!r} is not a number from 0 to {MAX_TEMPERATURE}.')
  return np.float32(temperature)


@dataclasses.dataclass(frozen=True)
class TrainedPriors:
  """The priors of one model; wherever `prior` is None, the fitted one where there is one."""

  kind: str  # config.prior
  latent_dim: int
  fitted: FittedPrior | None
  draw_own: Callable  # (labels, key, indices, temperature) -> [N, latent]

  def choose(self, prior: str | None) -> str:
    """'fitted' or 'model'.

    Raises:
      InputError: it is neither, or there is no such prior.
    """
    if prior is None:
      return 'model' if self.fitted is None else 'fitted'
    if prior not in NAMES:
      raise InputError(
        f'prior={prior!r} is not one of: {", ".join(NAMES)}.{did_you_mean(str(prior), NAMES)}'
      )
    if prior == 'fitted' and self.fitted is None:
      raise InputError(
        'These weights have no fitted prior. Training makes it when it ends, for the best and the '
        'last checkpoint of a run, and so does train.py on a finished one; --prior=model is the '
        "model's own."
      )
    return prior

  def describe(self, prior: str | None = None, temperature: float = 1.0) -> str:
    """What latents are drawn from, for people."""
    if self.is_standard(prior):
      return 'N(0, I)' if temperature == 1 else f'N(0, {temperature:g}² I)'
    name = 'fitted prior' if self.choose(prior) == 'fitted' else f'{self.kind} prior'
    return name if temperature == 1 else f'{name}, temperature {temperature:g}'

  def is_standard(self, prior: str | None = None) -> bool:
    """Whether it is N(0, I)."""
    return self.choose(prior) == 'model' and self.kind == 'standard'

  def draw(
    self,
    labels: np.ndarray,
    temperature: float = 1.0,
    seed: int = 0,
    prior: str | None = None,
    draws: np.ndarray | None = None,
  ) -> np.ndarray:
    """z ~ p(z | c).

    Args:
      labels: [N] int32; zeros for an unconditional model.
      temperature: factor on the standard deviation of the prior.
      seed: the same seed gives the same latent for a draw and label.
      prior: 'fitted' or 'model'.
      draws: [N] which of the seed's draws each is; None counts from 0. One draw has the same noise
        in every class.

    Returns:
      [N, latent] float32.
    """
    key, temperature = keys.of_user(seed, 'prior'), check_temperature(temperature)
    if self.choose(prior) == 'fitted':
      compute = lambda *rows: fitted_prior.draw(  # noqa: E731
        self.fitted, rows[0], key, rows[1], temperature
      )
    else:
      compute = lambda *rows: self.draw_own(rows[0], key, rows[1], temperature)  # noqa: E731
    if draws is None:
      draws = np.arange(len(labels), dtype=np.int32)
    return batches.map_rows(compute, MAX_BATCH, labels, draws)

  def moments(self, label: int, prior: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of p(z | c) in each dimension, [latent] float32 each.

    Args:
      label: the class; 0 for an unconditional model.
      prior: 'fitted' or 'model'.

    Returns:
      Exact ones but of a learned prior, whose are those of MOMENT_DRAWS draws.
    """
    if self.is_standard(prior):
      return np.zeros(self.latent_dim, np.float32), np.ones(self.latent_dim, np.float32)
    if self.choose(prior) == 'fitted':
      return fitted_prior.moments(jax.device_get(self.fitted), label)
    draws = self.draw(np.full(MOMENT_DRAWS, label, np.int32), prior=prior)
    return draws.mean(axis=0), draws.std(axis=0)
