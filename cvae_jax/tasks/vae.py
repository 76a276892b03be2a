"""The variational autoencoder: the ELBO with its β, or the importance-weighted bound."""

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax.config import MAX_STEPS
from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import cvae, fitted_prior, gaussians, generation, likelihoods
from cvae_jax.models.cvae import Forward
from cvae_jax.runtime import keys as keys_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import autoencoder, bounds, schedules
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.bounds import Elbo
from cvae_jax.tasks.task import TASKS, Artifact, Batch, Terms, Variables

ACTIVE_VARIANCE = 0.01  # of posterior means over images (Burda et al. 2016, section 5.2)
MAX_CLASS_ROWS = 20  # of the grid of samples
SQUARE_COLUMNS = 8  # of the grid of an unconditional model


def active_units(mean: np.ndarray) -> np.ndarray:
  """Which dimensions depend on the image: Varₓ(E[z | x]) > 0.01 (Burda et al. 2016).

  Args:
    mean: [N, latent] posterior means.

  Returns:
    [latent] bool.
  """
  return np.var(mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE


def _check(config) -> None:
  cvae.check(config)
  if config.free_bits and config.num_importance_samples > 1:
    raise InputError(
      f'free_bits={config.free_bits} is about the KL of the ELBO, which '
      f'num_importance_samples={config.num_importance_samples} replaces by the IWAE bound. '
      'Set one of them back: free_bits=0 or num_importance_samples=1.'
    )


@TASKS.register('vae', _check, protocol='one posterior sample, β = 1')
class VAE(Autoencoder):
  """q(z | x, c), p(z | c) and p(x | z, c), trained on a bound of log p(x | c)."""

  terms = ('reconstruction', 'kl', 'beta')
  score = 'negative_elbo'  # at β = 1, whatever the run is trained with
  artifacts = ('prior',)
  commands = (
    ('to evaluate it', 'python evaluate.py --workdir={}'),
    ('to draw from it', 'python sample.py --workdir={}'),
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
    if delay >= self._total_steps:
      self.note = (
        f'β stays 0: its delay of {delay} steps is as long as the run of {self._total_steps}.'
      )
    self.hyperparameters = {
      'beta': jnp.float32(config.beta),
      'beta_delay_steps': jnp.int32(delay),
      'beta_warmup_steps': jnp.float32(rise),
      'free_bits': jnp.float32(config.free_bits),
    }

  @property
  def validation_terms(self) -> tuple[str, ...]:  # noqa: D102 (Task's)
    return 'negative_elbo', 'reconstruction', 'kl', *(('bits_per_dim',) if self._has_bits else ())

  def loss(
    self, variables: Variables, batch: Batch, hyper: Mapping[str, Array], key: Array, step: Array
  ) -> tuple[Array, tuple[Terms, Variables]]:
    """−ELBO with β and free bits, or with k > 1 importance samples −IWAE with β.

    The terms 'reconstruction' and 'kl' are those of the ELBO in any case, with all constants; the
    loss leaves `likelihood.omitted` out.
    """
    images, labels = batch
    # What a step draws for, each with its own key; new uses are added at the end.
    pixels_key, posterior_key, augment_key, dropout_key, _ = jax.random.split(key, 5)
    pixels = self.to_pixels(self.augmented(images, augment_key, pixels_key))
    num_samples = self._config.num_importance_samples

    def draw(mean, logvar):
      if num_samples > 1:
        mean, logvar = (jnp.broadcast_to(x, (num_samples, *x.shape)) for x in (mean, logvar))
      return gaussians.reparameterize(posterior_key, mean, logvar)

    forward, updated = self.network.apply(
      variables,
      pixels,
      labels,
      draw=draw,
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': dropout_key},
    )
    beta = self._beta(hyper, step)
    terms = bounds.elbo(self.likelihood, pixels, forward)
    if num_samples > 1:
      log_weights = bounds.log_weights(
        -terms.reconstruction,
        forward.log_prior,
        forward.latents,
        forward.mean,
        forward.logvar,
        beta,
      )
      loss = -jnp.mean(bounds.importance_weighted(log_weights))
    else:
      # A KL that is known of all dimensions together has the free bits of all.
      free_nats = hyper['free_bits'] * (forward.mean.shape[-1] // forward.kl.shape[-1])
      loss = bounds.beta_objective(terms, beta, free_nats)
    loss -= self.likelihood.omitted * math.prod(self.network.image_shape)
    shown = {
      'reconstruction': jnp.mean(terms.reconstruction),
      'kl': jnp.mean(jnp.sum(forward.kl, axis=-1)),
      'beta': beta,
    }
    return loss, (shown, updated)

  def _beta(self, hyper: Mapping[str, Array], step: Array) -> Array:
    schedule = schedules.beta_schedule(
      self._config.beta_schedule,
      hyper['beta'],
      hyper['beta_delay_steps'],
      hyper['beta_warmup_steps'],
      self._total_steps,
      self._config.beta_cycles,
    )
    return jnp.asarray(schedule(step), jnp.float32)

  def bound(self, variables: Variables, batch: Batch, keys: Array) -> tuple[Elbo, Forward]:
    """The ELBO of each image, with one draw of its posterior, and all that it is made of.

    Args:
      variables: the model's.
      batch: images uint8 [B, H, W, C] and labels [B].
      keys: [B]; see `Autoencoder.observed`.
    """
    images, labels = batch
    images, draw_keys = self.observed(images, keys)
    pixels = self.to_pixels(images)
    draw = functools.partial(jax.vmap(gaussians.reparameterize), draw_keys)
    forward = self.network.apply(variables, pixels, labels, draw=draw, train=False)
    return bounds.elbo(self.likelihood, pixels, forward), forward

  def evaluate(self, variables: Variables, batch: Batch, keys: Array) -> Terms:
    """The terms of the ELBO at β = 1 of each image, [B], one posterior draw each."""
    elbo, _ = self.bound(variables, batch, keys)
    kl = jnp.sum(elbo.kl, axis=-1)
    terms = {
      'negative_elbo': elbo.reconstruction + kl,
      'reconstruction': elbo.reconstruction,
      'kl': kl,
    }
    if self._has_bits:
      terms['bits_per_dim'] = bounds.bits_per_dimension(terms['negative_elbo'], batch[0].shape[1:])
    return terms

  def pictures(self, variables: Variables, batch: Batch, key: Array) -> dict[str, np.ndarray]:
    """Samples of the same latents at every step, a row for each class; and reconstructions."""
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
    """Says so where few latents are used: the posterior has collapsed to the prior."""
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

  def finish(self, variables: Variables, dataset: Dataset, key: Array) -> dict[str, Artifact]:
    """The prior that is fitted to where the encoder puts the training images."""
    classes = dataset.labels if self.network.conditional else np.zeros_like(dataset.labels)
    num_classes = self.network.num_classes if self.network.conditional else 1
    fitted_prior.check_size(num_classes, self.network.latent_dim)
    rows = fitted_prior.rows_to_fit(classes, num_classes)
    key = keys_lib.named(key, 'fitted_prior')
    moments = self.posteriors(variables, dataset.images[rows], dataset.labels[rows], key)
    fitted = fitted_prior.fit(*moments, classes[rows], num_classes)
    few = int(np.sum(~fitted_prior.has_own(classes, num_classes)))
    note = f' ({few} with few images: the fit of all)' if few else ''
    return {'prior': Artifact(fitted._asdict(), f'{fitted}{note}')}

  def posteriors(self, variables: Variables, images: np.ndarray, labels: np.ndarray, key: Array):
    """Mean and log-variance of q(z | x, c), [N, latent] each, of images as the model sees them.

    Args:
      variables: the model's.
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      key: of the binarization.
    """
    observe = _compiled_observed(self)
    return batches.map_rows(
      lambda images, labels, indices: self.encode(variables, observe(images, key, indices), labels),
      autoencoder.ENCODED_BATCH,
      images,
      labels,
      np.arange(len(labels), dtype=np.int32),
    )


@functools.cache
def _compiled_observed(task: VAE):
  def observe(images, key, indices):
    return task.observed(images, keys_lib.per_example(key, indices))[0]

  return jax.jit(observe)
