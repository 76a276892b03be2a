"""The variational autoencoder: its loss, and the bounds on log p(x | c) that all rooms call.

All in nats, float32.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from cvae_jax.config import MAX_STEPS
from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import fitted_prior, gaussians, generation, likelihoods
from cvae_jax.models.cvae import Forward
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import keys as keys_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import autoencoder, schedules
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.task import TASKS, Artifact, Batch, Terms, Variables

ACTIVE_VARIANCE = 0.01  # of posterior means over images (Burda et al. 2016, section 5.2)
MAX_CLASS_ROWS = 20  # of the grid of samples
SQUARE_COLUMNS = 8  # of the square grid of an unconditional model


def active_units(mean: Float[np.ndarray, 'images latent']) -> Bool[np.ndarray, ' latent']:
  """Which dimensions of posterior means depend on the image: Varₓ(E[z | x]) > 0.01."""
  return np.var(mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE


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


def _check(config) -> None:
  if config.free_bits and config.num_importance_samples > 1:
    raise InputError(
      f'free_bits={config.free_bits} limits the KL of the ELBO, but '
      f'num_importance_samples={config.num_importance_samples} trains on the IWAE bound. '
      'Set --config.free_bits=0 or --config.num_importance_samples=1.'
    )


@TASKS.register('vae', _check, protocol='one posterior sample, β = 1')
class VAE(Autoencoder):
  """q(z | x, c), p(z | c) and p(x | z, c), trained on a bound on log p(x | c)."""

  terms = ('reconstruction', 'kl', 'beta')
  score = 'negative_elbo'  # at β = 1, whatever β the run is trained with
  artifacts = ('prior',)
  commands = (
    ('to evaluate it', 'evaluate --workdir={}'),
    ('to draw from it', 'sample --workdir={}'),
  )

  def __init__(self, config, steps_per_epoch: int):
    super().__init__(config, steps_per_epoch)
    self._config = config
    self._total_steps = config.num_epochs * steps_per_epoch
    self._has_bits = likelihoods.is_probability(config)
    delay = config.beta_delay_steps or round(config.beta_delay_epochs * steps_per_epoch)
    delay = min(delay, MAX_STEPS)
    rise = config.beta_warmup_steps or config.beta_warmup_epochs * steps_per_epoch
    settled = schedules.steps_to_full_beta(
      config.beta_schedule, delay, rise, self._total_steps, config.beta_cycles
    )
    self.warmup_steps = min(settled, MAX_STEPS)
    self.hyperparameters = {
      'beta': np.float32(config.beta),
      'beta_delay_steps': np.int32(delay),
      'beta_warmup_steps': np.float32(rise),
      'free_bits': np.float32(config.free_bits),
    }

  @property
  def note(self) -> str:
    """How far β rises in a run that is too short for its schedule."""
    last = self._total_steps - 1
    if self._total_steps >= self.warmup_steps or not self._config.beta:
      return ''
    reached = float(self._beta(self.hyperparameters, last))
    return (
      f'β ends at {reached:.3g} of {self._config.beta:g}, which it would reach after '
      f'{self.warmup_steps:,} steps: the run has {self._total_steps:,}. Raise --config.num_epochs, '
      'or shorten --config.beta_warmup_epochs and --config.beta_delay_epochs.'
    )

  @property
  def validation_terms(self) -> tuple[str, ...]:
    return 'negative_elbo', 'reconstruction', 'kl', *(('bits_per_dim',) if self._has_bits else ())

  def loss(
    self,
    variables: Variables,
    batch: Batch,
    hyper: Mapping[str, ArrayLike],
    key: Key[Array, ''],
    step: Int[ArrayLike, ''],
  ) -> tuple[Float[Array, ''], tuple[Terms, Variables]]:
    """−ELBO with β and free bits, or −IWAE with β if there are several importance samples.

    The terms 'reconstruction' and 'kl' are those of the ELBO in both cases, with all constants; the
    loss omits `likelihood.omitted`.
    """
    images, labels = batch
    # A key for each use; new ones are added at the end.
    pixels_key, posterior_key, augment_key, dropout_key, _ = jax.random.split(key, 5)
    pixels = self.to_pixels(self.augmented(images, augment_key, pixels_key))
    num_samples = self._config.num_importance_samples

    def draw(mean, logvar):
      if num_samples > 1:
        mean, logvar = (jnp.broadcast_to(x, (num_samples, *x.shape)) for x in (mean, logvar))
      return gaussians.reparameterize(posterior_key, mean, logvar)

    forward, updated = self.training_pass(variables, pixels, labels, draw, dropout_key)
    beta = self._beta(hyper, step)
    terms = elbo(self.likelihood, pixels, forward)
    if num_samples > 1:
      weights = log_weights(
        -terms.reconstruction,
        forward.log_prior,
        forward.latents,
        forward.mean,
        forward.logvar,
        beta,
      )
      loss = -jnp.mean(importance_weighted(weights))
    else:
      # A KL of several dimensions together has the free bits of all of them.
      free_nats = hyper['free_bits'] * (forward.mean.shape[-1] // forward.kl.shape[-1])
      loss = beta_objective(terms, beta, free_nats)
    loss -= self.omitted_nats
    shown_terms = {
      'reconstruction': jnp.mean(terms.reconstruction),
      'kl': jnp.mean(jnp.sum(forward.kl, axis=-1)),
      'beta': beta,
    }
    return loss, (shown_terms, updated)

  def _beta(self, hyper: Mapping[str, ArrayLike], step: Int[ArrayLike, '']) -> Float[Array, '']:
    schedule = schedules.beta_schedule(
      self._config.beta_schedule,
      hyper['beta'],
      hyper['beta_delay_steps'],
      hyper['beta_warmup_steps'],
      self._total_steps,
      self._config.beta_cycles,
    )
    return jnp.asarray(schedule(step), jnp.float32)

  def bound(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> tuple[Elbo, Forward]:
    """The ELBO of each image, from one posterior draw, with the pass that it is computed from.

    The keys are those of `Autoencoder.observed`.
    """
    images, labels = batch
    images, draw_keys = self.observed(images, keys)
    pixels = self.to_pixels(images)
    draw = functools.partial(jax.vmap(gaussians.reparameterize), draw_keys)
    forward = self.network.apply(variables, pixels, labels, draw=draw, train=False)
    return elbo(self.likelihood, pixels, forward), forward

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    """The terms of the ELBO at β = 1, from one posterior draw of each image."""
    bound, _ = self.bound(variables, batch, keys)
    kl = jnp.sum(bound.kl, axis=-1)
    terms = {
      'negative_elbo': bound.reconstruction + kl,
      'reconstruction': bound.reconstruction,
      'kl': kl,
    }
    if self._has_bits:
      terms['bits_per_dim'] = bits_per_dimension(terms['negative_elbo'], batch[0].shape[1:])
    return terms

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Samples, a row for each class, from the same noise at every step; and reconstructions."""
    columns, rows = autoencoder.GRID_COLUMNS, min(self.network.num_classes, MAX_CLASS_ROWS)
    if not self.network.conditional:
      columns = rows = SQUARE_COLUMNS
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32) * self.network.conditional, columns)
    latents = generation.draw_prior(
      self.network,
      variables,
      labels,
      keys_lib.named(key, 'samples'),
      jnp.arange(len(labels)),
      1.0,
    )
    samples = jax.device_get(self.decode(variables, latents, labels))
    return {
      'samples': samples.reshape(rows, columns, *samples.shape[1:]),
      'reconstructions': self.reconstructions(variables, batch),
    }

  def warning(self, variables: Variables, batch: Batch) -> str | None:
    """Warns of posterior collapse: few latents depend on the image."""
    mean = self.latents(variables, batch)
    count, size = int(active_units(mean).sum()), mean.shape[1]
    if count >= self._config.min_active_share * size:
      return None
    return (
      f'posterior collapse: {count} of {size} latents depend on the image (variance of their '
      f'posterior means above {ACTIVE_VARIANCE:g}, {len(mean):,} validation images). Try a lower '
      '--config.beta, --config.free_bits=0.1, a longer --config.beta_warmup_epochs, or '
      '--config.beta_schedule=cyclical'
    )

  def finish(
    self, variables: Variables, dataset: Dataset, key: Key[Array, '']
  ) -> dict[str, Artifact]:
    """The prior fitted to the encoded training images."""
    classes = dataset.labels if self.network.conditional else np.zeros_like(dataset.labels)
    num_classes = self.network.num_classes if self.network.conditional else 1
    fitted_prior.check_size(num_classes, self.network.latent_dim)
    rows = fitted_prior.rows_to_fit(classes, num_classes, self.network.latent_dim)
    key = keys_lib.named(key, 'fitted_prior')
    moments = self.posteriors(variables, dataset, rows, key)
    fitted = fitted_prior.fit(*moments, classes[rows], num_classes)
    few = int(np.sum(~fitted_prior.has_own(classes, num_classes)))
    note = f' ({few} with few images: the fit of all)' if few else ''
    return {'prior': Artifact(fitted._asdict(), f'{fitted}{note}')}

  def posteriors(
    self,
    variables: Variables,
    dataset: Dataset,
    rows: Int[np.ndarray, ' images'],
    key: Key[Array, ''],
  ) -> tuple[Float[np.ndarray, 'images latent'], Float[np.ndarray, 'images latent']]:
    """Mean and log-variance of q(z | x, c) of some images; the key is for the binarization."""
    observe = _compiled_observed(self)

    def encode(rows, indices):
      images, labels = dataset.images[rows], dataset.labels[rows]
      return self.encode(variables, observe(images, key, indices), labels)

    indices = np.arange(len(rows), dtype=np.int32)
    return batches.map_rows(encode, autoencoder.ENCODED_BATCH, rows, indices)


@functools.cache
def _compiled_observed(task: VAE):
  def observe(images, key, indices):
    return task.observed(images, keys_lib.per_example(key, indices))[0]

  return jax.jit(observe)
