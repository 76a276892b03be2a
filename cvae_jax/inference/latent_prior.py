"""What a trained model's latents can be drawn from: its own prior, and the one fitted to it."""

import dataclasses
import functools
import numbers
from collections.abc import Callable

import jax
import numpy as np

from cvae_jax.data import batches
from cvae_jax.models import fitted_prior
from cvae_jax.models.fitted_prior import FittedPrior
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError, check_integer, did_you_mean

NAMES = ('fitted', 'model')
# Far outside of anything a decoder has seen, and still far from overflow.
MAX_TEMPERATURE = 100
# Larger requests run in pieces of this many images, so that memory stays bounded.
MAX_BATCH = 256
MAX_DRAWN_FACTORS = 1 << 24  # numbers, 64 MB: each image of a piece has a covariance of its own
MOMENT_DRAWS = 4_096  # which the moments of a learned prior are estimated from


def check_temperature(temperature: float) -> np.float32:
  """The temperature, for the device.

  Raises:
    InputError: it is no number that could be one.
  """
  is_number = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool)
  if not (is_number and 0 <= temperature <= MAX_TEMPERATURE):
    raise InputError(f'temperature={temperature!r} is not a number from 0 to {MAX_TEMPERATURE}.')
  return np.float32(temperature)


@dataclasses.dataclass(frozen=True)
class TrainedPriors:
  """The priors of one model; wherever `prior` is None, the fitted one where there is one."""

  kind: str  # config.prior, or 'none'
  latent_dim: int
  num_classes: int  # 1 of an unconditional model
  fitted: FittedPrior | None
  fault: str  # why the fitted prior cannot be used that is there
  draw_own: Callable  # (labels, key, indices, temperature) -> [N, latent]
  change_class: Callable  # (latents, labels, other labels) -> [N, latent]

  @property
  def exist(self) -> bool:
    """Whether there is any."""
    return self.kind != 'none'

  def check_exist(self) -> None:
    """Raises InputError where latents have no distribution."""
    if not self.exist:
      raise InputError(
        'This is a denoising autoencoder: its latents have no distribution to draw from, and its '
        'images no bound. Name another run with --workdir, or see what it makes of images with '
        'python sample.py --mode=reconstruct, and measure it beside other runs with '
        'python evaluate.py --compare.'
      )

  def choose(self, prior: str | None) -> str:
    """'fitted' or 'model'.

    Raises:
      InputError: it is neither, or there is no such prior.
    """
    self.check_exist()
    if prior not in (None, *NAMES):
      raise InputError(
        f'prior={prior!r} is not one of: {", ".join(NAMES)}.{did_you_mean(str(prior), NAMES)}'
      )
    if prior != 'model' and self.fault:
      raise InputError(
        f'{self.fault} Remove that file, or call train.py on the finished run, which makes those '
        'of its best and last checkpoint again. Samples can be had without it, from the prior '
        '"model", the one that the model was trained with.'
      )
    if prior == 'fitted' and self.fitted is None:
      raise InputError(
        'These weights have no fitted prior. Training makes it when it ends, for the best and the '
        'last checkpoint of a run, and so does train.py on a finished one; the prior "model" is '
        'the one that the model was trained with.'
      )
    return prior or ('model' if self.fitted is None else 'fitted')

  def describe(self, prior: str | None = None, temperature: float = 1.0) -> str:
    """What latents are drawn from, for people."""
    check_temperature(temperature)
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
  ) -> np.ndarray:
    """z ~ p(z | c).

    Args:
      labels: [N] int32; zeros for an unconditional model.
      temperature: factor on the standard deviation of each Gaussian of the prior, of which a
        mixture has several, or of a flow's noise.
      seed: the same seed gives the same latent for a place and label.
      prior: 'fitted' or 'model'.

    Returns:
      [N, latent] float32.
    """
    key, temperature = keys.of_user(seed, 'prior'), check_temperature(temperature)
    draw, size = self.draw_own, MAX_BATCH
    if self.choose(prior) == 'fitted':
      draw = functools.partial(fitted_prior.draw, self.fitted)
      size = int(np.clip(MAX_DRAWN_FACTORS // self.latent_dim**2, 1, MAX_BATCH))
    return batches.map_rows(
      lambda labels, indices: draw(labels, key, indices, temperature),
      size,
      labels,
      np.arange(len(labels), dtype=np.int32),
    )

  def in_all_classes(self, latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What the noise that gives latents [N, latent] of classes [N] gives in every class.

    Returns:
      [N, classes, latent] float32; the latents themselves where the model's prior is N(0, I).
    """
    repeated = np.repeat(latents, self.num_classes, axis=0)
    if not self.is_standard('model'):
      others = np.tile(np.arange(self.num_classes, dtype=np.int32), len(labels))
      own = np.repeat(labels, self.num_classes)
      repeated = batches.map_rows(self.change_class, MAX_BATCH, repeated, own, others)
    return repeated.reshape(len(labels), self.num_classes, self.latent_dim)

  def moments(self, label: int, prior: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of p(z | c) in each dimension, [latent] float32 each.

    Args:
      label: the class; 0 for an unconditional model.
      prior: 'fitted' or 'model'.

    Returns:
      Exact ones but of a learned prior, whose are those of MOMENT_DRAWS draws.
    """
    check_integer('label', label, 0, self.num_classes - 1)
    if self.is_standard(prior):
      return np.zeros(self.latent_dim, np.float32), np.ones(self.latent_dim, np.float32)
    if self.choose(prior) == 'fitted':
      return fitted_prior.moments(jax.device_get(self.fitted), label)
    draws = self.draw(np.full(MOMENT_DRAWS, label, np.int32), prior=prior)
    return draws.mean(axis=0), draws.std(axis=0)
