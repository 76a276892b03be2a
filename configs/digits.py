"""The ResNet CVAE on scikit-learn's 1,797 digits: no download, 25 epochs, batch 64, β = 3.

The dataset is small: at β = 1 the aggregate posterior stays far from the prior, and many samples
fall between the digits. About 95 seconds on 2 CPU cores. A support vector machine (99.0 % on real
test digits) recognizes the label in 96.5 % of 1,000 samples from N(0, I). With β = 1 and 50 epochs
of batch 128 it was 82.6 %; with β = 4 and 30 epochs 98.9 %, but with less variety (KL 2.1 nats
instead of 3.7).
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'digits'
  config.num_epochs = 25
  config.batch_size = 64
  config.beta = 3.0
  config.eval_every_epochs = 5
  config.checkpoint_every_epochs = 5
  return config
