"""The ResNet CVAE on scikit-learn's 1,797 digits: no download.

β = 3, for so few images: at β = 1 the aggregate posterior stays far from the prior, and many
samples fall between the digits.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.name = 'digits'
  config.num_epochs = 25
  config.batch_size = 64
  config.beta = 3.0
  config.eval_every_epochs = 5
  config.checkpoint_every_epochs = 5
  return config
