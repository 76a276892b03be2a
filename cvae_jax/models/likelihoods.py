"""p(x | z, c): decoder outputs to log-densities, means and draws.

A likelihood is a frozen dataclass with a `pixel_range` (what black and white become before the
network sees them), `omitted` (nats per pixel and channel that the training loss leaves out of
−log p, a constant) and three pure functions. All arithmetic is in float32, whatever the network
computed in.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array
from scipy import special

from cvae_jax.data.readers import DATASETS
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

LIKELIHOODS = Registry('likelihood')  # a function of the config -> a likelihood

UNIT = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)

# A level of 8 bits is exp(-4.85) wide in [-1, 1]: a standard deviation below this means nothing,
# and on images that are equal in some pixels the density would grow without bound.
MIN_LOG_SIGMA = -7.0
MIN_LEARNED_SIGMA = 1e-3  # that a learned standard deviation may begin at


@dataclasses.dataclass(frozen=True)
class Bernoulli:
  """Independent Bernoulli pixels; the decoder gives logits, images lie in [0, 1].

  On binary images this is a probability; on grey values it is the usual cross-entropy, which is
  no likelihood.
  """

  pixel_range = UNIT
  omitted = 0.0
  learns_sigma = False
  is_discrete = False  # of grey values; see `is_probability`

  def log_prob(self, images: Array, logits: Array) -> Array:
    """log p(x | z), stable for any logit.

    Args:
      images: [..., H, W, C] in [0, 1].
      logits: [..., H, W, C] log-odds of a white pixel.

    Returns:
      [...] nats, summed over pixels and channels.
    """
    images, logits = images.astype(jnp.float32), logits.astype(jnp.float32)
    # log σ(l) = −softplus(−l) and log(1 − σ(l)) = −softplus(l): no logarithm of a rounded σ.
    return _sum(images * logits - jax.nn.softplus(logits))

  def mean(self, logits: Array) -> Array:
    """E[x | z] = σ(logits), [..., H, W, C] in [0, 1]."""
    return jax.nn.sigmoid(logits.astype(jnp.float32))

  def sample(self, key: Array, logits: Array) -> Array:
    """One draw of x given z: [..., H, W, C], each pixel 0 or 1."""
    # Explicit float32 uniforms: jax.random.bernoulli draws them in the probability's dtype.
    uniforms = jax.random.uniform(key, logits.shape, jnp.float32)
    return (uniforms < self.mean(logits)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Independent normal pixels with one fixed standard deviation, in units of `pixel_range`."""

  sigma: float
  pixel_range: tuple[float, float] = SYMMETRIC
  omitted: float = 0.0
  learns_sigma = False
  is_discrete = False

  def log_prob(self, images: Array, mean: Array) -> Array:
    """log N(x; mean, σ²), with its constant.

    Args:
      images: [..., H, W, C] in the pixel range.
      mean: [..., H, W, C] decoder outputs.

    Returns:
      [...] nats, summed over pixels and channels.
    """
    return _sum(_log_normal(images, mean.astype(jnp.float32), math.log(self.sigma)))

  def mean(self, mean: Array) -> Array:
    """E[x | z], the decoder output itself: [..., H, W, C]."""
    return mean.astype(jnp.float32)

  def sample(self, key: Array, mean: Array) -> Array:
    """One draw of x given z: [..., H, W, C]."""
    return self.mean(mean) + self.sigma * jax.random.normal(key, mean.shape, jnp.float32)


