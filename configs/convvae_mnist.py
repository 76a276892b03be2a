"""The ConvVAE of the KL-weight experiment on folders of PNG files: 10 epochs, batch 16, Adam 1e-4.

Unconditional, 32×32, 1,248,673 parameters with latent 16. The experiment weights the KL, summed
over latents, against the reconstruction, averaged over the 1,024 pixels. Here both are sums, so β
is 1,024 times its weight: 5.12 for 5e-3. The folder holds training/<class>/ and testing/<class>/:

  python train.py --config configs/convvae_mnist.py --config.data.dir=DIR

On MNIST as PNG files: 10 minutes on 2 shared CPU cores. On the 5,000 validation images (grey, not
augmented, one posterior sample, β = 1, EMA weights): 718.2 nats at step 0, 172.6 at the end
(reconstruction 163.4, KL 9.3); a decoder that always returns the mean training image: 273.7.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config

KL_WEIGHT = 5e-3


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'convvae_mnist'
  config.num_epochs = 10
  config.batch_size = 16
  config.conditional = False
  config.beta = 1024 * KL_WEIGHT
  config.beta_schedule = 'constant'
  config.optimizer = 'adam'
  config.learning_rate = 1e-4
  config.learning_rate_schedule = 'constant'
  config.clip_norm = 0.0
  config.log_every_steps = 100
  config.checkpoint_every_steps = 1000
  config.data.name = 'folder'
  config.data.image_size = 32
  config.data.validation_examples = 5000
  config.data.augment.rotation = 45.0
  config.data.augment.brightness = 0.5
  config.data.augment.brightness_probability = 0.5
  config.data.augment.auto_contrast = 1.0
  config.data.augment.auto_contrast_probability = 0.5
  config.model.name = 'conv'
  config.model.channels = (32, 64, 128)
  config.model.hidden_dim = 256
  config.model.activation = 'relu'
  config.model.norm = 'none'
  return config
