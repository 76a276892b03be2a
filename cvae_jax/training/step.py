"""One step of training: the loss, its gradient, the update."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cvae_jax.data import augmentation, corruption, transforms
from cvae_jax.models import gaussians
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.likelihoods import Likelihood
from cvae_jax.tasks import bounds
from cvae_jax.tasks.schedules import Schedule
from cvae_jax.training.settings import Settings
from cvae_jax.training.state import TrainState, update_ema

Terms = dict[str, Array]
Batch = tuple[Array, Array]  # images uint8 [B, H, W, C], labels int32 [B]


def make_loss(
  config,
  model: CVAE,
  likelihood: Likelihood,
  beta_schedule: Schedule,
  free_bits: float | Array,
) -> Callable[..., tuple[Array, tuple[Terms, Any]]]:
  """The objective that `config` describes, on one batch.

  With one importance sample −E_q[log p(x | z, c)] + β KL(q(z | x, c) ‖ p(z | c)) (Higgins et al.
  2017), the KL with its free bits. With k > 1 minus the IWAE bound, whose log-weights are
  log p(x | z, c) + β (log p(z | c) − log q(z | x, c)).

  Of a denoising autoencoder −log p(x | z, c) alone, with z the mean that its encoder gives for a
  corrupted x (Vincent et al. 2010).

  Returns:
    loss(params, batch_stats, images, labels, key, step) with images uint8 [B, H, W, C], giving the
    loss (nats, mean over images of sums over pixels and latents), and the terms with the new
    batch statistics. The terms 'reconstruction' and 'kl' are those of the ELBO in any case, with
    all constants; the loss leaves `likelihood.omitted` out.
  """
  augment = augmentation.make_augment(config.data.augment)
  num_samples = config.num_importance_samples
  corrupt = corruption.build(config)
  omitted = likelihood.omitted * math.prod(model.image_shape)

  def loss_fn(params, batch_stats, images, labels, key, step):
    # What a step draws for, each with its own key; new uses are added at the end.
    pixels_key, posterior_key, augment_key, dropout_key, noise_key = jax.random.split(key, 5)
    images = transforms.to_unit_interval(images)
    if augment:
      images = augment(augment_key, images)
    if config.data.binarize == 'dynamic':
      images = transforms.binarize(pixels_key, images)
    seen = corrupt(noise_key, images) if corrupt else images
    images, seen = (transforms.to_pixel_range(x, likelihood.pixel_range) for x in (images, seen))

    def draw(mean, logvar):
      if corrupt:
        return mean
      if num_samples > 1:
        mean, logvar = (jnp.broadcast_to(x, (num_samples, *x.shape)) for x in (mean, logvar))
      return gaussians.reparameterize(posterior_key, mean, logvar)

    forward, updated = model.apply(
      {'params': params, **batch_stats},
      seen,
      labels,
      draw=draw,
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': dropout_key},
    )
    kl = forward.kl
    beta = jnp.asarray(beta_schedule(step), jnp.float32)
    if corrupt:
      kl, beta = jnp.zeros_like(kl), jnp.zeros_like(beta)
    if num_samples > 1:
      log_prob = likelihood.log_prob(images[None], forward.outputs)  # [k, B]
      log_posterior = gaussians.log_normal(
        forward.latents, forward.mean[None], forward.logvar[None]
      )
      log_ratio = forward.log_prior - log_posterior
      loss = -jnp.mean(bounds.importance_weighted(log_prob + beta * log_ratio))
    else:
      log_prob = likelihood.log_prob(images, forward.outputs)  # [B]
      # A KL that is known of all dimensions together has all of their free bits.
      free_nats = free_bits * (config.latent_dim // kl.shape[-1])
      loss = -jnp.mean(log_prob) + beta * bounds.with_free_bits(kl, free_nats)
    loss -= omitted
    terms = {
      'loss': loss,
      'reconstruction': -jnp.mean(log_prob),
      'kl': jnp.mean(jnp.sum(kl, axis=-1)),
      'beta': beta,
    }
    return loss, (terms, updated)

  return loss_fn


TERMS = ('loss', 'reconstruction', 'kl', 'beta', 'gradient_norm', 'learning_rate')


def is_usable(terms: Terms, max_gradient_norm: float, xp=jnp) -> Array:
  """Whether the numbers of steps are finite and their gradients not too long, bool.

  Args:
    terms: numbers of any one shape.
    max_gradient_norm: what a gradient's norm may be; 0 is no limit.
    xp: what to compute with, jax.numpy or, on the host, numpy.
  """
  usable = xp.isfinite(xp.stack(list(terms.values()))).all(axis=0)
  return usable & (terms['gradient_norm'] <= max_gradient_norm) if max_gradient_norm else usable


def make_train_step(
  config, loss_fn, optimizer: optax.GradientTransformation, learning_rate: Schedule
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Terms]]:
  """A pure function (state, (images, labels), key) -> (state, terms).

  With on_nonfinite='skip' a step that is not usable changes nothing but the counts of steps, on
  which the schedules depend.
  """

  def train_step(state, batch, key):
    params = state.variables['params']
    batch_stats = {name: tree for name, tree in state.variables.items() if name != 'params'}
    (_, (terms, updated)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
      params, batch_stats, *batch, key, state.step
    )
    updates, opt_state = optimizer.update(gradient, state.opt_state, params)
    variables = {'params': optax.apply_updates(params, updates), **updated}
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, variables, config.ema_decay, state.step)
    terms = terms | {
      'gradient_norm': optax.tree.norm(gradient),  # before the clip
      'learning_rate': jnp.asarray(learning_rate(state.step), jnp.float32),
    }
    after = TrainState(state.step + 1, variables, ema, opt_state)
    if config.on_nonfinite == 'skip':
      usable = is_usable(terms, config.max_gradient_norm)
      after = jax.tree.map(
        lambda new, old: new if jnp.issubdtype(new, jnp.integer) else jnp.where(usable, new, old),
        after,
        state,
      )
    return after, terms

  return train_step


def make_step_of_run(
  build_step: Callable[[Settings], Callable[..., tuple[TrainState, Terms]]],
  pick: Callable[..., Batch],
) -> Callable[[TrainState, Any, Settings], tuple[TrainState, Terms]]:
  """A pure function (state, data, settings) -> (state, terms): its batch and noise are the run's.

  Args:
    build_step: settings -> a step as `make_train_step` returns them.
    pick: (data, step) -> (images, labels), from a `chunks.Feed`.
  """

  def step_of_run(state, data, settings):
    key = jax.random.fold_in(settings.noise_key, state.step)
    return build_step(settings)(state, pick(data, state.step), key)

  return step_of_run


def make_chunk(step_of_run) -> Callable[..., tuple[TrainState, Terms]]:
  """Many steps in one function, to be compiled.

  Args:
    step_of_run: from `make_step_of_run`, or of several runs in the same form.

  Returns:
    chunk(state, data, settings, num_steps): the state n steps on, and the terms of each step, [n].
    A chunk does not cross the end of an epoch.
  """

  def chunk(state, data, settings, num_steps):
    if num_steps == 1:  # no loop: see devices.chunk_steps
      state, terms = step_of_run(state, data, settings)
      return state, jax.tree.map(lambda term: term[None], terms)
    return jax.lax.scan(
      lambda state, _: step_of_run(state, data, settings), state, length=num_steps
    )

  return chunk
