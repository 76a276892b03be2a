"""MNIST by digit, slant and stroke thickness, measured on the images (Castro et al. 2019)."""

from cvae_jax.config import named


def get_config():
  config = named('mnist')
  config.name = 'mnist_style'
  config.data.conditions = 'digit,slant,thickness'
  return config
