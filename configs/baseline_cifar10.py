"""The convolutional baseline on CIFAR-10: sum of squares, latent 256, β = 0.1 after 15 epochs at 0.

Unconditional, Adam 1e-3, 30 epochs, pixels in [-1, 1]. FIGURES
"""

from ml_collections import ConfigDict

from configs import baseline_fashion_mnist


def get_config() -> ConfigDict:
  config = baseline_fashion_mnist.get_config()
  config.name = 'baseline_cifar10'
  config.latent_dim = 256
  config.beta = 0.1
  config.beta_delay_epochs = 15.0
  config.data.name = 'cifar10'
  config.data.channels = 3
  config.model.channels = (64, 128, 256, 512)
  return config
