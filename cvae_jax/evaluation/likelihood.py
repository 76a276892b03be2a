"""The bounds on log p(x | c) of single images: the ELBO, and IWAE with many samples."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax.data import batches, transforms
from cvae_jax.models import architectures, gaussians
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import devices, keys

BATCH_SIZE = 256
# Images decoded in one dispatch, if they have 28×28 pixels: enough to keep the device busy.
DECODED_ON_CPU, DECODED_ON_ACCELERATOR = 512, 8192
IWAE_BATCH = 8  # images whose samples are drawn together


class Trained(NamedTuple):
  """What a bound is computed with: a model's network, its weights, and p(x | z, c)."""

  network: CVAE
  likelihood: Likelihood
  binarize: str  # config.data.binarize
  architecture: str  # config.model.name
  variables: dict


class Terms(NamedTuple):
  """The ELBO of N images with one posterior sample each, in nats, and the posteriors."""

  reconstruction: np.ndarray  # [N], −log p(x | z, c)
  kl: np.ndarray  # KL(q(z | x, c) ‖ p(z | c)), [N, latent] or [N, 1]; see `priors.Density`
  mean: np.ndarray  # [N, latent]
  logvar: np.ndarray  # [N, latent]
  latents: np.ndarray  # [N, latent], the samples

  @property
  def negative_elbo(self) -> np.ndarray:
    """[N], β = 1."""
    return self.reconstruction + self.kl.sum(axis=-1)


class Interval(NamedTuple):
  """A mean over images, and between which bounds it lies with 95 % confidence."""

  mean: float
  low: float
  high: float


def interval(values: np.ndarray) -> Interval:
  """The mean of [N] values and its 95 % interval, mean ± 1.96 standard errors."""
  values = np.asarray(values, np.float64)
  error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
  return Interval(values.mean(), values.mean() - error, values.mean() + error)


def difference_estimate(cheap: np.ndarray, dear: np.ndarray, rows: np.ndarray) -> Interval:
  """The mean of a dear quantity over N images, known of n of them, with its 95 % interval.

  The mean of a cheap one over all, plus the mean difference of the two where both are known (the
  difference estimator; Särndal, Swensson & Wretman 1992, section 6.3): the closer they follow each
  other, the more of the N images count. The n are taken to be like the others.

  Args:
    cheap: [N].
    dear: [n], n < N.
    rows: [n] which of the N these are.
  """
  cheap, dear = np.asarray(cheap, np.float64), np.asarray(dear, np.float64)
  difference = dear - cheap[rows]
  mean = cheap.mean() + difference.mean()
  variance = dear.var(ddof=1) / len(cheap)
  variance += difference.var(ddof=1) * (1 / len(dear) - 1 / len(cheap))
  error = 1.96 * np.sqrt(variance)
  return Interval(mean, mean - error, mean + error)


def proportion(outcomes: np.ndarray) -> Interval:
  """The share of [N] outcomes that are True, with Wilson's 95 % interval."""
  from scipy import stats  # late: half a second that a command which draws need not wait

  share = stats.binomtest(int(np.sum(outcomes)), len(outcomes)).proportion_ci(0.95, 'wilson')
  return Interval(float(np.mean(outcomes)), share.low, share.high)


def observe(images: Array, indices: Array, key: Array, binarize: str) -> tuple[Array, Array]:
  """What a model is shown of each image, and the key for whatever else is drawn for it.

  Both depend on the key and the image's number alone: neither on the batch nor on the order, and
  with one key two models are compared on the same draws.

  Args:
    images: uint8 [B, H, W, C].
    indices: [B] the images' numbers in their set.
    key: one key.
    binarize: 'dynamic' draws each pixel as Bernoulli(its grey value), 'none' leaves it.

  Returns:
    float32 [B, H, W, C] in [0, 1], and [B] keys.
  """
  image_keys = jax.vmap(jax.random.split)(keys.per_example(key, indices))
  images = transforms.to_unit_interval(images)
  if binarize == 'dynamic':
    images = jax.vmap(transforms.binarize)(image_keys[:, 0], images)
  return images, image_keys[:, 1]


def elbo_terms(trained: Trained, images: np.ndarray, labels: np.ndarray, key: Array) -> Terms:
  """The terms of the ELBO of each image, one posterior sample each.

  Args:
    trained: the model.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    key: see `observe`.
  """
  compute = _elbo(trained.network, trained.likelihood, trained.binarize, trained.architecture)
  indices = np.arange(len(labels), dtype=np.int32)
  return batches.map_rows(
    lambda *rows: compute(trained.variables, key, *rows), BATCH_SIZE, images, labels, indices
  )


