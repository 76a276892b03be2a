"""p(z | c): what latents are drawn from, and what the KL is measured against.

A prior is a module whose call gives the density of each class of a batch: `log_prob`, `kl`,
`draw` and what it draws from. All in float32.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from cvae_jax.models import gaussians
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry

# (images [N, H, W, C], labels [N]) -> mean and log-variance of q(z | x, c), [N, latent].
Encode = Callable[[Array, Array], tuple[Array, Array]]
# A coupling scales by at most e^2 either way, so that no product of them overflows.
MAX_LOG_SCALE = 2.0
MAX_PSEUDO_PIXELS = 1 << 24  # of a vamp prior's pseudo-inputs, 64 MB

# A function of (config, image shape, activation) -> a module; see `Density`.
PRIORS = Registry('prior')


class Density(Protocol):
  """p(z | c) for the classes of a batch of B."""

  def log_prob(self, latents: Array) -> Array:
    """[..., B, latent] to [..., B] nats."""

  def kl(self, mean: Array, logvar: Array, latents: Array) -> Array:
    """KL(N(mean, exp(logvar)) ‖ p(z | c)) of posteriors [B, latent], in nats.

    In closed form per latent dimension, [B, latent]; where there is none, estimated from their
    draws `latents` [..., B, latent] by log q(z | x, c) − log p(z | c), [..., B, 1]. Sum the last
    axis for the KL of one image.
    """

  def draw(self, keys: Array, temperature: Array) -> Array:
    """[B] keys to [B, latent]; `temperature` multiplies the standard deviation of the noise."""

  def to_noise(self, latents: Array) -> Any:
    """What gives [B, latent]: noise to give latents of the same style in another class."""

  def to_latents(self, noise: Any) -> Array:
    """The inverse, [B, latent]."""


class Gaussian(NamedTuple):
  """N(mean, exp(logvar)) of each class."""

  mean: Array  # [B, latent]
  logvar: Array  # [B, latent]

  def log_prob(self, latents: Array) -> Array:  # noqa: D102 (Density's)
    mean, logvar = (_like(x, latents) for x in self)
    return gaussians.log_normal(latents, mean, logvar)

  def kl(self, mean: Array, logvar: Array, latents: Array) -> Array:  # noqa: D102
    return gaussians.kl(mean, logvar, self.mean, self.logvar)

  def draw(self, keys: Array, temperature: Array) -> Array:  # noqa: D102
    return self.to_latents(temperature * _noise(keys, self.mean.shape[-1]))

  def to_noise(self, latents: Array) -> Array:  # noqa: D102
    return (latents - self.mean) * jnp.exp(-0.5 * self.logvar)

  def to_latents(self, noise: Array) -> Array:  # noqa: D102
    return self.mean + jnp.exp(0.5 * self.logvar) * noise


class Mixture(NamedTuple):
  """K equally likely Gaussians of each class."""

  mean: Array  # [B, K, latent]
  logvar: Array  # [B, K, latent]

  def log_prob(self, latents: Array) -> Array:  # noqa: D102
    return jax.nn.logsumexp(self._log_probs(latents), axis=-1) - math.log(self.mean.shape[1])

  def kl(self, mean: Array, logvar: Array, latents: Array) -> Array:  # noqa: D102
    return estimated_kl(self, mean, logvar, latents)

  def draw(self, keys: Array, temperature: Array) -> Array:  # noqa: D102
    choices, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    component = jax.vmap(lambda key: jax.random.randint(key, (), 0, self.mean.shape[1]))(choices)
    return self._component(component).draw(noise_keys, temperature)

  def to_noise(self, latents: Array) -> tuple[Array, Array]:
    """The likeliest component, [B], and its noise, [B, latent].

    Nothing ties the components of one class to those of another: the style is that of the noise.
    """
    component = jnp.argmax(self._log_probs(latents), axis=-1)
    return component, self._component(component).to_noise(latents)

  def to_latents(self, noise: tuple[Array, Array]) -> Array:  # noqa: D102
    return self._component(noise[0]).to_latents(noise[1])

  def _log_probs(self, latents: Array) -> Array:
    """[..., B, latent] to those of each component, [..., B, K]."""
    latents = latents[..., None, :]
    mean, logvar = (_like(x, latents) for x in self)
    return gaussians.log_normal(latents, mean, logvar)

  def _component(self, number: Array) -> Gaussian:
    """The one of each class that [B] numbers name."""
    return Gaussian(*(jnp.take_along_axis(x, number[:, None, None], axis=1)[:, 0] for x in self))


class StandardNormal(nn.Module):
  """N(0, I), whatever the class; no parameters."""

  latent_dim: int

  def __call__(self, labels: Array, encode: Encode) -> Gaussian:
    """Labels [B] to densities."""
    zeros = jnp.zeros((len(labels), self.latent_dim))
    return Gaussian(zeros, zeros)


class ClassGaussian(nn.Module):
  """A diagonal Gaussian for each class, learned; it begins as N(0, I)."""

  num_classes: int
  latent_dim: int

  @nn.compact
  def __call__(self, labels: Array, encode: Encode) -> Gaussian:
    """Labels [B] to densities."""
    shape = (self.num_classes, self.latent_dim)
    mean = self.param('mean', nn.initializers.zeros, shape)
    logvar = self.param('logvar', nn.initializers.zeros, shape)
    return Gaussian(mean[labels], logvar[labels])


class Vamp(nn.Module):
  """(1/K) Σₖ q(z | uₖ, c): the posteriors of K learned pseudo-inputs (Tomczak & Welling 2018).

  Each class has pseudo-inputs of its own; an unconditional model counts as one class. Nothing
  keeps them in the range of pixels. All of them are encoded whenever the density is asked for.
  """

  num_classes: int
  num_components: int  # K
  image_shape: tuple[int, int, int]

  @nn.compact
  def __call__(self, labels: Array, encode: Encode) -> Mixture:
    """Labels [B] to densities."""
    count = self.num_classes * self.num_components
    inputs = self.param('inputs', nn.initializers.uniform(1.0), (count, *self.image_shape))
    own = jnp.repeat(jnp.arange(self.num_classes), self.num_components, total_repeat_length=count)
    mean, logvar = (
      x.reshape(self.num_classes, self.num_components, -1) for x in encode(inputs, own)
    )
    return Mixture(mean[labels], logvar[labels])


class Flow(nn.Module):
  """A conditional RealNVP (Dinh et al. 2017): z = f_c(u) with u ~ N(0, I); it begins as N(0, I).

  Each coupling moves half of the dimensions, given the other half and the class.
  """

  num_classes: int  # 0 in an unconditional model
  latent_dim: int
  num_layers: int
  hidden_dim: int
  activation: Callable[[Array], Array]

  def setup(self):  # noqa: D102 (linen's)
    self.couplings = [
      Coupling(_mask(layer, self.latent_dim), self.hidden_dim, self.activation)
      for layer in range(self.num_layers)
    ]

  def __call__(self, labels: Array, encode: Encode) -> 'FlowDensity':
    """Labels [B] to densities."""
    return FlowDensity(self, jax.nn.one_hot(labels, self.num_classes))

  def to_noise(self, latents: Array, context: Array) -> tuple[Array, Array]:
    """u = f_c⁻¹(z), [..., B, latent], and log |det ∂u/∂z|, [..., B], for a context [B, classes]."""
    log_det = jnp.zeros(latents.shape[:-1])
    for coupling in self.couplings:
      shift, log_scale = coupling(latents, context)
      latents = (latents - shift) * jnp.exp(-log_scale)
      log_det -= jnp.sum(log_scale, axis=-1)
    return latents, log_det

  def to_latents(self, noise: Array, context: Array) -> Array:
    """z = f_c(u), [..., B, latent]."""
    for coupling in reversed(self.couplings):
      # It reads only what it leaves as it is, so that both directions see the same.
      shift, log_scale = coupling(noise, context)
      noise = noise * jnp.exp(log_scale) + shift
    return noise


class Coupling(nn.Module):
  """Shift and log-scale of the dimensions where `mask` is 0, from those where it is 1."""

  mask: tuple[int, ...]
  hidden_dim: int
  activation: Callable[[Array], Array]

  @nn.compact
  def __call__(self, values: Array, context: Array) -> tuple[Array, Array]:
    """[..., B, latent] and [B, classes] to two [..., B, latent], 0 where the mask is 1."""
    kept = jnp.asarray(self.mask, jnp.float32)
    kept = _like(kept, values)
    context = jnp.broadcast_to(_like(context, values), (*values.shape[:-1], context.shape[-1]))
    hidden = jnp.concatenate([values * kept, context], axis=-1)
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    for layer in range(2):
      hidden = nn.Dense(self.hidden_dim, precision=highest, name=f'dense{layer}')(hidden)
      hidden = self.activation(hidden)
    # Zeros, so that the flow begins as the identity.
    output = nn.Dense(
      2 * len(self.mask), precision=highest, kernel_init=nn.initializers.zeros, name='output'
    )
    shift, log_scale = jnp.split(output(hidden) * jnp.concatenate([1 - kept] * 2, axis=-1), 2, -1)
    return shift, MAX_LOG_SCALE * jnp.tanh(log_scale / MAX_LOG_SCALE)


class FlowDensity(NamedTuple):
  """The density of a flow at the classes of a batch."""

  flow: Flow
  context: Array  # [B, classes]

  def log_prob(self, latents: Array) -> Array:  # noqa: D102
    noise, log_det = self.flow.to_noise(latents, self.context)
    zeros = jnp.zeros((1,) * noise.ndim)
    return gaussians.log_normal(noise, zeros, zeros) + log_det

  def kl(self, mean: Array, logvar: Array, latents: Array) -> Array:  # noqa: D102
    return estimated_kl(self, mean, logvar, latents)

  def draw(self, keys: Array, temperature: Array) -> Array:  # noqa: D102
    return self.to_latents(temperature * _noise(keys, self.flow.latent_dim))

  def to_noise(self, latents: Array) -> Array:  # noqa: D102
    return self.flow.to_noise(latents, self.context)[0]

  def to_latents(self, noise: Array) -> Array:  # noqa: D102
    return self.flow.to_latents(noise, self.context)


def build(config, image_shape: tuple[int, int, int], activation) -> nn.Module:
  """The prior that `config.prior` names, with its sizes."""
  return PRIORS[config.prior](config, image_shape, activation)


def _num_classes(config) -> int:
  return config.data.num_classes if config.conditional else 0


@PRIORS.register('standard')
def _standard(config, image_shape, activation) -> StandardNormal:
  return StandardNormal(config.latent_dim)


def _check_classes(config) -> None:
  if not config.conditional:
    raise InputError(
      "prior='class_gaussian' has a Gaussian for each class, but conditional=False. Choose one of: "
      'standard, vamp, flow.'
    )


@PRIORS.register('class_gaussian', _check_classes)
def _class_gaussian(config, image_shape, activation) -> ClassGaussian:
  return ClassGaussian(_num_classes(config), config.latent_dim)


def _check_vamp(config) -> None:
  if config.model.norm == 'batch':
    raise InputError(
      "prior='vamp' is made of posteriors, which model.norm='batch' changes from batch to batch. "
      'Set model.norm to group or none.'
    )
  size = config.data.image_size**2 * config.data.channels * config.model.num_pseudo_inputs
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
    _num_classes(config),
    config.latent_dim,
    model.num_flow_layers,
    model.flow_hidden_dim,
    activation,
  )


def estimated_kl(density: Density, mean: Array, logvar: Array, latents: Array) -> Array:
  """log q(z | x, c) − log p(z | c) at draws z: the KL of `Density.kl` without a closed form."""
  log_posterior = gaussians.log_normal(latents, _like(mean, latents), _like(logvar, latents))
  return (log_posterior - density.log_prob(latents))[..., None]


def _noise(keys: Array, size: int) -> Array:
  return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def _mask(layer: int, size: int) -> tuple[int, ...]:
  """Halves and alternate dimensions in turn, and which half is kept."""
  is_first = (
    [2 * i < size for i in range(size)] if layer // 2 % 2 else [i % 2 == 0 for i in range(size)]
  )
  return tuple(int(first == (layer % 2 == 0)) for first in is_first)


def _like(values: Array, other: Array) -> Array:
  """With leading axes of 1, so that it has as many as `other`."""
  return values.reshape((1,) * (other.ndim - values.ndim) + values.shape)
