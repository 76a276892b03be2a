"""A prior fitted to the encoded training images, after training.

The aggregate posterior is not the prior (Hoffman & Johnson 2016): draws from the prior can lie
where no image is encoded. Draws from a density fitted to the encoded images do not (ex-post density
estimation, Ghosh et al. 2020). Bounds on likelihoods use the model's own prior in any case.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from cvae_jax.runtime import keys, tensor_files
from cvae_jax.runtime.errors import InputError

FILE_NAME = 'prior.safetensors'
MAX_IMAGES = 10_000  # of each class
MIN_DRAWS = 1_000  # of each class: with fewer images, several draws from each posterior
# Numbers of Gaussians, tried in turn as long as the likelihood of held-out images rises.
NUM_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)
HELD_OUT = 5  # every fifth image
MIN_IMAGES = 5  # of a class; a fit to fewer would only copy them
MIN_VARIANCE = 1e-6  # relative to the mean variance of the latents
# In the covariances of one Gaussian per class, and in the means of images; 256 MB.
MAX_NUMBERS = 1 << 26


class FittedPrior(NamedTuple):
  """A mixture of Gaussians of full covariance for each class; an unconditional model has one."""

  weights: Float[np.ndarray, 'classes k']  # 0 for an unused component
  means: Float[np.ndarray, 'classes k latent']
  factors: Float[np.ndarray, 'classes k latent latent']  # lower triangular L: covariance = L Lᵀ

  def __str__(self) -> str:
    counts = np.sum(self.weights > 0, axis=1)
    low, high = counts.min(), counts.max()
    number = f'{low}' if low == high else f'{low} to {high}'
    return f'{number} Gaussian{"" if high == 1 else "s"}{" per class" if len(counts) > 1 else ""}'


def num_classes(config) -> int:
  """The number of mixtures for a checked config: 1 for a model without classes."""
  return max(config.data.num_classes, 1) if config.conditional else 1


@jax.jit
def draw(
  prior: FittedPrior,
  labels: Int[Array, ' batch'],
  key: Key[Array, ''],
  indices: Int[Array, ' batch'],
  temperature: Float[Array, ''] | float,
) -> Float[Array, 'batch latent']:
  """Draws latents; each depends on the key, its index and its class.

  The temperature is a factor on the standard deviation of every Gaussian; 1 is the prior.
  """
  choices, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys.per_example(key, indices))
  log_weights = jnp.log(prior.weights)[labels]
  component = jax.vmap(jax.random.categorical)(choices, log_weights)
  mean, factor = prior.means[labels, component], prior.factors[labels, component]
  noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[-1:], jnp.float32))(noise_keys)
  # No product of matrices: an accelerator may compute it in fewer digits.
  return mean + temperature * jnp.sum(factor * noise[:, None, :], axis=-1)


def from_noise(
  prior: FittedPrior,
  labels: Int[Array, ' batch'],
  noise: Float[Array, 'batch latent'],
  uniform: Float[Array, ' batch'],
) -> Float[Array, 'batch latent']:
  """Latents of given randomness: `noise` from N(0, I), `uniform` in [0, 1) for the component."""
  cumulative = jnp.cumsum(prior.weights, axis=-1)
  # Divided by its last, so that no uniform below 1 falls beyond the last component in use.
  cumulative = (cumulative / cumulative[:, -1:])[labels]
  below_one = jnp.minimum(uniform, np.nextafter(np.float32(1), np.float32(0)))
  component = jnp.sum(cumulative <= below_one[:, None], axis=-1, dtype=jnp.int32)
  mean, factor = prior.means[labels, component], prior.factors[labels, component]
  return mean + jnp.sum(factor * noise[:, None, :], axis=-1)


def has_own(labels: Int[np.ndarray, ' images'], num_classes: int) -> Bool[np.ndarray, ' classes']:
  """Which classes have enough images for a fit of their own."""
  return np.bincount(labels, minlength=num_classes) >= MIN_IMAGES


def check_size(num_classes: int, latent_dim: int) -> None:
  """Raises InputError if the covariances would take too much memory."""
  size = num_classes * latent_dim**2
  if size > MAX_NUMBERS:
    raise InputError(
      f'the covariances of {num_classes:,} classes would be {size:,} numbers, more than '
      f"{MAX_NUMBERS:,}; samples come from the model's own prior"
    )


def rows_to_fit(
  labels: Int[np.ndarray, ' images'], num_classes: int, latent_dim: int
) -> Int[np.ndarray, ' fitted']:
  """Row numbers, in order, of the first images of each class.

  As many as MAX_IMAGES of each, or fewer where their latents would be more than MAX_NUMBERS.
  """
  most = min(MAX_IMAGES, max(MIN_IMAGES, MAX_NUMBERS // (latent_dim * num_classes)))
  return np.sort(np.concatenate([rows[:most] for rows in _rows_of_classes(labels, num_classes)]))


def _rows_of_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
  """The row numbers of each class, in order."""
  ends = np.cumsum(np.bincount(labels, minlength=num_classes))
  return np.split(np.argsort(labels, kind='stable'), ends[:-1])


def fit(
  mean: Float[np.ndarray, 'images latent'],
  logvar: Float[np.ndarray, 'images latent'],
  labels: Int[np.ndarray, ' images'],
  num_classes: int,
) -> FittedPrior:
  """Fits to draws from the posteriors N(mean, exp(logvar)) of images.

  A class with fewer than MIN_IMAGES gets the fit to the first MAX_IMAGES of all classes. Labels are
  0 to num_classes − 1; an unconditional model counts as one class.

  Raises:
    InputError: no Gaussian can be fitted.
  """
  from threadpoolctl import threadpool_limits  # late, as is scikit-learn

  random = np.random.RandomState(0)
  mean, logvar = np.float64(mean), np.float64(logvar)

  def fit_rows(rows):
    rows = rows[:MAX_IMAGES]
    noise = random.randn(-(-MIN_DRAWS // len(rows)), len(rows), mean.shape[1])
    return _fit_draws(mean[rows] + np.exp(0.5 * logvar[rows]) * noise)

  own = has_own(labels, num_classes)
  try:
    # For such small products, threads that wait for each other take 50 times as long.
    with threadpool_limits(1), np.errstate(over='raise'):
      of_all = None if own.all() else fit_rows(np.arange(len(labels)))
      of_classes = zip(own, _rows_of_classes(labels, num_classes), strict=True)
      fits = [fit_rows(rows) if is_own else of_all for is_own, rows in of_classes]
      return _stack(fits)
  except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
    raise InputError(f'No Gaussian fits to the latents: {error}') from error


def _stack(fits: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> FittedPrior:
  """Weights, means and covariances of each class, padded to one number of components."""
  most = max(len(weights) for weights, _, _ in fits)
  padded = [
    [np.concatenate([x, np.zeros((most - len(x), *x.shape[1:]))]) for x in one] for one in fits
  ]
  weights, means, covariances = (np.stack(x) for x in zip(*padded, strict=True))
  covariances[weights == 0] = np.eye(means.shape[-1])  # never drawn from
  return FittedPrior(*map(np.float32, (weights, means, np.linalg.cholesky(covariances))))


def moments(
  prior: FittedPrior, label: int
) -> tuple[Float[np.ndarray, ' latent'], Float[np.ndarray, ' latent']]:
  """Mean and standard deviation of one class in each dimension."""
  weights, means, factors = (x[label] for x in prior)
  mean = weights @ means
  squares = np.sum(np.square(factors), axis=-1) + np.square(means - mean)
  return mean, np.sqrt(weights @ squares)


def _fit_draws(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Weights, means and covariances of a mixture fitted to draws [S, images, latent]."""
  _, count, size = draws.shape
  # At most one Gaussian for as many images as it has free numbers.
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
    except ValueError:  # one of the Gaussians has collapsed
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
    warnings.simplefilter('ignore', ConvergenceWarning)  # held-out images decide
    return GaussianMixture(number, reg_covar=floor, random_state=0).fit(values)


def save(folder: Path, prior: FittedPrior, variables: dict[str, Any]) -> None:
  """Writes the prior into a folder, beside the weights `variables` that it was fitted to."""
  digest = tensor_files.digest(variables)
  tensor_files.save(folder / FILE_NAME, prior._asdict(), fitted_to=digest)


def read(folder: Path, variables: dict[str, Any], config) -> FittedPrior | None:
  """Reads what `save` wrote into `folder`, or None if there is nothing.

  Args:
    folder: of a checkpoint, or of shipped weights.
    variables: the weights there.
    config: their checked config.

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
    raise InputError(f"{path} holds a prior of another shape than the model's latents.")
  return FittedPrior(**arrays)
