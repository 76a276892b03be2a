"""Bounds of a trained model on log p(x | c) of single images: the ELBO, and IWAE with many samples.

The draws for an image depend on the key and its index only, not on the batch or the order. With one
key, two models are compared on the same draws.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from cvae_jax.data import batches
from cvae_jax.models import gaussians, missing
from cvae_jax.runtime import devices, keys
from cvae_jax.tasks.task import Variables
from cvae_jax.tasks.vae import VAE, log_weights

BATCH_SIZE = 256
# Images of 28×28 pixels decoded in one dispatch: enough to keep the device busy, and on a CPU few
# enough for their maps to stay in its cache.
DECODED_ON_CPU, DECODED_ON_ACCELERATOR = 64, 8192
IWAE_BATCH = 8  # images whose samples are drawn together
BATCH_OF_DENSITY = 32  # images whose latents have a density of many passes


class Density(NamedTuple):
  """A prior of the latents that is not the model's own: that of a second stage.

  Attributes:
    log_prob: (variables, latents [B, latent], conditions) -> log p(z | c) [B], in nats. Equal ones
      share compiled functions. It has `operations(variables)`, those for one latent.
    variables: its weights.
    name: for protocols.
  """

  log_prob: Callable
  variables: Variables
  name: str

  @property
  def operations(self) -> float:
    """Floating-point operations for one latent."""
    return self.log_prob.operations(self.variables)


class Terms(NamedTuple):
  """The ELBO of N images with one posterior sample each, in nats, and the posteriors."""

  reconstruction: np.ndarray  # [N], −log p(x | z, c)
  kl: np.ndarray  # KL(q(z | x, c) ‖ p(z | c)), [N, latent] or [N, 1]; see `priors.Density`
  class_kl: np.ndarray  # [N], KL(q(c | x) ‖ p(c)) of a missing class, else 0
  mean: np.ndarray  # [N, latent]
  logvar: np.ndarray  # [N, latent]
  latents: np.ndarray  # [N, latent], the samples

  @property
  def negative_elbo(self) -> np.ndarray:
    """[N], β = 1."""
    return self.reconstruction + self.kl.sum(axis=-1) + self.class_kl


def elbo(
  task: VAE,
  variables: Variables,
  images: np.ndarray,
  conditions: np.ndarray,
  key: Array,
  density: Density | None = None,
  advance: Callable[[float], None] = lambda fraction: None,
  indices: np.ndarray | None = None,
) -> Terms:
  """The terms of the ELBO of each image, one posterior sample each.

  Args:
    task: of the model.
    variables: its weights.
    images: uint8 [N, H, W, C].
    conditions: [N, ...] labels, or rows of the table of conditions.
    key: for all draws.
    density: the prior; None is the model's own.
    advance: progress callback; receives the finished fraction of the images.
    indices: [N] the images' indices in their dataset; None counts from 0.
  """
  size = BATCH_SIZE if density is None else BATCH_OF_DENSITY
  log_prob, of_prior = (None, None) if density is None else density[:2]
  compute, done = _compiled_elbo(task, log_prob), 0

  def bound(*rows):
    nonlocal done
    terms = jax.block_until_ready(compute(variables, of_prior, key, *rows))
    done += size
    advance(min(done / max(len(images), 1), 1.0))
    return terms

  if indices is None:
    indices = np.arange(len(images), dtype=np.int32)
  return batches.map_rows(bound, size, images, conditions, np.int32(indices))


@functools.cache
def _compiled_elbo(task: VAE, log_prob: Callable | None):
  def compute(variables, of_prior, key, images, conditions, indices):
    image_keys = keys.per_example(key, indices)
    log_prior = None if log_prob is None else functools.partial(log_prob, of_prior)
    bound = task.bound(variables, (images, conditions), image_keys, log_prior)
    return Terms(*bound.terms, bound.class_kl, bound.mean, bound.logvar, bound.latents)

  return jax.jit(compute, compiler_options=task.compiler_options)


def iwae(
  task: VAE,
  variables: Variables,
  images: np.ndarray,
  conditions: np.ndarray,
  key: Array,
  num_samples: int,
  advance: Callable[[float], None] = lambda fraction: None,
  indices: np.ndarray | None = None,
  density: Density | None = None,
) -> np.ndarray:
  """log (1/K) Σᵢ p(x | zᵢ, c) p(zᵢ | c) / q(zᵢ | x, c) of each image (Burda et al. 2016).

  The samples are drawn in chunks, so that memory does not depend on K. A sample depends on the key
  and on the indices of its image and of itself. Where a class is missing and the model has a
  q(c | x), it is log Σ_c p(c) p(x | c) of the estimates for all classes, which are equally likely.

  Args:
    task: of the model.
    variables: its weights.
    images: uint8 [N, H, W, C].
    conditions: [N, ...] labels, or rows of the table of conditions.
    key: that of `elbo` binarizes the images in the same way.
    num_samples: K.
    advance: progress callback; receives the finished fraction of the images.
    indices: [N] the images' indices in their dataset; None counts from 0.
    density: the prior p(z | c); None is the model's own.

  Returns:
    [N] nats; in expectation a lower bound on log p(x | c).
  """
  log_prob, of_prior = (None, None) if density is None else density[:2]
  prepare, run = _compiled_iwae(task, log_prob)
  chunk = max(1, min(num_samples, _decoded_at_once(task.network.image_shape) // IWAE_BATCH))
  firsts = np.arange(0, num_samples, chunk, dtype=np.int32)
  numbers = np.arange(chunk, dtype=np.int32)
  done, total_count = 0, len(images)

  def estimate(images, conditions, indices):
    nonlocal done
    totals = []
    for rows in _completions(task, conditions):
      posterior = prepare(variables, key, images, rows, indices)
      constants = (variables, of_prior, posterior, rows, numbers, np.int32(num_samples))
      nothing = np.full(len(images), -np.inf, np.float32)
      totals.append(jax.block_until_ready(run(constants, nothing, firsts)))
    done += len(images)
    advance(min(done / total_count, 1.0))
    total = totals[0] if len(totals) == 1 else jax.nn.logsumexp(jnp.stack(totals), axis=0)
    return total - np.log(np.float32(num_samples * len(totals)))

  if indices is None:
    indices = np.arange(len(images), dtype=np.int32)
  return batches.map_rows(estimate, IWAE_BATCH, images, conditions, np.int32(indices))


def _completions(task: VAE, conditions: np.ndarray) -> np.ndarray:
  """[K, N, ...] conditions with each choice of the missing classes; K = 1 where none is missing."""
  columns = task.network.columns
  numbers = list(missing.inferred(columns))
  if not numbers or not np.isnan(conditions[:, numbers]).any():
    return conditions[None]
  return np.asarray(missing.completions(columns, conditions))


def _decoded_at_once(image_shape: tuple[int, int, int]) -> int:
  size = DECODED_ON_CPU if jax.default_backend() == 'cpu' else DECODED_ON_ACCELERATOR
  return max(1, size * 28 * 28 // (image_shape[0] * image_shape[1]))


@functools.cache
def _compiled_iwae(task: VAE, log_prob: Callable | None):
  """(a function of images that is computed once, a fold over chunks of their samples)."""
  network = task.network

  def prepare(variables, key, images, conditions, indices):
    images, draw_keys = task.observed(images, keys.per_example(key, indices))
    pixels = task.to_pixels(images)
    mean, logvar = network.apply(variables, pixels, conditions, train=False, method='encode')
    return pixels, draw_keys, mean, logvar

  def draw(number, key, mean, logvar):
    return gaussians.reparameterize(jax.random.fold_in(key, number), mean, logvar)

  def log_prior(variables, of_prior, latents, conditions):
    if log_prob is None:
      return network.apply(variables, latents, conditions, method='log_prior')
    flat = latents.reshape(-1, latents.shape[-1])
    repeated = jnp.tile(conditions, (len(latents),) + (1,) * (conditions.ndim - 1))
    return log_prob(of_prior, flat, repeated).reshape(latents.shape[:-1])

  def add_chunk(constants, total, first):
    variables, of_prior, posterior, conditions, numbers, num_samples = constants
    pixels, draw_keys, mean, logvar = posterior
    numbers = first + numbers
    draw_all = jax.vmap(jax.vmap(draw, (None, 0, 0, 0)), (0, None, None, None))
    latents = draw_all(numbers, draw_keys, mean, logvar)
    outputs = network.apply(variables, latents, conditions, train=False, method='decode')
    weights = log_weights(
      task.likelihood.log_prob(pixels[None], outputs),
      log_prior(variables, of_prior, latents, conditions),
      latents,
      mean,
      logvar,
    )
    weights = jnp.where(numbers[:, None] < num_samples, weights, -jnp.inf)
    return jnp.logaddexp(total, jax.nn.logsumexp(weights, axis=0))

  options = task.compiler_options
  return jax.jit(prepare, compiler_options=options), devices.compile_fold(add_chunk, options)


def log_probabilities(
  task: VAE,
  variables: Variables,
  images: np.ndarray,
  candidates: Sequence[np.ndarray],
  key: Array,
  advance: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
  """log p(c | x) by Bayes, with the ELBO instead of log p(x | c) and equally likely candidates.

  All candidates get the same noise.

  Args:
    task: of a conditional model.
    variables: its weights.
    images: uint8 [N, H, W, C].
    candidates: conditions [N, ...] each, such as one class for all images.
    key: see `elbo`.
    advance: progress callback; receives the finished fraction.

  Returns:
    [N, candidates].
  """
  elbos = []
  for number, conditions in enumerate(candidates, start=1):
    elbos.append(-elbo(task, variables, images, conditions, key).negative_elbo)
    advance(number / len(candidates))
  return special.log_softmax(np.stack(elbos, axis=1).astype(np.float64), axis=1)
