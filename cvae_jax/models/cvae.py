"""The conditional VAE in one module: class embedding, encoder with two heads, prior, decoder."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from cvae_jax.models import (
  blocks,
  conv,  # noqa: F401 (it registers an architecture, as do mlp and resnet)
  likelihoods,
  mlp,  # noqa: F401
  priors,
  resnet,  # noqa: F401
)
from cvae_jax.models.architectures import ARCHITECTURES
from cvae_jax.runtime.errors import InputError


class Forward(NamedTuple):
  """What one pass gives, in nats where it is a density; [...] are axes of several draws, if any."""

  outputs: Array  # [..., B, H, W, parameters of p(x | z, c)] float32
  latents: Array  # [..., B, latent]
  mean: Array  # [B, latent]
  logvar: Array  # [B, latent]
  kl: Array  # KL(q(z | x, c) ‖ p(z | c)), [B, latent] or [..., B, 1]; see `priors.Density`
  log_prior: Array  # log p(z | c) of the latents, [..., B]


class CVAE(nn.Module):
  """q(z | x, c), p(z | c) and the parameters of p(x | z, c).

  One embedding of the class is shared: it joins the encoder's features before the heads, and the
  latents before the decoder (Sohn et al. 2015). An unconditional model has none, and its labels
  are not read.
  """

  encoder: nn.Module
  decoder: nn.Module
  prior: nn.Module
  image_shape: tuple[int, int, int]
  conditional: bool
  num_classes: int
  latent_dim: int
  embed_dim: int
  activation: Callable[[Array], Array]
  # Where the likelihood learns its scale: the standard deviation that it begins at.
  initial_sigma: float | None = None

  def setup(self):  # noqa: D102 (linen's)
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    if self.conditional:
      self.class_embedding = nn.Dense(self.embed_dim, precision=highest)
    self.mean_head = nn.Dense(self.latent_dim, precision=highest)
    self.logvar_head = nn.Dense(self.latent_dim, precision=highest)
    if self.initial_sigma is not None:
      begin = nn.initializers.constant(math.log(self.initial_sigma))
      self.log_sigma = self.param('log_sigma', begin, self.image_shape[-1:])

  def embed(self, labels: Array) -> Array:
    """[B] int32, or [B, num_classes] shares of a mixture of classes, to [B, embed_dim]."""
    if labels.ndim == 1:
      labels = jax.nn.one_hot(labels, self.num_classes)
    return self.activation(self.class_embedding(labels))

  def _with_class(self, features: Array, labels: Array) -> Array:
    """[..., B, F] to [..., B, F + embed_dim]; unchanged in an unconditional model."""
    if not self.conditional:
      return features
    embedding = self.embed(labels)
    embedding = jnp.broadcast_to(embedding, (*features.shape[:-1], self.embed_dim))
    return jnp.concatenate([features, embedding], axis=-1)

  def encode(self, images: Array, labels: Array, train: bool) -> tuple[Array, Array]:
    """q(z | x, c).

    Args:
      images: [B, H, W, C] in the likelihood's pixel range.
      labels: [B] int32.
      train: whether batch norms use, and update from, this batch, and dropout is drawn.

    Returns:
      mean and log-variance, [B, latent] float32 each.
    """
    features = self._with_class(self.encoder(images, train), labels)
    return self.mean_head(features), self.logvar_head(features)

  def log_prior(self, latents: Array, labels: Array) -> Array:
    """log p(z | c), [..., B] nats, of latents [..., B, latent] and labels [B] int32."""
    return self._prior(labels).log_prob(latents)

  def draw_prior(self, keys: Array, labels: Array, temperature: Array) -> Array:
    """z ~ p(z | c), [B, latent], from [B] keys and labels [B] int32; see `priors.Density`."""
    return self._prior(labels).draw(keys, temperature)

  def change_class(self, latents: Array, labels: Array, others: Array) -> Array:
    """What the noise that gives `latents` [B, latent] in the classes `labels` gives in `others`."""
    return self._prior(others).to_latents(self._prior(labels).to_noise(latents))

  def _prior(self, labels: Array) -> priors.Density:
    if not self.conditional:
      labels = jnp.zeros_like(labels)
    return self.prior(labels, lambda images, labels: self.encode(images, labels, train=False))

  def decode(self, latents: Array, labels: Array, train: bool) -> Array:
    """The parameters of p(x | z, c).

    Args:
      latents: [..., B, latent], where [...] are several draws for each label.
      labels: [B] int32, or [B, num_classes] shares of a mixture.
      train: as in `encode`.

    Returns:
      [..., B, H, W, C] float32; where the likelihood learns its scale [..., B, H, W, 2C], the
      second half being log σ of each channel.
    """
    features = self._with_class(latents, labels)
    outputs = self.decoder(features.reshape(-1, features.shape[-1]), train)
    outputs = outputs.reshape(*latents.shape[:-1], *self.image_shape)
    if self.initial_sigma is None:
      return outputs
    log_sigma = jnp.broadcast_to(self.log_sigma, outputs.shape)
    return jnp.concatenate([outputs, log_sigma], axis=-1)

  def __call__(
    self, images: Array, labels: Array, draw: Callable[[Array, Array], Array], train: bool
  ) -> Forward:
    """Encodes, draws latents [..., B, latent] with `draw(mean, logvar)`, decodes."""
    mean, logvar = self.encode(images, labels, train)
    latents = draw(mean, logvar)
    prior = self._prior(labels)
    return Forward(
      self.decode(latents, labels, train),
      latents,
      mean,
      logvar,
      prior.kl(mean, logvar, latents),
      prior.log_prob(latents),
    )


def build(config) -> CVAE:
  """The module that a checked config describes; `config.precision` is what convolutions compute in.

  Parameters, the statistics of norms, the heads and the outputs are float32 in any case.
  """
  image_shape = (config.data.image_size, config.data.image_size, config.data.channels)
  build_networks = ARCHITECTURES[config.model.name]
  encoder, decoder = build_networks(config, image_shape, blocks.style(config))
  learns_sigma = likelihoods.build(config).learns_sigma
  activation = blocks.ACTIVATIONS[config.model.activation]
  return CVAE(
    encoder=encoder,
    decoder=decoder,
    prior=priors.build(config, image_shape, activation),
    image_shape=image_shape,
    conditional=config.conditional,
    num_classes=config.data.num_classes,
    latent_dim=config.latent_dim,
    embed_dim=config.model.embed_dim,
    activation=activation,
    initial_sigma=config.sigma if learns_sigma else None,
  )


def check(config) -> None:
  """Raises InputError for a conditional model of data without classes."""
  if config.conditional and not config.data.num_classes:
    raise InputError(
      'conditional=True needs classes, but data.num_classes=0. Set --config.conditional=False.'
    )


def init(model: CVAE, key: Array) -> dict:
  """The variables of an untrained model: 'params' and, with a batch norm, 'batch_stats'."""
  images, labels = jnp.zeros((1, *model.image_shape)), jnp.zeros((1,), jnp.int32)
  return model.init(key, images, labels, draw=lambda mean, logvar: mean, train=False)


def abstract_variables(model: CVAE) -> dict:
  """The shapes and dtypes of `init`, without computing anything."""
  return jax.eval_shape(lambda: init(model, jax.random.key(0)))
