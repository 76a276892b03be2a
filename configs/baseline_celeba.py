"""The convolutional baseline on CelebA: centre crop 140, 64×64, latent 256, β to 0.9 in 2 epochs.

Unconditional, Adam 1e-3, 30 epochs, pixels in [0, 1], the validation split of the dataset. Cost and
results: not measured yet.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('baseline_fashion_mnist')
  config.name = 'baseline_celeba'
  config.latent_dim = 256
  config.beta = 0.9
  config.beta_schedule = 'linear'
  config.beta_warmup_epochs = 2.0
  config.data.name = 'celeba'
  config.data.crop_size = 140
  config.data.image_size = 64
  config.data.channels = 3
  config.data.num_classes = 2
  config.data.pixel_range = 'unit'
  config.model.channels = (64, 128, 256, 512)
  return config
