"""A second stage for CIFAR-10: a U-Net in the latents of `configs/cifar10_autoencoder.py`.

  python train.py --config cifar10_autoencoder
  python train.py --config cifar10_flow

Needs an accelerator.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('fashion_flow')
  config.name = 'cifar10_flow'
  config.first_stage = 'runs/cifar10_autoencoder'
  config.data.name = 'cifar10'
  config.data.image_size = 32
  config.data.channels = 3
  config.data.augment.flip_probability = 0.5
  config.num_epochs = 400
  config.batch_size = 512
  config.learning_rate = 5e-4
  config.precision = 'bfloat16'
  config.velocity.width = 320
  config.velocity.depth = 3
  return config
