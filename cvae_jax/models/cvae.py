"""The conditional VAE in one module: class embedding, encoder with two heads, prior, decoder."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax import config as config_lib
from cvae_jax.models import blocks, likelihoods, priors
from cvae_jax.models.architectures import ARCHITECTURES

Images = Float[ArrayLike, 'batch h w c']  # in the likelihood's pixel range
Labels = Int[ArrayLike, ' batch']
Mixtures = Float[ArrayLike, 'batch classes']  # weights of classes, for embeddings between them


# Classes whose embeddings are a product with one-hot labels, which is quick for few, and has the
# same bits each time on a GPU too. The cost of that product grows with their number.
MAX_ONE_HOT = 256


class Forward(NamedTuple):
  """The results of one pass; densities are in nats."""

  outputs: Float[Array, '*draws batch h w outputs']  # the parameters of p(x | z, c)
  latents: Float[Array, '*draws batch latent']
  mean: Float[Array, 'batch latent']  # of q(z | x, c)
  logvar: Float[Array, 'batch latent']
  kl: Float[Array, '*draws batch groups']  # KL(q(z | x, c) ‖ p(z | c)); see `priors.Density.kl`
  log_prior: Float[Array, '*draws batch']  # log p(z | c) of the latents


class CVAE(nn.Module):
  """q(z | x, c), p(z | c) and the parameters of p(x | z, c).

  One embedding of the class is concatenated to the encoder's features before the heads, and to the
  latents before the decoder (Sohn et al. 2015). An unconditional model has none, and ignores its
  labels.
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
  initial_sigma: float | None = None  # of a learned σ; None: the likelihood learns none

  def setup(self):
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    if self.conditional:
      self.class_embedding = nn.Dense(self.embed_dim, precision=highest)
    self.mean_head = nn.Dense(self.latent_dim, precision=highest)
    self.logvar_head = nn.Dense(self.latent_dim, precision=highest)
    if self.initial_sigma is not None:
      begin = nn.initializers.constant(math.log(self.initial_sigma))
      self.log_sigma = self.param('log_sigma', begin, self.image_shape[-1:])

  def embed(self, labels: Labels | Mixtures) -> Float[Array, 'batch embedding']:
    """The embedding of classes, or of mixtures of classes."""
    if labels.ndim == 1 and self.num_classes > MAX_ONE_HOT and not self.is_initializing():
      weights = self.class_embedding.variables['params']
      return self.activation(weights['kernel'][labels] + weights['bias'][None])
    if labels.ndim == 1:
      labels = jax.nn.one_hot(labels, self.num_classes)
    return self.activation(self.class_embedding(labels))

  def _with_class(self, features: ArrayLike, labels: Labels | Mixtures) -> Array:
    """Features [..., B, F] with the embedding, [..., B, F + embed_dim], or unchanged."""
    if not self.conditional:
      return features
    embedding = self.embed(labels)
    embedding = jnp.broadcast_to(embedding, (*features.shape[:-1], self.embed_dim))
    return jnp.concatenate([features, embedding], axis=-1)

  def encode(
    self, images: Images, labels: Labels, train: bool
  ) -> tuple[Float[Array, 'batch latent'], Float[Array, 'batch latent']]:
    """Mean and log-variance of q(z | x, c).

    Args:
      images: see `Images`.
      labels: their classes.
      train: batch norms use the statistics of this batch and update theirs; dropout is drawn.
    """
    features = self._with_class(self.encoder(images, train), labels)
    return self.mean_head(features), self.logvar_head(features)

  def log_prior(
    self, latents: Float[ArrayLike, '*draws batch latent'], labels: Labels
  ) -> Float[Array, '*draws batch']:
    """log p(z | c), in nats."""
    return self._prior(labels).log_prob(latents)

  def draw_prior(
    self, keys: Key[Array, ' batch'], labels: Labels, temperature: Float[ArrayLike, '']
  ) -> Float[Array, 'batch latent']:
    """z ~ p(z | c); see `priors.Density.draw`."""
    return self._prior(labels).draw(keys, temperature)

  def change_class(
    self, latents: Float[ArrayLike, 'batch latent'], labels: Labels, others: Labels
  ) -> Float[Array, 'batch latent']:
    """Latents of the classes `others` from the noise that gives `latents` in `labels`."""
    return self._prior(others).to_latents(self._prior(labels).to_noise(latents))

  def _prior(self, labels: Labels) -> priors.Density:
    if not self.conditional:
      labels = jnp.zeros_like(labels)
    return self.prior(labels, lambda images, labels: self.encode(images, labels, train=False))

  def decode(
    self,
    latents: Float[ArrayLike, '*draws batch latent'],
    labels: Labels | Mixtures,
    train: bool,
  ) -> Float[Array, '*draws batch h w outputs']:
    """The parameters of p(x | z, c): a value per channel, and log σ of each if it is learned.

    Args:
      latents: one draw, or several, for each label.
      labels: classes, or mixtures of them.
      train: as in `encode`.
    """
    features = self._with_class(latents, labels)
    outputs = self.decoder(features.reshape(-1, features.shape[-1]), train)
    outputs = outputs.reshape(*latents.shape[:-1], *self.image_shape)
    if self.initial_sigma is None:
      return outputs
    log_sigma = jnp.broadcast_to(self.log_sigma, outputs.shape)
    return jnp.concatenate([outputs, log_sigma], axis=-1)

  def __call__(
    self,
    images: Images,
    labels: Labels,
    draw: Callable[[Array, Array], Array],
    train: bool,
  ) -> Forward:
    """Encodes, draws latents with `draw(mean, logvar)`, one or several of each, and decodes."""
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
  """The network of a checked config.

  `config.precision` is that of convolutions; parameters, statistics, heads and outputs are float32.
  """
  image_shape = config_lib.image_shape(config.data)
  encoder, decoder = ARCHITECTURES[config.model.name](config, image_shape, blocks.style(config))
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


def init(model: CVAE, key: Key[Array, '']) -> dict:
  """The variables of an untrained model: 'params' and, with a batch norm, 'batch_stats'."""
  images, labels = jnp.zeros((1, *model.image_shape)), jnp.zeros((1,), jnp.int32)
  return model.init(key, images, labels, draw=lambda mean, logvar: mean, train=False)


def abstract_variables(model: CVAE) -> dict:
  """The shapes and dtypes of `init`'s variables, without computing them."""
  return jax.eval_shape(lambda: init(model, jax.random.key(0)))
