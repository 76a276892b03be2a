"""p(x | z, c): decoder outputs to log-densities, means and draws."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key
from scipy import special

from cvae_jax.data.readers import DATASETS
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

LIKELIHOODS = Registry('likelihood')  # a function of the config -> a `Likelihood`

UNIT = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)

# A level of 8 bits is exp(-4.85) wide in [-1, 1]: a smaller standard deviation has no meaning, and
# where images are equal in some pixels the density would grow without bound.
MIN_LOG_SIGMA = -7.0
MIN_LEARNED_SIGMA = 1e-3  # the smallest initial value of a learned standard deviation

# Leading axes broadcast: several draws of outputs are compared with one image.
Images = Float[ArrayLike, '*#batch h w c']
Outputs = Float[ArrayLike, '*#batch h w outputs']
HalfOfOutputs = Float[Array, '*#batch h w outputs//2']


class Likelihood:
  """Independent pixels, computed in float32 whatever the network computes in.

  A subclass is a frozen dataclass, so that it can be a static argument of compiled functions.
  """

  pixel_range: tuple[float, float] = SYMMETRIC  # values of black and white
  omitted = 0.0  # a constant of −log p that the training loss omits, nats per pixel and channel
  learns_sigma = False  # whether the second half of the outputs is log σ, learned per channel
  is_discrete = False  # whether grey values have probabilities; see `is_probability`

  def log_prob(self, images: Images, outputs: Outputs) -> Float[Array, '*batch']:
    """log p(x | z, c) in nats, summed over pixels and channels, with all constants.

    Args:
      images: in the pixel range.
      outputs: the decoder's.
    """
    raise NotImplementedError

  def mean(self, outputs: Outputs) -> Float[Array, '*#batch h w c']:
    """E[x | z, c] in the pixel range: by default the outputs themselves."""
    return outputs.astype(jnp.float32)

  def sample(self, key: Key[Array, ''], outputs: Outputs) -> Float[Array, '*#batch h w c']:
    """A draw from p(x | z, c), in the pixel range."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
  """Bernoulli pixels; the decoder gives logits.

  A probability of binary images. Of grey values it is the usual cross-entropy, no likelihood.
  """

  pixel_range = UNIT

  def log_prob(self, images: Images, outputs: Images) -> Float[Array, '*batch']:
    images, logits = images.astype(jnp.float32), outputs.astype(jnp.float32)
    # log σ(l) = −softplus(−l) and log(1 − σ(l)) = −softplus(l): no logarithm of a rounded σ.
    return _sum(images * logits - jax.nn.softplus(logits))

  def mean(self, outputs: Images) -> Float[Array, '*#batch h w c']:
    return jax.nn.sigmoid(outputs.astype(jnp.float32))

  def sample(self, key: Key[Array, ''], outputs: Images) -> Float[Array, '*#batch h w c']:
    # Explicit float32 uniforms: jax.random.bernoulli draws them in the probability's dtype.
    uniforms = jax.random.uniform(key, outputs.shape, jnp.float32)
    return (uniforms < self.mean(outputs)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Gaussian(Likelihood):
  """N(outputs, σ²) with one fixed σ, in units of `pixel_range`."""

  sigma: float
  pixel_range: tuple[float, float] = SYMMETRIC
  omitted: float = 0.0

  def log_prob(self, images: Images, outputs: Images) -> Float[Array, '*batch']:
    return _sum(_log_normal(images, outputs.astype(jnp.float32), math.log(self.sigma)))

  def sample(self, key: Key[Array, ''], outputs: Images) -> Float[Array, '*#batch h w c']:
    return self.mean(outputs) + self.sigma * jax.random.normal(key, outputs.shape, jnp.float32)


@dataclasses.dataclass(frozen=True)
class LearnedGaussian(Likelihood):
  """N(mean, σ²) with a learned σ per channel (Rybkin et al. 2021); outputs: means, then log σ."""

  pixel_range: tuple[float, float] = SYMMETRIC
  learns_sigma = True

  def log_prob(
    self, images: Images, outputs: Float[ArrayLike, '*#batch h w 2*c']
  ) -> Float[Array, '*batch']:
    return _sum(_log_normal(images, *_mean_and_log_sigma(outputs)))

  def mean(self, outputs: Outputs) -> HalfOfOutputs:
    return _mean_and_log_sigma(outputs)[0]

  def sample(self, key: Key[Array, ''], outputs: Outputs) -> HalfOfOutputs:
    mean, log_sigma = _mean_and_log_sigma(outputs)
    return mean + jnp.exp(log_sigma) * jax.random.normal(key, mean.shape, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Charbonnier(Likelihood):
  """The density exp(−√(r² + ε²)) / (2 ε K₁(ε)) of the residual r: the Charbonnier loss.

  It is the symmetric hyperbolic distribution (Barndorff-Nielsen 1977) with α = 1 and δ = ε, for a
  small ε nearly a Laplace distribution of scale 1.
  """

  epsilon: float
  pixel_range: tuple[float, float] = SYMMETRIC

  @property
  def omitted(self) -> float:
    return math.log(2 * self.epsilon * special.k1(self.epsilon))

  def log_prob(self, images: Images, outputs: Images) -> Float[Array, '*batch']:
    residual = images.astype(jnp.float32) - outputs.astype(jnp.float32)
    return _sum(-jnp.sqrt(jnp.square(residual) + self.epsilon**2) - self.omitted)

  def sample(self, key: Key[Array, ''], outputs: Images) -> Float[Array, '*#batch h w c']:
    """An exact draw, by rejection.

    Proposals are Laplace(0, 1), accepted with probability exp(|r| − √(r² + ε²)) ≥ exp(−ε).
    """

    def propose(state):
      key, residual, accepted = state
      key, laplace_key, accept_key = jax.random.split(key, 3)
      proposal = jax.random.laplace(laplace_key, outputs.shape, jnp.float32)
      log_ratio = jnp.abs(proposal) - jnp.sqrt(jnp.square(proposal) + self.epsilon**2)
      uniforms = jax.random.uniform(accept_key, outputs.shape, jnp.float32)
      residual = jnp.where(accepted, residual, proposal)
      return key, residual, accepted | (uniforms < jnp.exp(log_ratio))

    initial = key, jnp.zeros(outputs.shape, jnp.float32), jnp.zeros(outputs.shape, bool)
    _, residual, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[2]), propose, initial)
    return self.mean(outputs) + residual


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(Likelihood):
  """Probabilities of a pixel's 256 levels: a logistic density, integrated over each level.

  The outermost levels take the tails (Kingma et al. 2016). Outputs: locations, then log σ, learned
  per channel, where σ is the standard deviation of the density; its scale is s = σ √3 / π.
  """

  pixel_range: tuple[float, float] = SYMMETRIC
  learns_sigma = True
  is_discrete = True

  @property
  def _half_level(self) -> float:
    low, high = self.pixel_range
    return (high - low) / 510

  def _location_and_scale(self, outputs: Outputs) -> tuple[Array, Array]:
    location, log_sigma = _mean_and_log_sigma(outputs)
    return location, jnp.exp(log_sigma) * (math.sqrt(3) / math.pi)

  def log_prob(
    self, images: Images, outputs: Float[ArrayLike, '*#batch h w 2*c']
  ) -> Float[Array, '*batch']:
    """log P(x | z, c) of images whose values are levels of the pixel range; see `Likelihood`."""
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

  def mean(self, outputs: Outputs) -> HalfOfOutputs:
    """E[clip(X)] of the density, without rounding to levels: within half a level of E[x | z, c].

    E[clip(X)] = low + ∫ P(X > t) dt over the range, with P(X > t) = σ((location − t) / s).
    """
    low, high = self.pixel_range
    location, scale = self._location_and_scale(outputs)
    from_low = jax.nn.softplus((location - low) / scale)
    from_high = jax.nn.softplus((location - high) / scale)
    return jnp.clip(low + scale * (from_low - from_high), low, high)

  def sample(self, key: Key[Array, ''], outputs: Outputs) -> HalfOfOutputs:
    """A draw of the density, rounded to its level."""
    low, high = self.pixel_range
    location, scale = self._location_and_scale(outputs)
    values = location + scale * jax.random.logistic(key, location.shape, jnp.float32)
    levels = jnp.round((values - low) / (2 * self._half_level))
    return jnp.clip(low + levels * (2 * self._half_level), low, high)


