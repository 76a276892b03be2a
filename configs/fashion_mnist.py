"""The ResNet CVAE on Fashion-MNIST, grey values: 50 epochs, batch 128, latent 16.

On grey values the Bernoulli term is a cross-entropy: good for training, not a likelihood to
compare. About 2 minutes per epoch on 2 CPU cores. The shipped weights are from num_epochs=10. On
the 5,000 validation images (grey, one posterior sample, β = 1, EMA weights): 560.5 nats at step 0,
235.4 at the end (reconstruction 221.5, KL 13.9); a decoder that always returns the mean training
image: 382.5. Test split and samples: cvae_jax/shipped/fashion_mnist/README.md. 50 epochs: not
measured yet.
"""

from ml_collections import ConfigDict

from cvae_jax import default_config


def get_config() -> ConfigDict:
  config = default_config()
  config.name = 'fashion_mnist'
  config.data.name = 'fashion_mnist'
  config.data.validation_examples = 5000
  return config