@functools.cache
def _elbo(network: CVAE, likelihood: Likelihood, binarize: str, architecture: str):
  def compute(variables, key, images, labels, indices):
    images, draw_keys = observe(images, indices, key, binarize)
    images = transforms.to_pixel_range(images, likelihood.pixel_range)
    draw = functools.partial(jax.vmap(gaussians.reparameterize), draw_keys)
    forward = network.apply(variables, images, labels, draw=draw, train=False)
    return Terms(
      reconstruction=-likelihood.log_prob(images, forward.outputs),
      kl=forward.kl,
      mean=forward.mean,
      logvar=forward.logvar,
      latents=forward.latents,
    )

  return jax.jit(compute, compiler_options=architectures.compiler_options(architecture))


def iwae(
  trained: Trained,
  images: np.ndarray,
  labels: np.ndarray,
  key: Array,
  num_samples: int,
  advance: Callable[[float], None] = lambda share: None,
  indices: np.ndarray | None = None,
) -> np.ndarray:
  """log (1/K) Σᵢ p(x | zᵢ, c) p(zᵢ | c) / q(zᵢ | x, c) of each image (Burda et al. 2016).

  The samples come in chunks, so K does not matter to memory, and a sample depends on the key, its
  image's number and its own alone.

  Args:
    trained: the model.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    key: see `observe`; with the one of `elbo_terms`, the binarized images are the same.
    num_samples: K.
    advance: hears of the share of images that is done.
    indices: [N] the images' numbers in their set; None counts from 0.

  Returns:
    [N] nats; a bound on log p(x | c) from below, in expectation.
  """
  prepare = _prepare(trained.network, trained.likelihood, trained.binarize, trained.architecture)
  run = _add_chunk(trained.network, trained.likelihood, trained.architecture)
  chunk = max(1, min(num_samples, _decoded(trained.network.image_shape) // IWAE_BATCH))
  firsts = np.arange(0, num_samples, chunk, dtype=np.int32)
  numbers = np.arange(chunk, dtype=np.int32)
  done, total_count = 0, len(labels)

  def estimate(images, labels, indices):
    nonlocal done
    posterior = prepare(trained.variables, key, images, labels, indices)
    constants = (trained.variables, posterior, labels, numbers, np.int32(num_samples))
    nothing = np.full(len(labels), -np.inf, np.float32)
    total = jax.block_until_ready(run(constants, nothing, firsts))
    done += len(labels)
    advance(min(done / total_count, 1.0))
    return total - np.log(np.float32(num_samples))

  if indices is None:
    indices = np.arange(len(labels), dtype=np.int32)
  return batches.map_rows(estimate, IWAE_BATCH, images, labels, np.int32(indices))


def _decoded(image_shape: tuple[int, int, int]) -> int:
  size = DECODED_ON_CPU if jax.default_backend() == 'cpu' else DECODED_ON_ACCELERATOR
  return max(1, size * 28 * 28 // (image_shape[0] * image_shape[1]))


@functools.cache
def _prepare(network: CVAE, likelihood: Likelihood, binarize: str, architecture: str):
  def prepare(variables, key, images, labels, indices):
    images, draw_keys = observe(images, indices, key, binarize)
    images = transforms.to_pixel_range(images, likelihood.pixel_range)
    mean, logvar = network.apply(variables, images, labels, train=False, method='encode')
    return images, draw_keys, mean, logvar

  return jax.jit(prepare, compiler_options=architectures.compiler_options(architecture))


@functools.cache
def _add_chunk(network: CVAE, likelihood: Likelihood, architecture: str):
  def add_chunk(constants, total, first):
    variables, (images, draw_keys, mean, logvar), labels, numbers, num_samples = constants
    numbers = first + numbers
    draw = jax.vmap(_draw_of_number, (None, 0, 0, 0))  # over images
    latents = jax.vmap(draw, (0, None, None, None))(numbers, draw_keys, mean, logvar)
    outputs = network.apply(variables, latents, labels, train=False, method='decode')
    log_weights = (
      likelihood.log_prob(images[None], outputs)
      + network.apply(variables, latents, labels, method='log_prior')
      - gaussians.log_normal(latents, mean[None], logvar[None])
    )
    log_weights = jnp.where(numbers[:, None] < num_samples, log_weights, -jnp.inf)
    return jnp.logaddexp(total, jax.nn.logsumexp(log_weights, axis=0))

  return devices.compile_fold(add_chunk, architectures.compiler_options(architecture))


def _draw_of_number(number, key, mean, logvar):
  return gaussians.reparameterize(jax.random.fold_in(key, number), mean, logvar)
