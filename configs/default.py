"""Every field of a config at its default: the ResNet CVAE on scikit-learn's digits.

The other configs start from this one and change what they are about. The fields are those of
`cvae_jax/config.py`; `python train.py --help` lists them.
"""

from ml_collections import ConfigDict

from cvae_jax import config


def get_config() -> ConfigDict:
  return config.default()
