"""Compiled functions of a trained network: encoding, decoding, drawing latents.

Each is compiled once for a network and the shapes of its arguments.
"""

from functools import partial

import jax
from jaxtyping import Array, Float, Int, Key

from cvae_jax.data import transforms
from cvae_jax.models import missing, priors
from cvae_jax.models.cvae import CVAE, Conditions
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import keys


@partial(jax.jit, static_argnums=(0, 1))
def encode(
  network: CVAE,
  likelihood: Likelihood,
  variables: dict,
  images: Float[Array, 'batch h w c'],
  conditions: Conditions,
) -> tuple[Float[Array, 'batch latent'], Float[Array, 'batch latent']]:
  """Mean and log-variance of q(z | x, c), of images in [0, 1]."""
  pixels = transforms.to_pixel_range(images, likelihood.pixel_range)
  return network.apply(variables, pixels, conditions, train=False, method='encode')


@partial(jax.jit, static_argnums=(0, 1))
def complete(
  network: CVAE,
  likelihood: Likelihood,
  variables: dict,
  images: Float[Array, 'batch h w c'],
  conditions: Float[Array, 'batch columns'],
) -> Float[Array, 'batch columns']:
  """Conditions with the likeliest class where it is missing, by q(c | x); images in [0, 1]."""
  log_probs = infer(network, likelihood, variables, images)
  return missing.likeliest(network.columns, conditions, log_probs)


@partial(jax.jit, static_argnums=(0, 1))
def infer(
  network: CVAE, likelihood: Likelihood, variables: dict, images: Float[Array, 'batch h w c']
) -> missing.LogProbs:
  """log q(c | x) of each category that may be missing, of images in [0, 1]."""
  pixels = transforms.to_pixel_range(images, likelihood.pixel_range)
  return network.apply(variables, pixels, train=False, method='infer')


@partial(jax.jit, static_argnums=(0, 1))
def decode(
  network: CVAE,
  likelihood: Likelihood,
  variables: dict,
  latents: Float[Array, 'batch latent'],
  conditions: Conditions,
) -> Float[Array, 'batch h w c']:
  """E[x | z, c], images in [0, 1]."""
  outputs = network.apply(variables, latents, conditions, train=False, method='decode')
  return transforms.to_display(likelihood.mean(outputs), likelihood.pixel_range)


@partial(jax.jit, static_argnums=(0, 1))
def decode_draw(
  network: CVAE,
  likelihood: Likelihood,
  variables: dict,
  latents: Float[Array, 'batch latent'],
  conditions: Conditions,
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
) -> Float[Array, 'batch h w c']:
  """x ~ p(x | z, c), images in [0, 1]; pixels depend on the key and the image's index."""
  outputs = network.apply(variables, latents, conditions, train=False, method='decode')
  pixels = jax.vmap(likelihood.sample)(keys.per_example(key, indices), outputs)
  return transforms.to_display(pixels, likelihood.pixel_range)


@partial(jax.jit, static_argnums=0)
def draw_prior(
  network: CVAE,
  variables: dict,
  conditions: Conditions,
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
  temperature: Float[Array, ''] | float,
) -> Float[Array, 'batch latent']:
  """z ~ p(z | c); a latent depends on the key, its index and its conditions.

  The temperature is a factor on the standard deviation of what is drawn from; 1 is the prior.
  """
  image_keys = keys.per_example(key, indices)
  return network.apply(variables, image_keys, conditions, temperature, method='draw_prior')


@partial(jax.jit, static_argnums=0)
def change_conditions(
  network: CVAE,
  variables: dict,
  latents: Float[Array, 'batch latent'],
  conditions: Conditions,
  others: Conditions,
) -> Float[Array, 'batch latent']:
  """What the noise that gives `latents` under `conditions` gives under `others`."""
  return network.apply(variables, latents, conditions, others, method='change_conditions')


@jax.jit
def draw_gaussian(
  mean: Float[Array, 'batch latent'],
  logvar: Float[Array, 'batch latent'],
  indices: Int[Array, ' batch'],
  key: Key[Array, ''],
  temperature: Float[Array, ''] | float,
) -> Float[Array, 'batch latent']:
  """z ~ N(mean, temperature² exp(logvar)); a draw depends on the key and its index."""
  return priors.Gaussian(mean, logvar).draw(keys.per_example(key, indices), temperature)
