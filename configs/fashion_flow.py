"""A second stage for Fashion-MNIST: a U-Net of 2.0 million parameters in a map of latents.

Its first stage is the shipped `fashion_autoencoder`. On 2 CPU cores `configs/latent_flow.py`
is many times as fast.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('latent_flow')
  config.name = 'fashion_flow'
  config.first_stage = 'fashion_autoencoder'
  config.num_epochs = 200
  config.ema_decay = 0.9995
  config.velocity.name = 'unet'
  config.velocity.width = 160
  config.velocity.depth = 2
  return config
