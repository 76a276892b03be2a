"""The functions of a trained model that every format exports, of arrays alone.

A function closes over the weights, and takes and gives arrays whose first axis is the batch:
images float32 [N, H, W, C] in [0, 1], latents float32 [N, latent], and, for a conditional model,
conditions as `Conditions.values` has them: int32 [N] classes, or float32 [N, columns] with NaN for
unknown. All of it is computed in float32, whatever the training computed in.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax.data import transforms
from cvae_jax.inference.model import Model
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import cvae, fitted_prior, priors
from cvae_jax.runtime.errors import InputError


class Argument(NamedTuple):
  """One input or output of a function."""

  name: str
  shape: tuple[int, ...]  # of one row; the batch comes before it
  dtype: type  # np.float32 or np.int32


class Function(NamedTuple):
  """A function of a trained model, with the names of what it takes and gives."""

  name: str  # 'encoder', 'decoder' or 'prior'
  call: Callable[..., tuple[jax.Array, ...]]
  inputs: tuple[Argument, ...]
  outputs: tuple[Argument, ...]


def functions_of(model: Model, network: cvae.CVAE | None = None) -> tuple[Function, ...]:
  """The encoder, the decoder and, where latents have a distribution, the prior.

  Args:
    model: the model.
    network: computes them; None is `network_of(model, folded=False)`. In onnxruntime the decoder of
      the shipped mnist is 6 % faster so than folded, its file 4 % smaller; for a GPU nothing says
      that folding pays.
  """
  network = network_of(model, folded=False) if network is None else network
  of_prior = (prior(model, network),) if model.has_prior else ()
  return (encoder(model, network), decoder(model, network), *of_prior)


def network_of(model: Model, folded: bool | None = None) -> cvae.CVAE:
  """The model's network, computing in float32; `folded` as in `blocks.style`."""
  config = model.config.copy_and_resolve_references()
  config.precision = 'float32'
  return cvae.build(config, folded)


def encoder(model: Model, network: cvae.CVAE) -> Function:
  """(images[, conditions]) -> mean and logvar of q(z | x, c)."""
  apply, pixel_range = _applied(model, network), model.task.likelihood.pixel_range

  def call(images, conditions=None):
    pixels = transforms.to_pixel_range(images, pixel_range)
    return apply(pixels, _or_zeros(conditions, images), train=False, method='encode')

  images = Argument('images', model.image_shape, np.float32)
  outputs = _latents(model, 'mean'), _latents(model, 'logvar')
  return Function('encoder', call, (images, *_conditions(model)), outputs)


def decoder(model: Model, network: cvae.CVAE) -> Function:
  """(latents[, conditions]) -> E[x | z, c], images in [0, 1]."""
  apply, likelihood = _applied(model, network), model.task.likelihood

  def call(latents, conditions=None):
    rows = _or_zeros(conditions, latents)
    outputs = apply(latents, rows, train=False, method='decode')
    return (transforms.to_display(likelihood.mean(outputs), likelihood.pixel_range),)

  images = Argument('images', model.image_shape, np.float32)
  return Function('decoder', call, (_latents(model, 'latents'), *_conditions(model)), (images,))


def prior(model: Model, network: cvae.CVAE) -> Function:
  """(noise[, uniform][, conditions]) -> latents of the prior that sample.py draws from.

  Noise is N(0, I), float32 [N, latent]; times a temperature it draws at that temperature. A mixture
  takes its component from `uniform`, float32 [N] in [0, 1).

  Raises:
    InputError: latents have no distribution, the fitted prior on disk cannot be used, or a prior of
      the user's own has no `from_noise`.
  """
  if model.prior.choose(None) == 'fitted':
    return _fitted_prior(model)
  apply = _applied(model, network)
  one_row = np.zeros((1, *(size for each in _conditions(model) for size in each.shape)))
  one_row = one_row.astype(_conditions_dtype(model))
  density = apply(one_row, method='density')
  if type(density).from_noise is priors.Density.from_noise:
    raise InputError(
      f'prior={model.config.prior!r} cannot be exported: {type(density).__name__} has no method '
      'from_noise, which makes latents of noise ~ N(0, I). Add it.'
    )
  is_mixture = isinstance(density, priors.Mixture)

  def call(noise, *rest):
    uniform = rest[0] if is_mixture else None
    rows = rest[-1] if model.conditional else _or_zeros(None, noise)
    return (apply(noise, uniform, rows, method='from_noise'),)

  return Function('prior', call, _of_prior(model, is_mixture), (_latents(model, 'latents'),))


def _fitted_prior(model: Model) -> Function:
  columns, fitted = model.task.network.columns, model.prior.fitted

  def call(noise, uniform, conditions=None):
    labels = _or_zeros(conditions, noise)
    if columns and conditions is not None:
      labels = conditions_lib.labels_of(columns, conditions)
    return (fitted_prior.from_noise(fitted, labels, noise, uniform),)

  return Function('prior', call, _of_prior(model, True), (_latents(model, 'latents'),))


def _applied(model: Model, network: cvae.CVAE) -> Callable:
  """The network with the model's weights, which become constants."""

  def apply(*arguments, **options):
    # By default an accelerator multiplies float32 in fewer digits.
    with jax.default_matmul_precision('highest'):
      return network.apply(model.variables, *arguments, **options)

  return apply


def _latents(model: Model, name: str) -> Argument:
  return Argument(name, (model.config.latent_dim,), np.float32)


def _conditions(model: Model) -> tuple[Argument, ...]:
  """The argument of the conditions, if the model takes any."""
  if not model.conditional:
    return ()
  shape = (len(model.columns),) if model.conditioning.has_table else ()
  return (Argument('conditions', shape, _conditions_dtype(model)),)


def _conditions_dtype(model: Model) -> type:
  return np.float32 if model.conditioning.has_table else np.int32


def _of_prior(model: Model, is_mixture: bool) -> tuple[Argument, ...]:
  uniform = (Argument('uniform', (), np.float32),) if is_mixture else ()
  return (_latents(model, 'noise'), *uniform, *_conditions(model))


def _or_zeros(conditions, batch):
  """The conditions; of an unconditional model, which ignores them, zeros."""
  return jnp.zeros(batch.shape[0], jnp.int32) if conditions is None else conditions