@dataclasses.dataclass(frozen=True)
class LearnedGaussian:
  """Normal pixels whose standard deviation is learned, one per channel (Rybkin et al. 2021).

  The decoder gives 2C values per pixel: means, then log σ.
  """

  pixel_range: tuple[float, float] = SYMMETRIC
  omitted = 0.0
  learns_sigma = True
  is_discrete = False

  def log_prob(self, images: Array, outputs: Array) -> Array:
    """log N(x; mean, σ²): [..., H, W, C] and [..., H, W, 2C] to [...] nats."""
    return _sum(_log_normal(images, *_mean_and_log_sigma(outputs)))

  def mean(self, outputs: Array) -> Array:
    """E[x | z]: [..., H, W, 2C] to [..., H, W, C]."""
    return _mean_and_log_sigma(outputs)[0]

  def sample(self, key: Array, outputs: Array) -> Array:
    """One draw of x given z: [..., H, W, 2C] to [..., H, W, C]."""
    mean, log_sigma = _mean_and_log_sigma(outputs)
    return mean + jnp.exp(log_sigma) * jax.random.normal(key, mean.shape, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Charbonnier:
  """The density exp(−√(r² + ε²)) / (2 ε K₁(ε)) of the residual r: the Charbonnier loss.

  It is the symmetric hyperbolic distribution (Barndorff-Nielsen 1977) with α = 1 and δ = ε, and
  nearly a Laplace distribution of scale 1 where ε is small.
  """

  epsilon: float
  pixel_range: tuple[float, float] = SYMMETRIC
  learns_sigma = False
  is_discrete = False

  @property
  def omitted(self) -> float:  # noqa: D102 (see the module)
    return math.log(2 * self.epsilon * special.k1(self.epsilon))

  def log_prob(self, images: Array, mean: Array) -> Array:
    """log p(x | z), with its constant: [..., H, W, C] each to [...] nats."""
    residual = images.astype(jnp.float32) - mean.astype(jnp.float32)
    return _sum(-jnp.sqrt(jnp.square(residual) + self.epsilon**2) - self.omitted)

  def mean(self, mean: Array) -> Array:
    """E[x | z], the decoder output itself: [..., H, W, C]."""
    return mean.astype(jnp.float32)

  def sample(self, key: Array, mean: Array) -> Array:
    """One exact draw of x given z, [..., H, W, C], by rejection.

    Proposals are Laplace(0, 1); exp(|r| − √(r² + ε²)), at least exp(−ε), accepts them.
    """

    def propose(state):
      key, residual, accepted = state
      key, laplace_key, accept_key = jax.random.split(key, 3)
      proposal = jax.random.laplace(laplace_key, mean.shape, jnp.float32)
      log_ratio = jnp.abs(proposal) - jnp.sqrt(jnp.square(proposal) + self.epsilon**2)
      uniforms = jax.random.uniform(accept_key, mean.shape, jnp.float32)
      residual = jnp.where(accepted, residual, proposal)
      return key, residual, accepted | (uniforms < jnp.exp(log_ratio))

    nothing_yet = key, jnp.zeros(mean.shape, jnp.float32), jnp.zeros(mean.shape, bool)
    _, residual, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[2]), propose, nothing_yet)
    return self.mean(mean) + residual


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
  """Probabilities of the 256 levels of a pixel, by a logistic density integrated over each level.

  The outermost levels take the tails (Kingma et al. 2016). The decoder gives 2C values
  per pixel: locations, then log σ, learned once per channel; σ is the standard deviation of the
  logistic density, whose scale is s = σ √3 / π.
  """

  pixel_range: tuple[float, float] = SYMMETRIC
  omitted = 0.0
  learns_sigma = True
  is_discrete = True

  @property
  def _half_level(self) -> float:
    low, high = self.pixel_range
    return (high - low) / 510

  def _location_and_scale(self, outputs: Array) -> tuple[Array, Array]:
    location, log_sigma = _mean_and_log_sigma(outputs)
    return location, jnp.exp(log_sigma) * (math.sqrt(3) / math.pi)

  def log_prob(self, images: Array, outputs: Array) -> Array:
    """log P(x | z), a probability.

    Args:
      images: [..., H, W, C], each value one of the 256 levels of the pixel range.
      outputs: [..., H, W, 2C].

    Returns:
      [...] nats, summed over pixels and channels.
    """
    (low, high), half = self.pixel_range, self._half_level
    images = images.astype(jnp.float32)
    location, scale = self._location_and_scale(outputs)
    above = (images + half - location) / scale
    below = (images - half - location) / scale
    log_below_top = jax.nn.log_sigmoid(above)  # log P(X < upper edge)
    log_above_bottom = jax.nn.log_sigmoid(-below)  # log P(X > lower edge)
    # σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)): no difference of two numbers near 1.
    log_width = jnp.log(-jnp.expm1(-2 * half / scale))
    log_level = jnp.where(
      images < low + half,
      log_below_top,
      jnp.where(
        images > high - half, log_above_bottom, log_below_top + log_above_bottom + log_width
      ),
    )
    return _sum(log_level)

  def mean(self, outputs: Array) -> Array:
    """E[x | z], [..., H, W, C], to within half a level: that of the density, clipped, not rounded.

    E[clip(X)] = low + ∫ P(X > t) dt over the range, with P(X > t) = σ((location − t) / s).
    """
    low, high = self.pixel_range
    location, scale = self._location_and_scale(outputs)
    from_low = jax.nn.softplus((location - low) / scale)
    from_high = jax.nn.softplus((location - high) / scale)
    return jnp.clip(low + scale * (from_low - from_high), low, high)

  def sample(self, key: Array, outputs: Array) -> Array:
    """One draw of x given z, [..., H, W, C]: a draw of the density, rounded to its level."""
    low, high = self.pixel_range
    location, scale = self._location_and_scale(outputs)
    values = location + scale * jax.random.logistic(key, location.shape, jnp.float32)
    levels = jnp.round((values - low) / (2 * self._half_level))
    return jnp.clip(low + levels * (2 * self._half_level), low, high)