def build(config) -> Likelihood:
  """The likelihood that `config.likelihood` names, with its parameters."""
  return LIKELIHOODS[config.likelihood](config)


def _pixel_range(config) -> tuple[float, float]:
  return UNIT if config.data.pixel_range == 'unit' else SYMMETRIC


def _check_unit_range(config) -> None:
  if config.data.pixel_range == 'symmetric':
    raise InputError(
      "data.pixel_range='symmetric' is [-1, 1], but likelihood='bernoulli' needs pixels in [0, 1]. "
      'Set --config.data.pixel_range=auto.'
    )


def _check_initial_sigma(config) -> None:
  if config.sigma < MIN_LEARNED_SIGMA:
    raise InputError(
      f'sigma={config.sigma} is too small an initial value for likelihood={config.likelihood!r}, '
      f'which learns it: give {MIN_LEARNED_SIGMA} or more.'
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
  """Whether the likelihood gives probabilities of the images: only then bits have a meaning."""
  if config.likelihood == 'bernoulli':
    return config.data.binarize == 'dynamic' or DATASETS.trait(config.data.name, 'binary', False)
  return build(config).is_discrete


def _sum(values: Array) -> Array:
  """Over pixels and channels."""
  return jnp.sum(values, axis=(-3, -2, -1))


def _mean_and_log_sigma(outputs: Outputs) -> tuple[Array, Array]:
  mean, log_sigma = jnp.split(outputs.astype(jnp.float32), 2, axis=-1)
  # The gradient ignores the floor: a σ that fell below it can rise again.
  below = jnp.minimum(log_sigma - MIN_LOG_SIGMA, 0)
  return mean, log_sigma - jax.lax.stop_gradient(below)


def _log_normal(images: Images, mean: ArrayLike, log_sigma: ArrayLike) -> Array:
  residual = (images.astype(jnp.float32) - mean) * jnp.exp(-log_sigma)
  return -0.5 * (jnp.square(residual) + math.log(2 * math.pi)) - log_sigma
