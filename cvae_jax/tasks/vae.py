"""The variational autoencoder: its loss, and the bounds on log p(x | c) that all rooms call.

All in nats, float32.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from cvae_jax.config import MAX_STEPS
from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import fitted_prior, gaussians, generation, likelihoods, missing
from cvae_jax.models.cvae import Conditions, Forward
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.runtime import keys as keys_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import autoencoder, schedules
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.task import TASKS, Artifact, Batch, Terms, Variables

ACTIVE_VARIANCE = 0.01  # of posterior means over images (Burda et al. 2016, section 5.2)
MAX_COMPLETIONS = 256  # of a row of conditions; each is decoded
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


# (latents [B, latent], conditions) -> log p(z | c) [B], in nats.
LogPrior = Callable[[Float[ArrayLike, 'batch latent'], Conditions], Float[Array, ' batch']]


class Missing(NamedTuple):
  """What the bound of images whose class may be missing has beside the ELBO (M2)."""

  kl: Float[Array, ' batch']  # KL(q(c | x) ‖ p(c)), 0 where the class is known
  cross_entropy: Float[Array, '']  # −log q(c | x), mean over images whose class is known


class Bound(NamedTuple):
  """The bound of each image and the posterior that it is computed from."""

  terms: Elbo
  class_kl: Float[Array, ' batch']  # see `Missing`
  mean: Float[Array, 'batch latent']
  logvar: Float[Array, 'batch latent']
  latents: Float[Array, 'batch latent']


def kl_at_draw(
  forward: Forward, log_prior: Float[Array, '*draws batch']
) -> Float[Array, '*draws batch 1']:
  """log q(z | x, c) − log p(z | c) of each draw: in expectation the KL."""
  log_posterior = gaussians.log_normal(forward.latents, forward.mean, forward.logvar)
  return (log_posterior - log_prior)[..., None]


def expected(terms: Elbo, weights: Float[ArrayLike, 'k batch']) -> Elbo:
  """Σ_c q(c | x) ELBO(x, c), from the terms [K, B] of every class (M2, eq. 7)."""
  return Elbo(
    jnp.sum(weights * terms.reconstruction, axis=0),
    jnp.sum(weights[..., None] * terms.kl, axis=0),
  )


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
  autoencoder.check_no_perceptual_term(config)
  columns = conditions_lib.of_config(config)
  choices = missing.num_completions(columns)
  if choices > MAX_COMPLETIONS:
    raise InputError(
      f'data.conditions={config.data.conditions!r}: an image with missing classes has up to '
      f'{choices:,} completions to sum over, more than {MAX_COMPLETIONS}. Leave a column out, or '
      'set --config.classifier_weight=0: then the network is told that a class is unknown.'
    )
  if choices > 1 < config.num_importance_samples:
    raise InputError(
      f'num_importance_samples={config.num_importance_samples}, but some classes of '
      f'data.conditions={config.data.conditions!r} are missing, and their sum is of the ELBO. Set '
      '--config.num_importance_samples=1, or --config.classifier_weight=0.'
    )
  if config.free_bits and config.num_importance_samples > 1:
    raise InputError(
      f'free_bits={config.free_bits} limits the KL of the ELBO, but '
      f'num_importance_samples={config.num_importance_samples} trains on the IWAE bound. '
      'Set --config.free_bits=0 or --config.num_importance_samples=1.'
    )


@TASKS.register('vae', _check, protocol='one posterior sample, β = 1')
class VAE(Autoencoder):
  """q(z | x, c), p(z | c) and p(x | z, c), trained on a bound on log p(x | c)."""

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
    self._classifier_warmup_steps = config.classifier_warmup_epochs * steps_per_epoch
    self._has_bits = likelihoods.is_probability(config)
    missing_terms = ('class_kl', 'cross_entropy') if self.network.is_inferring else ()
    self.terms = ('reconstruction', 'kl', *missing_terms, 'beta')
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
    """What missing classes cost, and how far β rises in a run too short for its schedule."""
    return ' '.join(filter(None, (self._note_of_missing, self._note_of_beta)))

  @property
  def _note_of_missing(self) -> str:
    if not self.network.is_inferring:
      return ''
    return (
      f'Each image is decoded {missing.num_completions(self.network.columns)} times, for every '
      'choice of its missing classes. With --config.model.name=conv_mlp that is quicker; with '
      '--config.classifier_weight=0 they are an input "unknown", at no cost.'
    )

  @property
  def _note_of_beta(self) -> str:
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
    of_classes = ('class_kl',) if self.network.is_inferring else ()
    bits = ('bits_per_dim',) if self._has_bits else ()
    return 'negative_elbo', 'reconstruction', 'kl', *of_classes, *bits

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
    images, conditions = batch
    # A key for each use; new ones are added at the end.
    pixels_key, posterior_key, augment_key, dropout_key, _ = jax.random.split(key, 5)
    pixels = self.to_pixels(self.augmented(images, augment_key, pixels_key))
    beta = self._beta(hyper, step)
    if self.network.is_inferring:
      terms, classes, updated = self._bound_of_every_class(
        variables, pixels, conditions, step, posterior_key, dropout_key
      )
      loss = beta_objective(terms, beta, self._free_nats(hyper, terms))
      loss += beta * jnp.mean(classes.kl)
      loss += self._config.classifier_weight * classes.cross_entropy
      shown = {'class_kl': jnp.mean(classes.kl), 'cross_entropy': classes.cross_entropy}
    else:
      loss, terms, updated = self._loss_of_known(
        variables, pixels, conditions, beta, hyper, posterior_key, dropout_key
      )
      shown = {}
    shown |= {
      'reconstruction': jnp.mean(terms.reconstruction),
      'kl': jnp.mean(jnp.sum(terms.kl, axis=-1)),
      'beta': beta,
    }
    return loss - self.omitted_nats, (shown, updated)

  def _loss_of_known(
    self, variables, pixels, conditions, beta, hyper, posterior_key, dropout_key
  ) -> tuple[Float[Array, ''], Elbo, Variables]:
    """The loss where conditions are known, or the network is told that they are not."""
    num_samples = self._config.num_importance_samples

    def draw(mean, logvar):
      if num_samples > 1:
        mean, logvar = (jnp.broadcast_to(x, (num_samples, *x.shape)) for x in (mean, logvar))
      return gaussians.reparameterize(posterior_key, mean, logvar)

    forward, updated = self.training_pass(variables, pixels, conditions, draw, dropout_key)
    terms = elbo(self.likelihood, pixels, forward)
    if num_samples == 1:
      return beta_objective(terms, beta, self._free_nats(hyper, terms)), terms, updated
    weights = log_weights(
      -terms.reconstruction,
      forward.log_prior,
      forward.latents,
      forward.mean,
      forward.logvar,
      beta,
    )
    return -jnp.mean(importance_weighted(weights)), terms, updated

  def _bound_of_every_class(
    self, variables, pixels, conditions, step, posterior_key, dropout_key
  ) -> tuple[Elbo, Missing, Variables]:
    """The ELBO expected under q(c | x), where classes may be missing, and what it has beside it."""
    columns, hidden = self.network.columns, self.hidden(dropout_key, len(pixels))
    draw = jax.vmap(gaussians.reparameterize, (None, 0, 0))  # the same noise for all classes
    (forward, log_probs), updated = self.network.apply(
      variables,
      pixels,
      conditions,
      hidden,
      draw=functools.partial(draw, posterior_key),
      train=True,
      method='every_completion',
      mutable=['batch_stats'],
      rngs={'dropout': dropout_key},
    )
    taught = self._taught(log_probs, step)
    weights = missing.weights(columns, conditions, taught)
    kl = missing.kl(columns, conditions, taught)
    classes = Missing(
      # Without conditions no class fits better than another: q(c | x) would forget them.
      kl if hidden is None else jnp.where(hidden, 0.0, kl),
      missing.cross_entropy(columns, conditions, log_probs),
    )
    return expected(elbo(self.likelihood, pixels, forward), weights), classes, updated

  def _taught(self, log_probs: missing.LogProbs, step: Int[ArrayLike, '']) -> missing.LogProbs:
    """log q(c | x) with a gradient that rises during `classifier_warmup_epochs`.

    Before q(c | x) knows the classes, the bound would make of them what suits the decoder.
    """
    if not self._classifier_warmup_steps:
      return log_probs
    rise = jnp.minimum(step / self._classifier_warmup_steps, 1.0)
    return tuple(rise * x + jax.lax.stop_gradient((1 - rise) * x) for x in log_probs)

  def _free_nats(self, hyper: Mapping[str, ArrayLike], terms: Elbo) -> Float[ArrayLike, '']:
    """Of a group of latents: a KL of several dimensions together has the free bits of all."""
    return hyper['free_bits'] * (self.network.latent_dim // terms.kl.shape[-1])

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
    self,
    variables: Variables,
    batch: Batch,
    keys: Key[Array, ' batch'],
    log_prior: LogPrior | None = None,
  ) -> Bound:
    """The ELBO of each image from one posterior draw, with what it is computed from.

    The keys are those of `Autoencoder.observed`. Where a class is missing, the ELBO is the expected
    one under q(c | x), and the posterior that of the likeliest class. With another prior than the
    model's own, `log_prior`, the KL is log q(z | x, c) − log p(z | c) at that draw.
    """
    images, conditions = batch
    images, draw_keys = self.observed(images, keys)
    pixels = self.to_pixels(images)
    draw = functools.partial(jax.vmap(gaussians.reparameterize), draw_keys)
    if not self.network.is_inferring:
      forward = self.network.apply(variables, pixels, conditions, draw=draw, train=False)
      if log_prior is not None:
        forward = forward._replace(kl=kl_at_draw(forward, log_prior(forward.latents, conditions)))
      terms = elbo(self.likelihood, pixels, forward)
      nothing = jnp.zeros(len(pixels))
      return Bound(terms, nothing, forward.mean, forward.logvar, forward.latents)
    columns = self.network.columns
    forward, log_probs = self.network.apply(
      variables,
      pixels,
      conditions,
      None,
      draw=jax.vmap(draw),
      train=False,
      method='every_completion',
    )
    if log_prior is not None:
      completed = missing.completions(columns, conditions)
      of_draws = jax.lax.map(lambda rows: log_prior(*rows), (forward.latents, completed))
      forward = forward._replace(kl=kl_at_draw(forward, of_draws))
    weights = missing.weights(columns, conditions, log_probs)
    best = jnp.argmax(weights, axis=0)[None, :, None]
    posterior = (
      jnp.take_along_axis(x, best, axis=0)[0]
      for x in (forward.mean, forward.logvar, forward.latents)
    )
    terms = expected(elbo(self.likelihood, pixels, forward), weights)
    return Bound(terms, missing.kl(columns, conditions, log_probs), *posterior)

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    """The terms of the ELBO at β = 1, from one posterior draw of each image."""
    bound = self.bound(variables, batch, keys)
    kl = jnp.sum(bound.terms.kl, axis=-1)
    terms = {
      'negative_elbo': bound.terms.reconstruction + kl + bound.class_kl,
      'reconstruction': bound.terms.reconstruction,
      'kl': kl,
    }
    if self.network.is_inferring:
      terms['class_kl'] = bound.class_kl
    if self._has_bits:
      terms['bits_per_dim'] = bits_per_dimension(terms['negative_elbo'], batch[0].shape[1:])
    return terms

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Samples, a row for each class, from the same noise at every step; and reconstructions."""
    columns, rows = autoencoder.GRID_COLUMNS, min(self.network.num_classes, MAX_CLASS_ROWS)
    has_classes = self.network.conditional and rows > 0
    if not has_classes:
      columns = rows = SQUARE_COLUMNS
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32) * has_classes, columns)
    conditions = conditions_lib.of_classes(self.network.columns, labels, batch[1])
    latents = generation.draw_prior(
      self.network,
      variables,
      conditions,
      keys_lib.named(key, 'samples'),
      jnp.arange(len(labels)),
      1.0,
    )
    samples = jax.device_get(self.decode(variables, latents, conditions))
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
    num_classes = fitted_prior.num_classes(self._config)
    fitted_prior.check_size(num_classes, self.network.latent_dim)
    classes = self._classes(variables, dataset)
    known = np.flatnonzero(classes >= 0)
    classes = classes[known]
    fitted_to = fitted_prior.rows_to_fit(classes, num_classes, self.network.latent_dim)
    key = keys_lib.named(key, 'fitted_prior')
    moments = self.posteriors(variables, dataset, known[fitted_to], key)
    fitted = fitted_prior.fit(*moments, classes[fitted_to], num_classes)
    few = int(np.sum(~fitted_prior.has_own(classes, num_classes)))
    note = f' ({few} with few images: the fit of all)' if few else ''
    return {'prior': Artifact(fitted._asdict(), f'{fitted}{note}')}

  def _classes(self, variables: Variables, dataset: Dataset) -> Int[np.ndarray, ' images']:
    """The class of each image, the likeliest one where it is missing; −1 without a q(c | x)."""
    if not self.network.conditional:
      return np.zeros_like(dataset.labels)
    if not self.network.is_inferring:
      return dataset.labels
    network, likelihood = self.network, self.likelihood

    def complete(images, conditions):
      images = np.float32(images) / 255
      return generation.complete(network, likelihood, variables, images, conditions)

    size = autoencoder.ENCODED_BATCH
    values = batches.map_rows(complete, size, dataset.images, dataset.conditions)
    return np.asarray(conditions_lib.labels_of(network.columns, values))

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
      images, conditions = dataset.images[rows], dataset.conditions[rows]
      return self.encode(variables, observe(images, key, indices), conditions)

    indices = np.arange(len(rows), dtype=np.int32)
    return batches.map_rows(encode, autoencoder.ENCODED_BATCH, rows, indices)


@functools.cache
def _compiled_observed(task: VAE):
  def observe(images, key, indices):
    return task.observed(images, keys_lib.per_example(key, indices))[0]

  return jax.jit(observe)
