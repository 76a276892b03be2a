"""The conditional VAE: class embedding, encoder with its two heads, decoder, in one module."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from cvae_jax.models import blocks, resnet


class CVAE(nn.Module):
  """q(z | x, c) and the parameters of p(x | z, c).

  One embedding of the class is shared: it joins the encoder's features before the heads, and the
  latents before the decoder (Sohn et al. 2015).
  """

  encoder: nn.Module
  decoder: nn.Module
  image_shape: tuple[int, int, int]
  num_classes: int
  latent_dim: int
  embed_dim: int
  activation: Callable[[Array], Array]

  def setup(self):  # noqa: D102 (linen's)
    # HIGHEST: by default an accelerator multiplies float32 in fewer digits.
    highest = jax.lax.Precision.HIGHEST
    self.class_embedding = nn.Dense(self.embed_dim, precision=highest)
    self.mean_head = nn.Dense(self.latent_dim, precision=highest)
    self.logvar_head = nn.Dense(self.latent_dim, precision=highest)

  def embed(self, labels: Array) -> Array:
    """[B] int32 to [B, embed_dim]."""
    return self.activation(self.class_embedding(jax.nn.one_hot(labels, self.num_classes)))

  def encode(self, images: Array, labels: Array, train: bool) -> tuple[Array, Array]:
    """q(z | x, c).

    Args:
      images: [B, H, W, C] in the likelihood's pixel range.
      labels: [B] int32.
      train: whether batch norms use, and update from, this batch.

    Returns:
      mean and log-variance, [B, latent] float32 each.
    """
    features = jnp.concatenate([self.encoder(images, train), self.embed(labels)], axis=-1)
    return self.mean_head(features), self.logvar_head(features)

  def decode(self, latents: Array, labels: Array, train: bool) -> Array:
    """The parameters of p(x | z, c): [B, latent] and [B] to [B, H, W, C] float32."""
    return self.decoder(jnp.concatenate([latents, self.embed(labels)], axis=-1), train)

  def __call__(
    self, images: Array, labels: Array, draw: Callable[[Array, Array], Array], train: bool
  ) -> tuple[Array, Array, Array]:
    """Encodes, draws latents with `draw(mean, logvar)`, decodes.

    Returns:
      Decoder outputs [B, H, W, C], mean [B, latent], logvar [B, latent].
    """
    mean, logvar = self.encode(images, labels, train)
    return self.decode(draw(mean, logvar), labels, train), mean, logvar


def build(config) -> CVAE:
  """The module that a checked config describes; `config.precision` is what convolutions compute in.

  Parameters, the statistics of norms, the heads and the outputs are float32 in any case.
  """
  channels, style = tuple(config.model.channels), blocks.style(config)
  image_shape = (config.data.image_size, config.data.image_size, config.data.channels)
  return CVAE(
    encoder=resnet.ResNetEncoder(channels, style),
    decoder=resnet.ResNetDecoder(channels, image_shape, style),
    image_shape=image_shape,
    num_classes=config.data.num_classes,
    latent_dim=config.latent_dim,
    embed_dim=config.model.embed_dim,
    activation=style.activation,
  )


def init(model: CVAE, key: Array) -> dict:
  """The variables of an untrained model: 'params' and, with a batch norm, 'batch_stats'."""
  images, labels = jnp.zeros((1, *model.image_shape)), jnp.zeros((1,), jnp.int32)
  return model.init(key, images, labels, draw=lambda mean, logvar: mean, train=False)
