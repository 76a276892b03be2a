"""A first stage for Fashion-MNIST: sharp reconstructions from a map of latents, 7×7×4.

Not measured yet.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('fashion_mnist')
  config.name = 'fashion_autoencoder'
  config.objective = 'autoencoder'
  config.conditional = False
  config.likelihood = 'l2'
  config.beta = 1e-2
  config.beta_schedule = 'constant'
  config.perceptual_weight = 1.0
  config.latent_dim = 7 * 7 * 4
  config.model.latent_channels = 4
  return config
