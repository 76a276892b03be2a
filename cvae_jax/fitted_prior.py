"""A prior fitted to where the encoder put the training images, after training.

Few draws of a trained model's own prior need fall where an image was ever encoded, since the
aggregate posterior is not the prior (Hoffman & Johnson 2016). A density fitted to the encoded
images draws from there (ex-post density estimation, Ghosh et al. 2020). Bounds on likelihoods are
with the model's own prior in any case.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax import keys, weights
from cvae_jax.errors import InputError

FILE_NAME = 'prior.safetensors'
MAX_IMAGES = 10_000  # of a class that are fitted to
MIN_DRAWS = 1_000  # of a class: several of each posterior, where there are fewer images
# Numbers of Gaussians, tried in turn for as long as the likelihood of held-out images rises.
NUM_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)
HELD_OUT = 5  # one image of so many
MIN_VARIANCE = 1e-6
MAX_NUMBERS = 1 << 26  # of the covariances of all classes, 256 MB


class FittedPrior(NamedTuple):
  """A mixture of Gaussians of full covariance for each class; an unconditional model has one."""

  weights: np.ndarray  # [classes, K], 0 of a component that a class does without
  means: np.ndarray  # [classes, K, latent]
  factors: np.ndarray  # [classes, K, latent, latent], lower triangular: covariance = L Lᵀ

  def __str__(self) -> str:
    counts = np.sum(self.weights > 0, axis=1)
    few, many = counts.min(), counts.max()
    number = f'{few}' if few == many else f'{few} to {many}'
    return f'{number} Gaussian{"" if many == 1 else "s"}{" per class" if len(counts) > 1 else ""}'


@jax.jit
def draw(
  prior: FittedPrior, labels: Array, key: Array, indices: Array, temperature: Array
) -> Array:
  """Draws z, a function of the key, the image's own number and its class.

  Args:
    prior: what is drawn from.
    labels: [N] int32.
    key: one key.
    indices: [N] the images' numbers.
    temperature: factor on the standard deviation of every Gaussian; 1 is the prior.

  Returns:
    [N, latent] float32.
  """
  choices, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys.per_example(key, indices))
  log_weights = jnp.log(prior.weights)[labels]
  component = jax.vmap(jax.random.categorical)(choices, log_weights)
  mean, factor = prior.means[labels, component], prior.factors[labels, component]
  noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[-1:]))(noise_keys)
  # Not a product of matrices, in whose place an accelerator may take fewer digits.
  return mean + temperature * jnp.sum(factor * noise[:, None, :], axis=-1)


def fit(mean: np.ndarray, logvar: np.ndarray, labels: np.ndarray, num_classes: int) -> FittedPrior:
  """Fits to draws from the posteriors N(mean, exp(logvar)) of N images.

  A class without images gets the fit of all.

  Args:
    mean: [N, latent].
    logvar: [N, latent].
    labels: [N] 0 to num_classes − 1.
    num_classes: 1 for an unconditional model.
  """
  from threadpoolctl import threadpool_limits  # late, as scikit-learn

  random, fits = np.random.RandomState(0), []
  # Threads that wait for each other take 50 times as long, for products as small as these.
  with threadpool_limits(1):
    for label in range(num_classes):
      own = labels == label
      rows = np.flatnonzero(own if own.any() else np.ones_like(own))[:MAX_IMAGES]
      num_draws = -(-MIN_DRAWS // len(rows))
      noise = random.randn(num_draws, len(rows), mean.shape[1])
      draws = mean[rows] + np.exp(0.5 * logvar[rows]) * noise
      fits.append(_fit_class(draws.astype(np.float64)))
  most = max(len(shares) for shares, _, _ in fits)
  padded = [
    [np.concatenate([x, np.zeros((most - len(x), *x.shape[1:]))]) for x in one] for one in fits
  ]
  shares, means, covariances = (np.stack(x) for x in zip(*padded, strict=True))
  # An unused component is a point at 0 that nothing draws.
  covariances[shares == 0] = np.eye(mean.shape[1])
  return FittedPrior(*map(np.float32, (shares, means, np.linalg.cholesky(covariances))))


def is_too_large(num_classes: int, latent_dim: int) -> bool:
  """Whether one Gaussian per class would have more numbers than anyone wants to keep."""
  return num_classes * latent_dim**2 > MAX_NUMBERS


def _fit_class(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Weights, means and covariances of a mixture fitted to draws [S, images, latent]."""
  _, count, size = draws.shape
  # No more Gaussians than there are images for the numbers of each.
  candidates = [k for k in NUM_COMPONENTS if k * size * (size + 3) / 2 <= count]
  if len(candidates) < 2:
    flat = draws.reshape(-1, size)
    covariance = np.atleast_2d(np.cov(flat.T)) + MIN_VARIANCE * np.eye(size)
    return np.ones(1), flat.mean(axis=0)[None], covariance[None]
  is_held_out = np.arange(count) % HELD_OUT == 0
  held_out, kept = (draws[:, rows].reshape(-1, size) for rows in (is_held_out, ~is_held_out))
  chosen, best = 1, -np.inf
  for number in candidates:
    score = _mixture(kept, number).score(held_out)
    if score <= best:
      break
    chosen, best = number, score
  mixture = _mixture(draws.reshape(-1, size), chosen)
  return mixture.weights_, mixture.means_, mixture.covariances_


def _mixture(values: np.ndarray, number: int):
  from sklearn.exceptions import ConvergenceWarning  # late: half a second
  from sklearn.mixture import GaussianMixture

  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # held-out images judge it anyway
    return GaussianMixture(number, reg_covar=MIN_VARIANCE, random_state=0).fit(values)


def save(folder: Path, prior: FittedPrior) -> None:
  """Writes the prior into a folder, beside the weights that it goes with."""
  weights.save(folder / FILE_NAME, prior._asdict())


def read(folder: Path, num_classes: int, latent_dim: int) -> FittedPrior | None:
  """What `save` wrote into `folder`; None where it wrote nothing.

  Raises:
    InputError: the file is damaged, or of another model.
  """
  path = folder / FILE_NAME
  if not path.is_file():
    return None
  arrays, _ = weights.read_arrays(path)
  shapes = {name: array.shape for name, array in arrays.items()}
  count = shapes.get('weights', (0, 0))[-1]
  expected = {
    'weights': (num_classes, count),
    'means': (num_classes, count, latent_dim),
    'factors': (num_classes, count, latent_dim, latent_dim),
  }
  if shapes != expected or not all(np.isfinite(array).all() for array in arrays.values()):
    raise InputError(f'{path} holds the prior of another model. Remove it to do without.')
  return FittedPrior(**arrays)
