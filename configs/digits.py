"""The ResNet CVAE on scikit-learn's 1,797 digits: no download."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.name = 'digits'
  return config
