"""The ResNet CVAE on dynamically binarized MNIST: 50 epochs, batch 128, latent 16."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.name = 'mnist'
  config.data.name = 'mnist'
  config.data.binarize = 'dynamic'
  config.data.validation_examples = 5000
  return config
