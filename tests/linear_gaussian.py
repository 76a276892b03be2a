"""A VAE with a known evidence and posterior: x | z, c ~ N(W z + b_c, σ² I), z ~ N(0, I) by default.

With another prior its encoder only approximates the posterior.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from scipy import stats

from cvae_jax.inference.model import Model
from cvae_jax.models import priors
from cvae_jax.models.cvae import Forward
from cvae_jax.models.likelihoods import UNIT, Gaussian
from tiny import model_of, task_of, tiny_config

SIGMA = 0.4
LATENT, PIXELS, CLASSES = 2, 9, 3


class LinearGaussian(nn.Module):
  """An orthogonal W, so that the exact posterior has a diagonal covariance."""

  conditional = True
  prior: nn.Module
  image_shape: tuple[int, int, int] = (3, 3, 1)
  blur: float = 0.0  # added to the exact posterior's mean and log-variance
  columns: tuple = ()  # its conditions are labels
  is_inferring: bool = False

  def setup(self):
    self.loading = self.param('loading', nn.initializers.zeros, (LATENT, PIXELS))
    self.offset = self.param('offset', nn.initializers.zeros, (CLASSES, PIXELS))

  def encode(self, images, labels, train):
    residual = images.reshape(len(images), PIXELS) - self.offset[labels]
    precision = 1 + jnp.sum(self.loading**2, axis=1) / SIGMA**2
    mean = residual @ self.loading.T / SIGMA**2 / precision[None]
    logvar = jnp.broadcast_to(-jnp.log(precision), mean.shape)
    return mean + self.blur, logvar + self.blur

  def decode(self, latents, labels, train):
    offset = self.offset[labels].reshape((1,) * (latents.ndim - 2) + (len(labels), PIXELS))
    return (latents @ self.loading + offset).reshape(*latents.shape[:-1], *self.image_shape)

  def __call__(self, images, labels, draw, train):
    mean, logvar = self.encode(images, labels, train)
    latents = draw(mean, logvar)
    prior = self._prior(labels, train)
    kl, log_prior = prior.kl(mean, logvar, latents), prior.log_prob(latents)
    return Forward(self.decode(latents, labels, train), latents, mean, logvar, kl, log_prior)

  def log_prior(self, latents, labels):
    return self._prior(labels, False).log_prob(latents)

  def _prior(self, labels, train):
    encode = lambda images, labels: self.encode(images, labels, train)  # noqa: E731
    return self.prior(labels, nn.one_hot(labels, CLASSES), encode)


def variables():
  random = np.random.RandomState(0)
  directions = np.linalg.qr(random.randn(PIXELS, LATENT))[0].T
  loading = directions * np.array([[1.5], [0.7]])
  offset = 0.5 + 0.4 * random.randn(CLASSES, PIXELS)
  return {'params': {'loading': np.float32(loading), 'offset': np.float32(offset)}}


def model(blur: float = 0.0, prior: nn.Module | None = None, params=None) -> Model:
  """A trained model; see `LinearGaussian`. `params` are those of the prior."""
  config = tiny_config()
  task = task_of(config)
  task.network = LinearGaussian(prior or priors.StandardNormal(LATENT), blur=blur)
  task.likelihood = Gaussian(SIGMA, UNIT)
  values = variables()
  if params is not None:
    values['params']['prior'] = params
  return model_of(config, task, values, CLASSES)


def log_evidence(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The exact log p(x | c) of uint8 images [N, 3, 3, 1], by SciPy."""
  params = {name: np.float64(value) for name, value in variables()['params'].items()}
  covariance = params['loading'].T @ params['loading'] + SIGMA**2 * np.eye(PIXELS)
  return np.array(
    [
      stats.multivariate_normal(params['offset'][label], covariance).logpdf(image.ravel() / 255)
      for image, label in zip(images, labels, strict=True)
    ]
  )
