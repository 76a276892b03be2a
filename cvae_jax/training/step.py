"""One step of training: the loss, its gradient, the update."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from cvae_jax import devices
from cvae_jax.data import transforms
from cvae_jax.models.cvae import CVAE
from cvae_jax.objectives import bounds
from cvae_jax.objectives.likelihoods import Likelihood
from cvae_jax.objectives.schedules import Schedule
from cvae_jax.training.state import TrainState, update_ema

Terms = dict[str, Array]


def make_loss(
  model: CVAE, likelihood: Likelihood, beta_schedule: Schedule, binarize: str
) -> Callable[..., tuple[Array, tuple[Terms, Any]]]:
  """The objective of Higgins et al. (2017): −E_q[log p(x | z, c)] + β KL(q(z | x, c) ‖ N(0, I)).

  Returns:
    loss(params, batch_stats, images, labels, key, step) with images uint8 [B, H, W, C], giving the
    loss (nats, mean over images of sums over pixels and latents), and the terms with the new
    batch statistics.
  """

  def loss_fn(params, batch_stats, images, labels, key, step):
    pixels_key, posterior_key = jax.random.split(key)
    images = transforms.to_unit_interval(images)
    if binarize == 'dynamic':
      images = transforms.binarize(pixels_key, images)
    images = transforms.to_pixel_range(images, likelihood.pixel_range)
    (outputs, mean, logvar), updated = model.apply(
      {'params': params, **batch_stats},
      images,
      labels,
      draw=lambda mean, logvar: bounds.reparameterize(posterior_key, mean, logvar),
      train=True,
      mutable=['batch_stats'],
    )
    reconstruction = -jnp.mean(likelihood.log_prob(images, outputs))
    kl = jnp.mean(jnp.sum(bounds.kl_to_standard_normal(mean, logvar), axis=-1))
    beta = jnp.asarray(beta_schedule(step), jnp.float32)
    loss = reconstruction + beta * kl
    terms = {'loss': loss, 'reconstruction': reconstruction, 'kl': kl, 'beta': beta}
    return loss, (terms, updated)

  return loss_fn


TERMS = ('loss', 'reconstruction', 'kl', 'beta', 'gradient_norm', 'learning_rate')


def make_train_step(
  loss_fn, optimizer: optax.GradientTransformation, learning_rate: Schedule, ema_decay: float
) -> Callable[[TrainState, tuple[Array, Array], Array], tuple[TrainState, Terms]]:
  """A pure function (state, (images, labels), key) -> (state, terms)."""

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
      ema = update_ema(ema, variables, ema_decay, state.step)
    terms = terms | {
      'gradient_norm': optax.tree.norm(gradient),  # before the clip
      'learning_rate': jnp.asarray(learning_rate(state.step), jnp.float32),
    }
    return TrainState(state.step + 1, variables, ema, opt_state), terms

  return train_step


def make_chunk(train_step, noise_key: Array, mesh: Mesh) -> Callable[..., tuple[TrainState, Terms]]:
  """Compiles many steps into one dispatch, over data that lies on the device.

  Args:
    train_step: from `make_train_step`.
    noise_key: the key of the stream from which each step takes its own.
    mesh: the devices over which each batch is split.

  Returns:
    chunk(state, images, labels, order, num_steps=n): the state n steps on, and the terms of each
    step, [n]. `order` is the epoch's [steps, batch] row numbers; the state is donated; a chunk
    does not cross the end of an epoch.
  """
  everywhere, split = devices.replicated(mesh), devices.split_batch(mesh)

  def one_step(state, images, labels, order):
    rows = jax.lax.with_sharding_constraint(order[state.step % len(order)], split)
    key = jax.random.fold_in(noise_key, state.step)
    return train_step(state, (images[rows], labels[rows]), key)

  @partial(
    jax.jit,
    donate_argnames='state',
    static_argnames='num_steps',
    out_shardings=everywhere,
  )
  def chunk(state, images, labels, order, num_steps):
    if num_steps == 1:  # no loop: see devices.chunk_steps
      state, terms = one_step(state, images, labels, order)
      return state, jax.tree.map(lambda term: term[None], terms)
    return jax.lax.scan(
      lambda state, _: one_step(state, images, labels, order), state, length=num_steps
    )

  return chunk
