"""The ResNet CVAE on CIFAR-10: discretized logistic likelihood, 3 stages, latent 128, flips.

The likelihood is over the 256 levels of each pixel, so bits per dimension compare with those of
papers. 4.9 million parameters, 2.3 seconds per step on 2 CPU cores: use an accelerator. Results:
not measured yet.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'cifar10'
  config.latent_dim = 128
  config.likelihood = 'discretized_logistic'
  config.data.name = 'cifar10'
  config.data.image_size = 32
  config.data.channels = 3
  config.data.validation_examples = 5000
  config.data.augment.flip_probability = 0.5
  config.model.channels = (64, 128, 256)
  return config
