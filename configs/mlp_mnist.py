"""A CVAE of dense layers on dynamically binarized MNIST: widths 512 and 256, latent 16.

4 minutes on 2 shared CPU cores. On the 5,000 validation images (one posterior sample, β = 1, EMA
weights): 547.4 nats at step 0, 88.0 at the end (reconstruction 66.8, KL 21.2); pixels drawn from
the mean training image: 206.0.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('mnist')
  config.name = 'mlp_mnist'
  config.model.name = 'mlp'
  config.model.channels = (512, 256)
  config.model.norm = 'none'
  return config
