"""What a page computes of one image: the functions that are lowered to programs."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvae_jax.data import transforms
from cvae_jax.exporting import functions
from cvae_jax.inference.model import Model


class Function(NamedTuple):
  """A function of arrays with a batch of one, and what it takes."""

  call: Callable
  inputs: dict[str, jax.ShapeDtypeStruct]  # by their names in `assets/engine.js`


def functions_of(model: Model) -> dict[str, Function]:
  """The functions of a page, by name.

  - features: (image) -> what the encoder makes of it, the same for all conditions;
  - posterior: (features, row) -> mean and log-variance of q(z | x, c);
  - decode: (latent, row) -> the image E[x | z, c] in [0, 1];
  - terms: (image, mean, logvar, noise, row) -> −log p(x | z, c) and KL(q(z | x, c) ‖ p(z | c)) in
    nats, with z = mean + exp(logvar / 2) · noise;
  - draw: (noise[, uniform], row) -> a latent of the prior, see `functions.prior`;
  - restyle: (latent, row, other) -> the latent of the same style under other conditions; only where
    the model's prior is not N(0, I), which leaves it as it is.

  A row is one condition as the model takes it; an unconditional model has none.
  """
  network, likelihood = functions.network_of(model, folded=True), model.task.likelihood
  decoder, prior = functions.decoder(model, network), functions.prior(model, network)
  numbers = lambda *shape: jax.ShapeDtypeStruct((1, *shape), jnp.float32)  # noqa: E731
  latent, image = numbers(model.config.latent_dim), numbers(*model.image_shape)
  row = {a.name: jax.ShapeDtypeStruct((1, *a.shape), a.dtype) for a in decoder.inputs[1:]}
  row = {'row': row['conditions']} if row else {}

  def apply(method, *arguments):
    return network.apply(model.variables, *arguments, method=method)

  def rows_of(given):
    return given[0] if given else jnp.zeros(1, jnp.int32)

  def features(image):
    pixels = transforms.to_pixel_range(image, likelihood.pixel_range)
    return (apply(lambda network, pixels: network.encoder(pixels, False), pixels),)

  def posterior(features, *row):
    return apply(lambda network, *given: network.posterior(*given), features, rows_of(row))

  def terms(image, mean, logvar, noise, *row):
    pixels = transforms.to_pixel_range(image, likelihood.pixel_range)
    latents = mean + jnp.exp(0.5 * logvar) * noise

    def both(network, conditions):
      outputs = network.decode(latents, conditions, train=False)
      return outputs, network.density(conditions).kl(mean, logvar, latents)

    outputs, kl = apply(both, rows_of(row))
    return -likelihood.log_prob(pixels, outputs), jnp.sum(kl, axis=-1)

  def restyle(latent, row, other):
    return (network.apply(model.variables, latent, row, other, method='change_conditions'),)

  encoded = jax.eval_shape(features, image)[0]
  bounded = {'image': image, 'mean': latent, 'logvar': latent, 'noise': latent}
  drawn = {argument.name: numbers(*argument.shape) for argument in prior.inputs}
  drawn.pop('conditions', None)
  pages = {
    'features': Function(features, {'image': image}),
    'posterior': Function(posterior, {'features': encoded, **row}),
    'decode': Function(decoder.call, {'latent': latent, **row}),
    'terms': Function(terms, bounded | row),
    'draw': Function(prior.call, drawn | row),
  }
  if row and not model.prior.is_standard('model'):
    pages['restyle'] = Function(restyle, {'latent': latent, **row, 'other': row['row']})
  return pages
