"""The ResNet CVAE on Fashion-MNIST, grey values: 50 epochs, batch 128, latent 16.

The Bernoulli term is a cross-entropy on grey values here: good for training, no likelihood to
compare. About 2 minutes an epoch on 2 CPU cores. FIGURES
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.name = 'fashion_mnist'
  config.data.name = 'fashion_mnist'
  config.data.validation_examples = 5000
  return config
