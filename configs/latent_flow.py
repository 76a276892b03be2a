"""Flow matching in the latents of a trained model: a second stage.

  python train.py --config latent_flow --config.first_stage=runs/fashion_autoencoder

About 20 seconds per epoch on 2 CPU cores. A first stage of other data needs their data.name. Mirror
images (data.augment.flip_probability) are for data that have them: the shoes of Fashion-MNIST all
point to the left. For latents that are a map, velocity.name=unet is better and takes some 3 times
as long: see `configs/fashion_flow.py`.
"""

from ml_collections import ConfigDict

from cvae_jax.config import default


def get_config() -> ConfigDict:
  config = default()
  config.name = 'latent_flow'
  config.objective = 'flow_matching'
  config.data.name = 'fashion_mnist'
  config.data.validation_examples = 5_000
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
