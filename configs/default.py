"""All fields at their defaults: the ResNet CVAE on scikit-learn's digits.

The other configs start from this one. `cvae_jax/config/table.py` holds the fields; `python train.py
--help` lists them.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  return default_config()
