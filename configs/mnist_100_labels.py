"""MNIST with 100 labels: the other 54,900 training images have none (M2; Kingma et al. 2014).

About 30 seconds per epoch on 2 CPU cores. Test error of q(c | x) over three choices of the labels
(data.split_seed and seed 0, 1, 2; EMA weights): 3.02, 4.20 and 4.01 %. Images are shifted and
turned, which the published 11.97 % (M2) and 3.33 % (M1+M2) do without.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('mnist')
  config.name = 'mnist_100_labels'
  config.data.num_labels = 100
  config.data.labelled_fraction = 1 / 3
  config.data.augment.shift = 2.0
  config.data.augment.rotation = 15.0
  config.num_epochs = 20
  config.batch_size = 150
  config.latent_dim = 8
  config.beta_warmup_epochs = 0.0
  config.clip_norm = 0.0
  config.classifier_weight = 33.0
  config.classifier_warmup_epochs = 4.0
  config.model.name = 'conv_mlp'
  config.model.channels = (32, 64, 128)
  config.model.hidden_dim = 200
  config.model.embed_dim = 32
  config.model.norm = 'batch'
  config.model.dropout = 0.3
  return config
