"""The convolutional baseline on CIFAR-10: sum of squares, latent 256, β = 0.1 after 15 epochs at 0.

Unconditional, Adam 1e-3, 30 epochs, pixels in [-1, 1]; clip_norm 0.5, or 0.1 to compare
(--config.clip_norm=0.1).

Measured narrower and shorter, a minute per epoch on 2 CPU cores: model.channels=32,64,128,256,
num_epochs=6 (2,106 steps), beta_delay_epochs=2. On the 5,000 validation images (one posterior
sample, β = 1, EMA weights, with the constant of 1,758.3 nats that the loss omits): 2,554.1 nats at
step 0, 2,116.7 at the end (reconstruction 1,864.5, KL 252.2), 3,855.1 before that, while β was 0; a
decoder that always returns the mean training image: 2,524.6. As it is: not measured yet.
"""

from ml_collections import ConfigDict

from cvae_jax.config import named


def get_config() -> ConfigDict:
  config = named('baseline_fashion_mnist')
  config.name = 'baseline_cifar10'
  config.latent_dim = 256
  config.beta = 0.1
  config.beta_delay_epochs = 15.0
  config.data.name = 'cifar10'
  config.data.channels = 3
  config.model.channels = (64, 128, 256, 512)
  return config
