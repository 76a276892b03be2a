"""The autoencoder of sharp reconstructions: a VAE of a small β with a perceptual term.

It is a first stage: its latents are for a second model, which is trained on them.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax import config as config_lib
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import classifier, gaussians, lpips
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.task import TASKS, Batch, Task, Terms, Variables
from cvae_jax.tasks.vae import VAE, beta_objective, elbo


def _check(config) -> None:
  if any(column.is_inferred for column in conditions_lib.of_config(config)):
    raise InputError(
      "objective='autoencoder' sums over no classes, but some classes of "
      f'data.conditions={config.data.conditions!r} are missing. Set --config.classifier_weight=0: '
      'then the network is told that a class is unknown.'
    )
  for field, value in (('num_importance_samples', 1), ('free_bits', 0)):
    if config[field] != value:
      raise InputError(
        f"objective='autoencoder' weighs the KL by a small beta, so {field}={config[field]!r} has "
        f'no meaning. Set --config.{field}={value}.'
      )
  if config.perceptual_weight and config.perceptual_distance == 'classifier':
    classifier.shipped_for(config)


@TASKS.register('autoencoder', _check, protocol='one posterior sample, at the β of the run')
class SharpAutoencoder(VAE):
  """E_q[−log p(x | z, c) + w d(x, E[x | z, c])] + β KL(q(z | x, c) ‖ p(z | c)).

  d is `classifier.perceptual_distance` or LPIPS, by `perceptual_distance`, and w
  `perceptual_weight`; at 0 it is not computed, and a training step is that of a VAE.
  """

  commands = (
    ('to evaluate it', 'evaluate --workdir={}'),
    ('to look at it', 'sample --mode=reconstruct --indices=0,1,2 --workdir={}'),
  )
  score = 'loss'  # at the run's own β: a bound, at β = 1, says nothing of a model of a small one

  def __init__(self, config, steps_per_epoch: int):
    super().__init__(config, steps_per_epoch)
    self._beta_of_run, self._weight = float(config.beta), float(config.perceptual_weight)
    self._distances = ('perceptual',) if self._weight else ()
    self.terms = ('reconstruction', 'kl', *self._distances, 'beta')
    self._distance = config.perceptual_distance
    self._shown = list(config_lib.shown_channels(config.data))
    if self._weight and self._distance == 'classifier':
      self._judge = classifier.load(classifier.shipped_for(config))

  def _computes(self):
    return *super()._computes(), self._beta_of_run, self._weight, self._distance

  def prepare(self, train: Dataset, validation: Dataset) -> tuple[Task, Dataset, Dataset]:
    """The same; without the weights of LPIPS, an `InputError` before the run begins.

    A trained model does not need them.
    """
    if self._weight and self._distance == 'lpips':
      self._lpips_weights()
    return super().prepare(train, validation)

  @staticmethod
  def _lpips_weights() -> lpips.Weights:
    try:
      return lpips.cached(lpips.default_folder())
    except InputError as error:
      raise InputError(
        f"perceptual_distance='lpips': {error} evaluate.py --lpips=download fetches them; with "
        '--config.perceptual_distance=classifier none are needed.'
      ) from error

  @property
  def validation_terms(self) -> tuple[str, ...]:
    return 'loss', 'reconstruction', 'kl', *self._distances

  def loss(
    self,
    variables: Variables,
    batch: Batch,
    hyper: Mapping[str, ArrayLike],
    key: Key[Array, ''],
    step: Int[ArrayLike, ''],
  ) -> tuple[Float[Array, ''], tuple[Terms, Variables]]:
    """The loss, mean over images, without the constant `likelihood.omitted`."""
    images, conditions = batch
    # The keys of a VAE.
    pixels_key, posterior_key, augment_key, dropout_key, _ = jax.random.split(key, 5)
    images = self.augmented(images, augment_key, pixels_key)
    pixels = self.to_pixels(images)
    beta = self._beta(hyper, step)
    draw = functools.partial(gaussians.reparameterize, posterior_key)
    forward, updated = self.training_pass(variables, pixels, conditions, draw, dropout_key)
    terms = elbo(self.likelihood, pixels, forward)
    loss = beta_objective(terms, beta, self._free_nats(hyper, terms))
    shown = {}
    if self._weight:
      shown['perceptual'] = jnp.mean(self._perceptual(images, forward.outputs))
      loss += self._weight * shown['perceptual']
    shown |= {
      'reconstruction': jnp.mean(terms.reconstruction),
      'kl': jnp.mean(jnp.sum(terms.kl, axis=-1)),
      'beta': beta,
    }
    return loss - self.omitted_nats, (shown, updated)

  def _perceptual(
    self, images: Float[ArrayLike, 'batch h w c'], outputs: Float[ArrayLike, 'batch h w outputs']
  ) -> Float[Array, ' batch']:
    """The distance of images in [0, 1] to E[x | z, c], which is not clipped: it has a gradient."""
    low, high = self.likelihood.pixel_range
    means = (self.likelihood.mean(outputs) - low) / (high - low)
    if self._distance == 'lpips':
      weights, pair = self._lpips_weights(), (images, means)
      features = [lpips.features(weights, x[..., self._shown]) for x in pair]
      return lpips.distances(weights, *features)
    return classifier.perceptual_distance(self._judge, images, means)

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    """The terms of the loss from one posterior draw of each image, with β where its schedule ends.

    As in training, the loss omits `likelihood.omitted`.
    """
    images, conditions = batch
    images, draw_keys = self.observed(images, keys)
    pixels = self.to_pixels(images)
    draw = functools.partial(jax.vmap(gaussians.reparameterize), draw_keys)
    forward = self.network.apply(variables, pixels, conditions, draw=draw, train=False)
    bound = elbo(self.likelihood, pixels, forward)
    terms = {'reconstruction': bound.reconstruction, 'kl': jnp.sum(bound.kl, axis=-1)}
    terms['loss'] = terms['reconstruction'] + self._beta_of_run * terms['kl'] - self.omitted_nats
    if self._weight:
      terms['perceptual'] = self._perceptual(images, forward.outputs)
      terms['loss'] += self._weight * terms['perceptual']
    return terms

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Reconstructions alone: at a small β, few draws from the prior of the training are images."""
    return {'reconstructions': self.reconstructions(variables, batch)}
