"""The conditional VAE in one module: class embedding, encoder with two heads, prior, decoder."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from cvae_jax import config as config_lib
from cvae_jax.models import blocks, likelihoods, missing, priors
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models.architectures import ARCHITECTURES
from cvae_jax.models.conditions import Input

Images = Float[ArrayLike, 'batch h w c']  # in the likelihood's pixel range


class Mixtures(NamedTuple):
  """Inputs of the embedding that lie between those of conditions; see `conditions.inputs_of`."""

  inputs: Float[ArrayLike, 'batch inputs']


# Numbers of classes, or the rows of a table (see `config.Column`), where NaN is unknown.
Conditions = Int[ArrayLike, ' batch'] | Float[ArrayLike, 'batch columns'] | Mixtures

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

  One embedding of the conditions is concatenated to the encoder's features before the heads, and
  to the latents before the decoder (Sohn et al. 2015). An unconditional model has none, and
  ignores its labels. Latents that are a map are one position of the encoder's map each.
  """

  encoder: nn.Module
  decoder: nn.Module
  prior: nn.Module
  image_shape: tuple[int, int, int]
  conditional: bool
  num_classes: int
  columns: tuple[Input, ...]  # of the table of conditions; () where they are numbers of classes
  latent_dim: int
  embed_dim: int
  activation: Callable[[Array], Array]
  initial_sigma: float | None = None  # of a learned σ; None: the likelihood learns none
  latent_map: tuple[int, int, int] | None = None  # what the latents are row by row, if a map

  def setup(self):
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    if self.conditional:
      self.class_embedding = nn.Dense(self.embed_dim, precision=highest)
    names = [column.num_names for column in self.columns if column.is_inferred]
    self.classifiers = [nn.Dense(count, precision=highest) for count in names]
    size = self.latent_map[-1] if self.latent_map else self.latent_dim
    self.mean_head = nn.Dense(size, precision=highest)
    self.logvar_head = nn.Dense(size, precision=highest)
    if self.initial_sigma is not None:
      begin = nn.initializers.constant(math.log(self.initial_sigma))
      self.log_sigma = self.param('log_sigma', begin, self.image_shape[-1:])

  def embed(self, conditions: Conditions) -> Float[Array, 'batch embedding']:
    """SiLU(Dense(·)) of all conditions together, with the model's activation."""
    is_number = not isinstance(conditions, Mixtures) and not self.columns
    if is_number and self.num_classes > MAX_ONE_HOT and not self.is_initializing():
      weights = self.class_embedding.variables['params']
      return self.activation(weights['kernel'][conditions] + weights['bias'][None])
    return self.activation(self.class_embedding(self._inputs(conditions)))

  def _inputs(self, conditions: Conditions) -> Float[Array, 'batch inputs']:
    if isinstance(conditions, Mixtures):
      return conditions.inputs
    return conditions_lib.embedded_of(self.columns, self.num_classes, conditions)

  def _with_embedding(self, features: ArrayLike, conditions: Conditions) -> Array:
    """Features [..., B, F] with the embedding, [..., B, F + embed_dim], or unchanged."""
    if not self.conditional:
      return features
    embedding = self.embed(conditions)
    embedding = jnp.broadcast_to(embedding, (*features.shape[:-1], self.embed_dim))
    return jnp.concatenate([features, embedding], axis=-1)

  def encode(
    self, images: Images, conditions: Conditions, train: bool
  ) -> tuple[Float[Array, 'batch latent'], Float[Array, 'batch latent']]:
    """Mean and log-variance of q(z | x, c).

    Args:
      images: see `Images`.
      conditions: theirs; a missing class is taken for the likeliest, where there is a q(c | x).
      train: batch norms use the statistics of this batch and update theirs; dropout is drawn.
    """
    features = self.encoder(images, train)
    if self.is_inferring:
      log_probs = self._log_probs(features)
      conditions = missing.likeliest(self.columns, conditions, log_probs)
    return self.posterior(features, conditions)

  def posterior(
    self, features: Float[ArrayLike, 'batch features'], conditions: Conditions
  ) -> tuple[Float[Array, 'batch latent'], Float[Array, 'batch latent']]:
    """Mean and log-variance of q(z | x, c), from what the encoder makes of images."""
    features = self._with_embedding(features, conditions)
    if not self.latent_map:
      return self.mean_head(features), self.logvar_head(features)
    # 1×1 convolutions of the encoder's map.
    count = features.shape[0]  # not len(): exports leave it open
    height, width = self.latent_map[:2]
    pixels = features.reshape(count, height, width, features.shape[1] // (height * width))
    heads = self.mean_head, self.logvar_head
    return tuple(head(pixels).reshape(count, self.latent_dim) for head in heads)

  @property
  def is_inferring(self) -> bool:
    """Whether there is a q(c | x)."""
    return any(column.is_inferred for column in self.columns)

  def infer(self, images: Images, train: bool) -> missing.LogProbs:
    """log q(c | x) of each category that may be missing."""
    return self._log_probs(self.encoder(images, train))

  def _log_probs(self, features: ArrayLike) -> missing.LogProbs:
    return tuple(jax.nn.log_softmax(head(features)) for head in self.classifiers)

  def log_prior(
    self, latents: Float[ArrayLike, '*draws batch latent'], conditions: Conditions
  ) -> Float[Array, '*draws batch']:
    """log p(z | c), in nats."""
    return self.density(conditions).log_prob(latents)

  def draw_prior(
    self, keys: Key[Array, ' batch'], conditions: Conditions, temperature: Float[ArrayLike, '']
  ) -> Float[Array, 'batch latent']:
    """z ~ p(z | c); see `priors.Density.draw`."""
    return self.density(conditions).draw(keys, temperature)

  def from_noise(
    self,
    noise: Float[ArrayLike, 'batch latent'],
    uniform: Float[ArrayLike, ' batch'] | None,
    conditions: Conditions,
  ) -> Float[Array, 'batch latent']:
    """z ~ p(z | c) from given randomness; see `priors.Density.from_noise`."""
    return self.density(conditions).from_noise(noise, uniform)

  def change_conditions(
    self, latents: Float[ArrayLike, 'batch latent'], conditions: Conditions, others: Conditions
  ) -> Float[Array, 'batch latent']:
    """Latents of the conditions `others` from the noise that gives `latents` in `conditions`."""
    return self.density(others).to_latents(self.density(conditions).to_noise(latents))

  def density(self, conditions: Conditions) -> priors.Density:
    """p(z | c)."""
    if not self.conditional:
      conditions = jnp.zeros(conditions.shape[0], jnp.int32)
    labels = conditions
    if self.columns:
      labels = conditions_lib.labels_of(self.columns, conditions)
      context = self.embed(conditions)
    elif self.conditional:
      context = jax.nn.one_hot(labels, self.num_classes)
    else:
      context = jnp.zeros((labels.shape[0], 0))

    def encode(images, labels):
      conditions = conditions_lib.rows_of(self.columns, labels) if self.columns else labels
      return self.encode(images, conditions, train=False)

    return self.prior(labels, context, encode)

  def decode(
    self,
    latents: Float[ArrayLike, '*draws batch latent'],
    conditions: Conditions,
    train: bool,
  ) -> Float[Array, '*draws batch h w outputs']:
    """The parameters of p(x | z, c): a value per channel, and log σ of each if it is learned.

    Args:
      latents: one draw, or several, for each condition.
      conditions: theirs, or mixtures.
      train: as in `encode`.
    """
    features = self._with_embedding(latents, conditions)
    outputs = self.decoder(features.reshape(-1, features.shape[-1]), train)
    outputs = outputs.reshape(*latents.shape[:-1], *self.image_shape)
    if self.initial_sigma is None:
      return outputs
    log_sigma = jnp.broadcast_to(self.log_sigma, outputs.shape)
    return jnp.concatenate([outputs, log_sigma], axis=-1)

  def __call__(
    self,
    images: Images,
    conditions: Conditions,
    draw: Callable[[Array, Array], Array],
    train: bool,
  ) -> Forward:
    """Encodes, draws latents with `draw(mean, logvar)`, one or several of each, and decodes."""
    features = self.encoder(images, train)
    if self.is_initializing():
      self._log_probs(features)
    return self._pass(features, conditions, draw, train)

  def every_completion(
    self,
    images: Images,
    conditions: Float[ArrayLike, 'batch columns'],
    hidden: Bool[ArrayLike, ' batch'] | None,
    draw: Callable[[Array, Array], Array],
    train: bool,
  ) -> tuple[Forward, missing.LogProbs]:
    """`__call__` with every choice for missing classes, and log q(c | x).

    Args:
      images: see `Images`.
      conditions: theirs.
      hidden: which images are decoded without conditions, if any.
      draw: of mean and log-variance [K, B, latent].
      train: as in `encode`.

    Returns:
      The results of all K completions, [K, B, ...] each.
    """
    features = self.encoder(images, train)
    rows = conditions_lib.hide(missing.completions(self.columns, conditions), hidden)
    flat = jnp.tile(features, (len(rows), 1))
    unflat = lambda x: x.reshape(len(rows), -1, *x.shape[1:])  # noqa: E731
    forward = self._pass(
      flat,
      rows.reshape(-1, rows.shape[-1]),
      lambda mean, logvar: draw(unflat(mean), unflat(logvar)).reshape(mean.shape),
      train,
    )
    return Forward(*map(unflat, forward)), self._log_probs(features)

  def _pass(
    self,
    features: ArrayLike,
    conditions: Conditions,
    draw: Callable[[Array, Array], Array],
    train: bool,
  ) -> Forward:
    mean, logvar = self.posterior(features, conditions)
    latents = draw(mean, logvar)
    prior = self.density(conditions)
    return Forward(
      self.decode(latents, conditions, train),
      latents,
      mean,
      logvar,
      prior.kl(mean, logvar, latents),
      prior.log_prob(latents),
    )


def build(config, folded: bool | None = None) -> CVAE:
  """The network of a checked config; `folded` as in `blocks.style`.

  `config.precision` is that of convolutions; parameters, statistics, heads and outputs are float32.
  """
  image_shape, style = config_lib.image_shape(config.data), blocks.style(config, folded)
  encoder, decoder = ARCHITECTURES[config.model.name](config, image_shape, style)
  learns_sigma = likelihoods.build(config).learns_sigma
  activation = blocks.ACTIVATIONS[config.model.activation]
  return CVAE(
    encoder=encoder,
    decoder=decoder,
    prior=priors.build(config, image_shape, activation),
    image_shape=image_shape,
    conditional=config.conditional,
    num_classes=config.data.num_classes,
    columns=conditions_lib.of_config(config),
    latent_dim=config.latent_dim,
    embed_dim=config.model.embed_dim,
    activation=activation,
    initial_sigma=config.sigma if learns_sigma else None,
    latent_map=config_lib.latent_shape(config) if config.model.latent_channels else None,
  )


def init(model: CVAE, key: Key[Array, '']) -> dict:
  """The variables of an untrained model: 'params' and, with a batch norm, 'batch_stats'."""
  images, conditions = jnp.zeros((1, *model.image_shape)), jnp.zeros((1,), jnp.int32)
  if model.columns:
    conditions = jnp.zeros((1, len(model.columns)))
  return model.init(key, images, conditions, draw=lambda mean, logvar: mean, train=False)


def abstract_variables(model: CVAE) -> dict:
  """The shapes and dtypes of `init`'s variables, without computing them."""
  return jax.eval_shape(lambda: init(model, jax.random.key(0)))
