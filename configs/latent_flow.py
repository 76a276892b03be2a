"""Flow matching in the latents of a trained model: a second stage.

  python train.py --config latent_flow --config.first_stage=runs/fashion_autoencoder

The defaults fit the spatial latents of fashion_autoencoder; a model of flat latents, such as
runs/mnist, needs --config.velocity.name=mlp and the data of its own run.
"""

from ml_collections import ConfigDict

from cvae_jax.config import default


def get_config() -> ConfigDict:
  config = default()
  config.name = 'latent_flow'
  config.objective = 'flow_matching'
  config.data.name = 'fashion_mnist'
  config.data.validation_examples = 5_000
  config.data.augment.flip_probability = 0.5
  config.condition_dropout = 0.1
  config.num_epochs = 60
  config.batch_size = 128
  config.learning_rate = 1e-3
  config.clip_norm = 0.0
  config.weight_decay = 0.0
  config.model.embed_dim = 64
  config.velocity.name = 'unet'
  return config