Likelihood = Bernoulli | Gaussian | LearnedGaussian | Charbonnier | DiscretizedLogistic


def build(config) -> Likelihood:
  """The likelihood that `config.likelihood` names, with its parameters."""
  return LIKELIHOODS[config.likelihood](config)


def _pixel_range(config) -> tuple[float, float]:
  return UNIT if config.data.pixel_range == 'unit' else SYMMETRIC


def _check_unit_range(config) -> None:
  if config.data.pixel_range == 'symmetric':
    raise InputError(
      "data.pixel_range='symmetric' is [-1, 1], but likelihood='bernoulli' needs pixels in [0, 1]. "
      'Leave it at auto.'
    )


def _check_initial_sigma(config) -> None:
  if config.sigma < MIN_LEARNED_SIGMA:
    raise InputError(
      f'sigma={config.sigma} is less than likelihood={config.likelihood!r} can learn: begin at '
      f'{MIN_LEARNED_SIGMA} or more, for pixels in [-1, 1] or [0, 1].'
    )


@LIKELIHOODS.register('bernoulli', _check_unit_range)
def _bernoulli(config) -> Bernoulli:
  return Bernoulli()


@LIKELIHOODS.register('gaussian')
def _gaussian(config) -> Gaussian:
  return Gaussian(config.sigma, _pixel_range(config))


@LIKELIHOODS.register('gaussian_learned', _check_initial_sigma)
def _gaussian_learned(config) -> LearnedGaussian:
  return LearnedGaussian(_pixel_range(config))


@LIKELIHOODS.register('l2')
def _l2(config) -> Gaussian:
  # σ² = ½ makes −log p the sum of squares, up to a constant.
  return Gaussian(math.sqrt(0.5), _pixel_range(config), omitted=0.5 * math.log(math.pi))


@LIKELIHOODS.register('charbonnier')
def _charbonnier(config) -> Charbonnier:
  return Charbonnier(config.charbonnier_epsilon, _pixel_range(config))


@LIKELIHOODS.register('discretized_logistic', _check_initial_sigma)
def _discretized_logistic(config) -> DiscretizedLogistic:
  return DiscretizedLogistic(_pixel_range(config))


def is_probability(config) -> bool:
  """Whether the likelihood is one of discrete pixels as they are: only then bits have a meaning."""
  if config.likelihood == 'bernoulli':
    return config.data.binarize == 'dynamic' or DATASETS.trait(config.data.name, 'binary', False)
  return build(config).is_discrete


def _sum(values: Array) -> Array:
  """Over pixels and channels."""
  return jnp.sum(values, axis=(-3, -2, -1))


def _mean_and_log_sigma(outputs: Array) -> tuple[Array, Array]:
  mean, log_sigma = jnp.split(outputs.astype(jnp.float32), 2, axis=-1)
  # The gradient passes the floor as if there were none: a σ that fell below it can rise again.
  below = jnp.minimum(log_sigma - MIN_LOG_SIGMA, 0)
  return mean, log_sigma - jax.lax.stop_gradient(below)


def _log_normal(images: Array, mean: Array, log_sigma: Array | float) -> Array:
  residual = (images.astype(jnp.float32) - mean) * jnp.exp(-log_sigma)
  return -0.5 * (jnp.square(residual) + math.log(2 * math.pi)) - log_sigma
