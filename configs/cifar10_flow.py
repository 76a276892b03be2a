"""A second stage for CIFAR-10: a U-Net in the latents of `configs/cifar10_autoencoder.py`.

  python train.py --config cifar10_autoencoder
  python train.py --config cifar10_flow

11 million parameters. 206 epochs took 276 seconds on an H100 with other work, at a constant
learning rate (learning_rate_schedule=constant); 400 epochs with the schedule: not measured yet. A
ResNet-18 that learned 45,000 samples alone, guidance 1.2, is right on 81.5 ± 0.8 % of the real test
images (docs/second_stage.md).
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
