"""The denoising autoencoder: reconstructs images from corrupted ones (Vincent et al. 2010)."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from cvae_jax.data import corruption
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.runtime import keys as keys_lib
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import autoencoder
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.task import TASKS, Batch, Terms, Variables


def _check(config) -> None:
  if any(column.is_inferred for column in conditions_lib.of_config(config)):
    raise InputError(
      "objective='dae' has no bound to sum over classes, but some classes of "
      f'data.conditions={config.data.conditions!r} are missing. Set --config.classifier_weight=0: '
      'then the network is told that a class is unknown.'
    )
  autoencoder.check_no_perceptual_term(config)
  for field, value in (('num_importance_samples', 1), ('free_bits', 0), ('prior', 'standard')):
    if config[field] != value:
      raise InputError(
        f"objective='dae' has no distribution of latents, so {field}={config[field]!r} has no "
        f'meaning. Set --config.{field}={value}.'
      )


@TASKS.register('dae', _check, protocol='corrupted, the mean of the encoder')
class DAE(Autoencoder):
  """−log p(x | z, c) at the latents z that the encoder gives for a corrupted x."""

  terms = validation_terms = ('reconstruction',)
  score = 'reconstruction'
  is_generative = False
  commands = (
    ('to compare it', 'evaluate --compare {} OTHER'),
    ('to look at it', 'sample --mode=reconstruct --indices=0,1,2 --workdir={}'),
  )

  def __init__(self, config, steps_per_epoch: int):
    super().__init__(config, steps_per_epoch)
    self._corrupt = functools.partial(
      corruption.corrupt, config.data.corruption, config.data.corruption_level
    )

  def loss(
    self,
    variables: Variables,
    batch: Batch,
    hyper: Mapping[str, ArrayLike],
    key: Key[Array, ''],
    step: Int[ArrayLike, ''],
  ) -> tuple[Float[Array, ''], tuple[Terms, Variables]]:
    """−log p(x | z, c), mean over images, without the constant `likelihood.omitted`."""
    images, conditions = batch
    # The keys of a VAE: both see the same images in every step.
    pixels_key, _, augment_key, dropout_key, noise_key = jax.random.split(key, 5)
    images = self.augmented(images, augment_key, pixels_key)
    seen = self._corrupt(noise_key, images)
    forward, updated = self.training_pass(
      variables, self.to_pixels(seen), conditions, lambda mean, logvar: mean, dropout_key
    )
    reconstruction = -jnp.mean(self.likelihood.log_prob(self.to_pixels(images), forward.outputs))
    return reconstruction - self.omitted_nats, ({'reconstruction': reconstruction}, updated)

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    images, conditions = batch
    images, noise_keys = self.observed(images, keys)
    seen = self.to_pixels(jax.vmap(self._corrupt)(noise_keys, images))
    forward = self.network.apply(
      variables, seen, conditions, draw=lambda mean, logvar: mean, train=False
    )
    log_prob = self.likelihood.log_prob(self.to_pixels(images), forward.outputs)
    return {'reconstruction': -log_prob}

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Corrupted images, and their reconstructions."""
    corrupt = functools.partial(self._corrupt, keys_lib.named(key, 'corruption'))
    return {'reconstructions': self.reconstructions(variables, batch, corrupt)}
