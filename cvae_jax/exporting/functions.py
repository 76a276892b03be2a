"""The functions of a trained model that every format exports, of arrays alone.

A function closes over the weights, and takes and gives arrays whose first axis is the batch:
images float32 [N, H, W, C] in [0, 1], latents float32 [N, latent], and, for a conditional model,
conditions as `Conditions.values` has them: int32 [N] classes, or float32 [N, columns] with NaN for
unknown. All in float32, whatever the training computed in.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax.inference.model import Model
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import cvae, fitted_prior, generation, priors


class Argument(NamedTuple):
  """One input or output of a function."""

  name: str
  shape: tuple[int, ...]  # of one row; the batch comes before it
  dtype: type  # np.float32 or np.int32

  def example(self, count: int, seed: int = 0) -> np.ndarray:
    """`count` rows of zeros."""
    return np.zeros((count, *self.shape), self.dtype)


class Function(NamedTuple):
  """A function of a trained model, with the names of what it takes and gives."""

  name: str  # 'encoder', 'decoder' or 'prior'
  call: Callable[..., tuple[jax.Array, ...]]
  inputs: tuple[Argument, ...]
  outputs: tuple[Argument, ...]


def functions_of(model: Model) -> tuple[Function, ...]:
  """The encoder, the decoder and, where latents have a distribution, the prior."""
  of_prior = (prior(model),) if model.has_prior else ()
  return (encoder(model), decoder(model), *of_prior)


def encoder(model: Model) -> Function:
  """(images[, conditions]) -> mean and logvar of q(z | x, c)."""
  network = network_of(model)

  def call(images, conditions=None):
    rows = _or_zeros(conditions, images)
    return generation.encode(network, model.task.likelihood, model.variables, images, rows)

  images = Argument('images', model.image_shape, np.float32)
  outputs = tuple(_latents(model, name) for name in ('mean', 'logvar'))
  return Function('encoder', call, (images, *_conditions(model)), outputs)


def decoder(model: Model) -> Function:
  """(latents[, conditions]) -> E[x | z, c], images in [0, 1]."""
  network = network_of(model)

  def call(latents, conditions=None):
    rows = _or_zeros(conditions, latents)
    return (generation.decode(network, model.task.likelihood, model.variables, latents, rows),)

  images = Argument('images', model.image_shape, np.float32)
  return Function('decoder', call, (_latents(model, 'latents'), *_conditions(model)), (images,))


def prior(model: Model) -> Function:
  """(noise[, uniform][, conditions]) -> latents of the prior that sample.py draws from.

  Noise is N(0, I), float32 [N, latent]; times a temperature it draws at that temperature. A mixture
  takes its component from `uniform`, float32 [N] in [0, 1).

  Raises:
    InputError: latents have no distribution, or the fitted prior on disk cannot be used.
  """
  if model.prior.choose(None) == 'fitted':
    return _fitted_prior(model)
  network = network_of(model)
  rows = jnp.zeros((1, *(shape for a in _conditions(model) for shape in a.shape)), _dtype(model))
  is_mixture = isinstance(network.apply(model.variables, rows, method='_prior'), priors.Mixture)

  def call(noise, *rest):
    uniform, rest = (rest[0], rest[1:]) if is_mixture else (None, rest)
    rows = rest[0] if rest else _or_zeros(None, noise)
    method = functools.partial(network.apply, model.variables, method='from_noise')
    return (method(noise, uniform, rows),)

  return Function('prior', call, _prior_inputs(model, is_mixture), (_latents(model, 'latents'),))


def _fitted_prior(model: Model) -> Function:
  columns = model.task.network.columns

  def call(noise, uniform, conditions=None):
    rows = _or_zeros(conditions, noise)
    labels = conditions_lib.labels_of(columns, rows) if rows.ndim == 2 else rows
    return (fitted_prior.from_noise(model.prior.fitted, labels, noise, uniform),)

  return Function('prior', call, _prior_inputs(model, True), (_latents(model, 'latents'),))


def network_of(model: Model) -> cvae.CVAE:
  """The model's network, computing in float32."""
  if model.config.precision == 'float32':
    return model.task.network
  config = model.config.copy_and_resolve_references()
  config.precision = 'float32'
  return cvae.build(config)


def _latents(model: Model, name: str) -> Argument:
  return Argument(name, (model.config.latent_dim,), np.float32)


def _conditions(model: Model) -> tuple[Argument, ...]:
  """The argument of the conditions, if the model takes any."""
  if not model.conditional:
    return ()
  shape = (len(model.columns),) if model.conditioning.has_table else ()
  return (Argument('conditions', shape, _dtype(model)),)


def _dtype(model: Model) -> type:
  return np.float32 if model.conditioning.has_table else np.int32


def _prior_inputs(model: Model, is_mixture: bool) -> tuple[Argument, ...]:
  uniform = (Argument('uniform', (), np.float32),) if is_mixture else ()
  return (_latents(model, 'noise'), *uniform, *_conditions(model))


def _or_zeros(conditions, batch):
  """The conditions; of an unconditional model, which ignores them, zeros."""
  return jnp.zeros(batch.shape[0], jnp.int32) if conditions is None else conditions
