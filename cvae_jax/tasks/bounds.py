"""Bounds on log p(x | c), for training, validation and evaluation alike. In nats, float32."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax.models import gaussians
from cvae_jax.models.cvae import Forward
from cvae_jax.models.likelihoods import Likelihood


class Elbo(NamedTuple):
  """The two terms of the evidence lower bound, for each image (Kingma & Welling 2014, eq. 3)."""

  reconstruction: Float[Array, '*draws batch']  # −log p(x | z, c) at draws of z ~ q(z | x, c)
  kl: Float[Array, '*draws batch groups']  # KL(q(z | x, c) ‖ p(z | c)); see `priors.Density`

  @property
  def negative_elbo(self) -> Float[Array, '*draws batch']:
    """−ELBO at β = 1."""
    return self.reconstruction + jnp.sum(self.kl, axis=-1)


def elbo(likelihood: Likelihood, images: Float[ArrayLike, 'batch h w c'], forward: Forward) -> Elbo:
  """The terms of the ELBO.

  Args:
    likelihood: p(x | z, c).
    images: in the likelihood's pixel range.
    forward: the network's pass for these images.
  """
  images = images[(None,) * (forward.outputs.ndim - images.ndim)]
  return Elbo(-likelihood.log_prob(images, forward.outputs), forward.kl)


def beta_objective(
  terms: Elbo, beta: Float[ArrayLike, ''], free_nats: Float[ArrayLike, '']
) -> Float[Array, '']:
  """E_q[−log p(x | z, c)] + β KL(q(z | x, c) ‖ p(z | c)), mean over images (Higgins et al. 2017).

  Args:
    terms: of one draw for each image.
    beta: the weight of the KL.
    free_nats: the least value that the KL of a group of latents, mean over the batch, counts as.
      Below it the group has no gradient, so that it need not collapse (Kingma et al. 2016).
  """
  kl = jnp.sum(jnp.maximum(jnp.mean(terms.kl, axis=0), free_nats))
  return jnp.mean(terms.reconstruction) + beta * kl


def log_weights(
  log_likelihood: Float[ArrayLike, 'draws batch'],
  log_prior: Float[ArrayLike, 'draws batch'],
  latents: Float[ArrayLike, 'draws batch latent'],
  mean: Float[ArrayLike, 'batch latent'],
  logvar: Float[ArrayLike, 'batch latent'],
  beta: Float[ArrayLike, ''] = 1.0,
) -> Float[Array, 'draws batch']:
  """log p(x | z, c) + β (log p(z | c) − log q(z | x, c)) of draws z from q = N(mean, exp(logvar)).

  With β = 1 these are the weights of importance sampling.
  """
  log_posterior = gaussians.log_normal(latents, mean[None], logvar[None])
  return log_likelihood + beta * (log_prior - log_posterior)


def importance_weighted(log_weights: Float[ArrayLike, 'draws ...']) -> Float[Array, '...']:
  """log (1/k) Σᵢ wᵢ, a bound on log p(x | c) that rises with k (IWAE; Burda et al. 2016, eq. 8)."""
  return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(len(log_weights))


def bits_per_dimension(
  nats: Float[ArrayLike, '*batch'] | float, image_shape: tuple[int, ...]
) -> Float[ArrayLike, '*batch'] | float:
  """Nats per image to bits per pixel and channel; for probabilities of discrete values only."""
  return nats / (math.prod(image_shape) * math.log(2))
