"""A CVAE of dense layers alone on dynamically binarized MNIST: 512 and 256 wide, latent 16.

FIGURES
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
  config = mnist.get_config()
  config.name = 'mlp_mnist'
  config.model.name = 'mlp'
  config.model.channels = (512, 256)
  config.model.norm = 'none'
  return config
