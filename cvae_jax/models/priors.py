"""p(z | c): what latents are drawn from, and what the KL is measured against.

A prior is a module: called with (labels, context, encode), it gives the `Density` of each image.
Its arguments are the classes, all conditions as numbers, and a function of the encoder. All in
float32.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax import config as config_lib
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import gaussians
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

# A coupling scales by at most e^2 either way, so that no product of them overflows.
MAX_LOG_SCALE = 2.0
MAX_PSEUDO_PIXELS = 1 << 24  # of a vamp prior's pseudo-inputs, 64 MB

# Functions of (config, image shape, activation) -> a module; see above.
PRIORS = Registry('prior')

Labels = Int[ArrayLike, ' batch']
Latents = Float[ArrayLike, 'batch latent']  # of one draw; also means, log-variances and noise
Draws = Float[ArrayLike, '*draws batch latent']
# All conditions: one-hot classes or, of a table, its embedding. Of size 0 without conditions.
Context = Float[ArrayLike, 'batch context']
# (images [N, H, W, C], labels [N]) -> mean and log-variance of q(z | x, c), [N, latent] each.
Encode = Callable[[ArrayLike, ArrayLike], tuple[Array, Array]]


class Density:
  """p(z | c) for the classes of a batch. A subclass gives `log_prob` and the two maps of noise."""

  def log_prob(self, latents: Draws) -> Float[Array, '*draws batch']:
    """log p(z | c), in nats."""
    raise NotImplementedError

  def to_noise(self, latents: Latents) -> Any:
    """The noise that gives these latents; in another class it gives latents of the same style."""
    raise NotImplementedError

  def to_latents(self, noise: Any) -> Latents:
    """The inverse of `to_noise`."""
    raise NotImplementedError

  def draw(self, keys: Key[Array, ' batch'], temperature: Float[ArrayLike, '']) -> Latents:
    """z ~ p(z | c); the temperature multiplies the standard deviation of the noise."""
    raise NotImplementedError

  def from_noise(self, noise: Latents, uniform: Float[ArrayLike, ' batch'] | None) -> Latents:
    """z ~ p(z | c) from noise ~ N(0, I); a mixture takes its component from uniform in [0, 1).

    Exports draw with it; a density without it trains, evaluates and samples.
    """
    raise NotImplementedError

  def kl(
    self, mean: Latents, logvar: Latents, latents: Draws | None
  ) -> Float[Array, '*draws batch groups']:
    """KL(N(mean, exp(logvar)) ‖ p(z | c)) of posteriors, in nats; its last axis is to be summed.

    By default estimated from their draws `latents`, as log q(z | x, c) − log p(z | c) with one
    group. A subclass with a closed form gives the KL of each latent dimension, without draws.
    """
    log_posterior = gaussians.log_normal(latents, _like(mean, latents), _like(logvar, latents))
    return (log_posterior - self.log_prob(latents))[..., None]


@dataclasses.dataclass(frozen=True)
class Gaussian(Density):
  """N(mean, exp(logvar)) of each class."""

  mean: Latents
  logvar: Latents

  def log_prob(self, latents: Draws) -> Float[Array, '*draws batch']:
    return gaussians.log_normal(latents, _like(self.mean, latents), _like(self.logvar, latents))

  def to_noise(self, latents: Latents) -> Latents:
    return (latents - self.mean) * jnp.exp(-0.5 * self.logvar)

  def to_latents(self, noise: Latents) -> Latents:
    return self.mean + jnp.exp(0.5 * self.logvar) * noise

  def draw(self, keys: Key[Array, ' batch'], temperature: Float[ArrayLike, '']) -> Latents:
    return self.to_latents(temperature * _noise(keys, self.mean.shape[-1]))

  def from_noise(self, noise: Latents, uniform: Float[ArrayLike, ' batch'] | None) -> Latents:
    return self.to_latents(noise)

  def kl(self, mean: Latents, logvar: Latents, latents: Draws | None) -> Latents:
    return gaussians.kl(mean, logvar, self.mean, self.logvar)


@dataclasses.dataclass(frozen=True)
class Mixture(Density):
  """K equally likely Gaussians of each class."""

  mean: Float[Array, 'batch components latent']
  logvar: Float[Array, 'batch components latent']

  def log_prob(self, latents: Draws) -> Float[Array, '*draws batch']:
    log_probs = self._log_probs(latents)
    return jax.nn.logsumexp(log_probs, axis=-1) - math.log(log_probs.shape[-1])

  def to_noise(self, latents: Latents) -> tuple[Int[Array, ' batch'], Latents]:
    """The likeliest component and its noise.

    Components of different classes do not correspond: the style is that of the noise alone.
    """
    component = jnp.argmax(self._log_probs(latents), axis=-1)
    return component, self._component(component).to_noise(latents)

  def to_latents(self, noise: tuple[Int[Array, ' batch'], Latents]) -> Latents:
    return self._component(noise[0]).to_latents(noise[1])

  def draw(self, keys: Key[Array, ' batch'], temperature: Float[ArrayLike, '']) -> Latents:
    choices, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    component = jax.vmap(lambda key: jax.random.randint(key, (), 0, self.mean.shape[1], jnp.int32))(
      choices
    )
    return self._component(component).draw(noise_keys, temperature)

  def from_noise(self, noise: Latents, uniform: Float[ArrayLike, ' batch'] | None) -> Latents:
    last = self.mean.shape[1] - 1
    component = jnp.clip((uniform * (last + 1)).astype(jnp.int32), 0, last)
    return self.to_latents((component, noise))

  def _log_probs(self, latents: Draws) -> Float[Array, '*draws batch components']:
    latents = latents[..., None, :]
    return gaussians.log_normal(latents, _like(self.mean, latents), _like(self.logvar, latents))

  def _component(self, number: Int[Array, ' batch']) -> Gaussian:
    """The Gaussian of each class with this number."""
    take = lambda x: jnp.take_along_axis(x, number[:, None, None], axis=1)[:, 0]  # noqa: E731
    return Gaussian(take(self.mean), take(self.logvar))


class StandardNormal(nn.Module):
  """N(0, I), whatever the class; no parameters."""

  latent_dim: int

  def __call__(self, labels: Labels, context: Context, encode: Encode) -> Gaussian:
    zeros = jnp.zeros((labels.shape[0], self.latent_dim))
    return Gaussian(zeros, zeros)


class ClassGaussian(nn.Module):
  """A learned diagonal Gaussian for each class, N(0, I) at initialization."""

  num_classes: int
  latent_dim: int

  @nn.compact
  def __call__(self, labels: Labels, context: Context, encode: Encode) -> Gaussian:
    shape = (self.num_classes, self.latent_dim)
    mean = self.param('mean', nn.initializers.zeros, shape)
    logvar = self.param('logvar', nn.initializers.zeros, shape)
    return Gaussian(mean[labels], logvar[labels])


class Vamp(nn.Module):
  """(1/K) Σₖ q(z | uₖ, c): the posteriors of K learned pseudo-inputs (Tomczak & Welling 2018).

  Each class has pseudo-inputs of its own; an unconditional model counts as one class. They are not
  clipped to the range of pixels. Every call encodes all of them.
  """

  num_classes: int
  num_components: int  # K
  image_shape: tuple[int, int, int]

  @nn.compact
  def __call__(self, labels: Labels, context: Context, encode: Encode) -> Mixture:
    count = self.num_classes * self.num_components
    inputs = self.param('inputs', nn.initializers.uniform(1.0), (count, *self.image_shape))
    own = jnp.repeat(jnp.arange(self.num_classes), self.num_components, total_repeat_length=count)
    mean, logvar = (
      x.reshape(self.num_classes, self.num_components, -1) for x in encode(inputs, own)
    )
    return Mixture(mean[labels], logvar[labels])


class Flow(nn.Module):
  """A conditional RealNVP (Dinh et al. 2017): z = f_c(u) with u ~ N(0, I).

  Each coupling moves half of the dimensions, given the other half and the conditions. At
  initialization it is the identity.
  """

  latent_dim: int
  num_layers: int
  hidden_dim: int
  activation: Callable[[Array], Array]

  def setup(self):
    self.couplings = [
      Coupling(_mask(layer, self.latent_dim), self.hidden_dim, self.activation)
      for layer in range(self.num_layers)
    ]

  def __call__(self, labels: Labels, context: Context, encode: Encode) -> 'FlowDensity':
    return FlowDensity(self, context)

  def to_noise(
    self, latents: Draws, context: Context
  ) -> tuple[Draws, Float[Array, '*draws batch']]:
    """u = f_c⁻¹(z), and log |det ∂u/∂z|."""
    log_det = jnp.zeros(latents.shape[:-1])
    for coupling in self.couplings:
      shift, log_scale = coupling(latents, context)
      latents = (latents - shift) * jnp.exp(-log_scale)
      log_det -= jnp.sum(log_scale, axis=-1)
    return latents, log_det

  def to_latents(self, noise: Draws, context: Context) -> Draws:
    """z = f_c(u)."""
    for coupling in reversed(self.couplings):
      # A coupling reads only what it does not change, so that both directions see the same.
      shift, log_scale = coupling(noise, context)
      noise = noise * jnp.exp(log_scale) + shift
    return noise


class Coupling(nn.Module):
  """Shift and log-scale of the dimensions where `mask` is 0, from those where it is 1."""

  mask: tuple[int, ...]
  hidden_dim: int
  activation: Callable[[Array], Array]

  @nn.compact
  def __call__(self, values: Draws, context: Context) -> tuple[Draws, Draws]:
    """Shift and log-scale; 0 where the mask is 1."""
    kept = _like(jnp.asarray(self.mask, jnp.float32), values)
    context = jnp.broadcast_to(_like(context, values), (*values.shape[:-1], context.shape[-1]))
    hidden = jnp.concatenate([values * kept, context], axis=-1)
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    for layer in range(2):
      hidden = nn.Dense(self.hidden_dim, precision=highest, name=f'dense{layer}')(hidden)
      hidden = self.activation(hidden)
    # Zeros: at initialization the flow is the identity.
    output = nn.Dense(
      2 * len(self.mask), precision=highest, kernel_init=nn.initializers.zeros, name='output'
    )
    shift, log_scale = jnp.split(output(hidden) * jnp.concatenate([1 - kept] * 2, axis=-1), 2, -1)
    return shift, MAX_LOG_SCALE * jnp.tanh(log_scale / MAX_LOG_SCALE)


@dataclasses.dataclass(frozen=True)
class FlowDensity(Density):
  """The density of a flow at the classes of a batch."""

  flow: Flow
  context: Context

  def log_prob(self, latents: Draws) -> Float[Array, '*draws batch']:
    noise, log_det = self.flow.to_noise(latents, self.context)
    zeros = jnp.zeros((1,) * noise.ndim)
    return gaussians.log_normal(noise, zeros, zeros) + log_det

  def to_noise(self, latents: Latents) -> Latents:
    return self.flow.to_noise(latents, self.context)[0]

  def to_latents(self, noise: Latents) -> Latents:
    return self.flow.to_latents(noise, self.context)

  def draw(self, keys: Key[Array, ' batch'], temperature: Float[ArrayLike, '']) -> Latents:
    return self.to_latents(temperature * _noise(keys, self.flow.latent_dim))

  def from_noise(self, noise: Latents, uniform: Float[ArrayLike, ' batch'] | None) -> Latents:
    return self.to_latents(noise)


def build(config, image_shape: tuple[int, int, int], activation) -> nn.Module:
  """The prior that `config.prior` names, with its sizes."""
  return PRIORS[config.prior](config, image_shape, activation)


def _num_classes(config) -> int:
  return config.data.num_classes if config.conditional else 0


@PRIORS.register('standard')
def _standard(config, image_shape, activation) -> StandardNormal:
  return StandardNormal(config.latent_dim)


def _check_classes(config) -> None:
  _check_table(config)
  if not config.conditional:
    raise InputError(
      "prior='class_gaussian' has a Gaussian for each class, but conditional=False. Choose one of: "
      'standard, vamp, flow.'
    )


@PRIORS.register('class_gaussian', _check_classes)
def _class_gaussian(config, image_shape, activation) -> ClassGaussian:
  return ClassGaussian(_num_classes(config), config.latent_dim)


def _check_table(config) -> None:
  """Raises InputError where the class of an image may be unknown: a mixture needs it."""
  prior = config.prior
  if not config.conditional:
    return
  if config.condition_dropout:
    raise InputError(
      f'prior={prior!r} needs the class of every image, but '
      f'condition_dropout={config.condition_dropout} hides it. Choose prior=standard or flow, or '
      'set --config.condition_dropout=0.'
    )
  columns = conditions_lib.of_config(config)
  number = config_lib.class_column(columns)
  if columns and (number is None or columns[number].has_unknown):
    state = 'no column is a category' if number is None else 'some cells of its column are empty'
    raise InputError(
      f'prior={prior!r} needs the class of every image, the first category of '
      f'data.conditions={config.data.conditions!r}, but {state}. Choose prior=standard or flow.'
    )


def _check_vamp(config) -> None:
  _check_table(config)
  if config.model.norm == 'batch':
    raise InputError(
      "prior='vamp' is made of posteriors, which model.norm='batch' changes from batch to batch. "
      'Set model.norm to group or none.'
    )
  size = math.prod(config_lib.image_shape(config.data)) * config.model.num_pseudo_inputs
  size *= max(_num_classes(config), 1)
  if size > MAX_PSEUDO_PIXELS:
    raise InputError(
      f'model.num_pseudo_inputs={config.model.num_pseudo_inputs} for each class of images of this '
      f'size are {size:,} pixels to encode in every step, more than {MAX_PSEUDO_PIXELS:,}. '
      'Give fewer.'
    )


@PRIORS.register('vamp', _check_vamp)
def _vamp(config, image_shape, activation) -> Vamp:
  return Vamp(max(_num_classes(config), 1), config.model.num_pseudo_inputs, image_shape)


def _check_flow(config) -> None:
  if config.latent_dim < 2:
    raise InputError(
      f"prior='flow' moves one half of the latents given the other, but "
      f'latent_dim={config.latent_dim}. Give 2 or more.'
    )


@PRIORS.register('flow', _check_flow)
def _flow(config, image_shape, activation) -> Flow:
  model = config.model
  return Flow(
    config.latent_dim,
    model.num_flow_layers,
    model.flow_hidden_dim,
    activation,
  )


def _noise(keys: Key[Array, ' batch'], size: int) -> Array:
  return jax.vmap(lambda key: jax.random.normal(key, (size,), jnp.float32))(keys)


def _mask(layer: int, size: int) -> tuple[int, ...]:
  """Halves and alternate dimensions in turn, and which half is kept."""
  is_first = (
    [2 * i < size for i in range(size)] if layer // 2 % 2 else [i % 2 == 0 for i in range(size)]
  )
  return tuple(int(first == (layer % 2 == 0)) for first in is_first)


def _like(values: ArrayLike, other: ArrayLike) -> ArrayLike:
  """With leading axes of 1, so that it has as many as `other`."""
  return values.reshape((1,) * (other.ndim - values.ndim) + values.shape)
