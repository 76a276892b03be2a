"""Flow matching in the latents of a trained model: a second stage.

  python train.py --config latent_flow --config.first_stage=runs/fashion_autoencoder

About 20 seconds per epoch on 2 CPU cores. A first stage of other data needs their data.name, and
digits no mirror images. For latents that are a map, velocity.name=unet or dit are there too, and
many times as slow on a CPU.
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
  config.batch_size = 256
  config.learning_rate = 1e-3
  config.clip_norm = 0.0
  config.weight_decay = 0.0
  config.model.embed_dim = 64
  config.velocity.name = 'mlp'
  config.velocity.width = 512
  config.velocity.depth = 6
  return config
