"""A prior fitted to where the encoder put the training images, after training.

Few draws of a trained model's own prior need fall where an image was ever encoded, since the
aggregate posterior is not the prior (Hoffman & Johnson 2016). A density fitted to the encoded
images draws from there (ex-post density estimation, Ghosh et al. 2020). Bounds on likelihoods are
with the model's own prior in any case.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax.runtime import keys, tensor_files
from cvae_jax.runtime.errors import InputError

FILE_NAME = 'prior.safetensors'
MAX_IMAGES = 10_000  # of a class that are fitted to
MIN_DRAWS = 1_000  # of a class: several of each posterior, where there are fewer images
# Numbers of Gaussians, tried in turn for as long as the likelihood of held-out images rises.
NUM_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)
HELD_OUT = 5  # one image of so many
MIN_IMAGES = 5  # of a class; with fewer, its draws would be copies of them
MIN_VARIANCE = 1e-6  # times the mean variance of the latents
MAX_NUMBERS = 1 << 26  # in the covariances of one Gaussian per class, 256 MB


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


def num_classes(config) -> int:
  """How many mixtures the prior of a checked config's model has: 1 if it is unconditional."""
  return config.data.num_classes if config.conditional else 1


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


def has_own(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Which classes have images enough for a fit of their own, [classes] bool."""
  return np.bincount(labels, minlength=num_classes) >= MIN_IMAGES


def check_size(num_classes: int, latent_dim: int) -> None:
  """Raises InputError where the covariances would take too much memory."""
  size = num_classes * latent_dim**2
  if size > MAX_NUMBERS:
    raise InputError(
      f'the covariances of {num_classes:,} classes would be {size:,} numbers, more than '
      f"{MAX_NUMBERS:,}; samples come from the model's own prior"
    )


def rows_to_fit(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Row numbers, in order, of the first MAX_IMAGES images of each class."""
  rows = [np.flatnonzero(labels == c)[:MAX_IMAGES] for c in range(num_classes)]
  return np.sort(np.concatenate(rows))


def fit(mean: np.ndarray, logvar: np.ndarray, labels: np.ndarray, num_classes: int) -> FittedPrior:
  """Fits to draws from the posteriors N(mean, exp(logvar)) of N images.

  A class of fewer than MIN_IMAGES gets the fit of the first MAX_IMAGES of all classes.

  Args:
    mean: [N, latent].
    logvar: [N, latent].
    labels: [N] 0 to num_classes − 1.
    num_classes: 1 for an unconditional model.

  Raises:
    InputError: no Gaussian can be fitted to these.
  """
  from threadpoolctl import threadpool_limits  # late, as scikit-learn

  random = np.random.RandomState(0)
  mean, logvar = np.float64(mean), np.float64(logvar)

  def fit_rows(rows):
    rows = np.flatnonzero(rows)[:MAX_IMAGES]
    noise = random.randn(-(-MIN_DRAWS // len(rows)), len(rows), mean.shape[1])
    return _fit_draws(mean[rows] + np.exp(0.5 * logvar[rows]) * noise)

  own = has_own(labels, num_classes)
  try:
    # Threads that wait for each other take 50 times as long, for products as small as these.
    with threadpool_limits(1), np.errstate(over='raise'):
      of_all = None if own.all() else fit_rows(np.ones_like(labels))
      fits = [fit_rows(labels == c) if own[c] else of_all for c in range(num_classes)]
      return _stack(fits)
  except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
    raise InputError(f'No Gaussian fits to the latents: {error}') from error


def _stack(fits: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> FittedPrior:
  most = max(len(shares) for shares, _, _ in fits)
  padded = [
    [np.concatenate([x, np.zeros((most - len(x), *x.shape[1:]))]) for x in one] for one in fits
  ]
  shares, means, covariances = (np.stack(x) for x in zip(*padded, strict=True))
  covariances[shares == 0] = np.eye(means.shape[-1])  # of components that nothing draws
  return FittedPrior(*map(np.float32, (shares, means, np.linalg.cholesky(covariances))))


def moments(prior: FittedPrior, label: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of one class in each dimension, [latent] float32 each."""
  shares, means, factors = (x[label] for x in prior)
  mean = shares @ means
  squares = np.sum(np.square(factors), axis=-1) + np.square(means - mean)
  return mean, np.sqrt(shares @ squares)


def _fit_draws(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Weights, means and covariances of a mixture fitted to draws [S, images, latent]."""
  _, count, size = draws.shape
  # No more Gaussians than there are images for the numbers of each.
  candidates = [k for k in NUM_COMPONENTS if k * size * (size + 3) / 2 <= count]
  flat = draws.reshape(-1, size)
  floor = MIN_VARIANCE * flat.var(axis=0).mean()
  if len(candidates) < 2:
    covariance = np.atleast_2d(np.cov(flat.T)) + floor * np.eye(size)
    return np.ones(1), flat.mean(axis=0)[None], covariance[None]
  is_held_out = np.arange(count) % HELD_OUT == 0
  held_out, kept = (draws[:, rows].reshape(-1, size) for rows in (is_held_out, ~is_held_out))
  chosen, best = 1, -np.inf
  for number in candidates:
    try:
      score = _mixture(kept, number, floor).score(held_out)
    except ValueError:  # one of so many has collapsed
      if number == 1:
        raise
      break
    if score <= best:
      break
    chosen, best = number, score
  mixture = _mixture(flat, chosen, floor)
  return mixture.weights_, mixture.means_, mixture.covariances_


def _mixture(values: np.ndarray, number: int, floor: float):
  from sklearn.exceptions import ConvergenceWarning  # late: half a second
  from sklearn.mixture import GaussianMixture

  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # held-out images judge it anyway
    return GaussianMixture(number, reg_covar=floor, random_state=0).fit(values)


def save(folder: Path, prior: FittedPrior, variables: dict[str, Any]) -> None:
  """Writes the prior into a folder, beside the weights `variables` that it was fitted to."""
  tensor_files.save(folder / FILE_NAME, prior._asdict(), fitted_to=tensor_files.digest(variables))


def read(folder: Path, variables: dict[str, Any], config) -> FittedPrior | None:
  """What `save` wrote into `folder`; None where it wrote nothing.

  Args:
    folder: of a checkpoint, or of shipped weights.
    variables: the weights there.
    config: their model's, checked.

  Raises:
    InputError: the file is damaged, or was fitted to other weights.
  """
  path = folder / FILE_NAME
  if not path.is_file():
    return None
  arrays, notes = tensor_files.read_arrays(path)
  if notes.get('fitted_to') != tensor_files.digest(variables):
    raise InputError(f'{path} was fitted to other weights than those beside it.')
  classes, latent = num_classes(config), config.latent_dim
  number = arrays['weights'].shape[-1] if arrays.get('weights', np.zeros(0)).ndim == 2 else 0
  expected = {
    'weights': (classes, number),
    'means': (classes, number, latent),
    'factors': (classes, number, latent, latent),
  }
  if {name: array.shape for name, array in arrays.items()} != expected or not number:
    raise InputError(f'{path} holds a prior of another shape than the model has.')
  return FittedPrior(**arrays)
