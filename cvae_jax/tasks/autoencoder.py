"""The base of tasks that train a `CVAE`: augmentation, binarization, encoding, pictures."""

import math
from collections.abc import Callable

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Key, UInt8

from cvae_jax.data import augmentation, batches, transforms
from cvae_jax.models import architectures, cvae, generation, likelihoods
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models.cvae import Conditions, Forward
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.task import Batch, Task, Variables

ENCODED_BATCH = 256
GRID_COLUMNS = 10
RECONSTRUCTION_ROWS = 4


def check_no_perceptual_term(config) -> None:
  """Raises InputError if the config weighs a term that its objective does not have."""
  if config.perceptual_weight:
    raise InputError(
      f'objective={config.objective!r} has no perceptual term, which '
      f'perceptual_weight={config.perceptual_weight:g} weighs. Set --config.objective=autoencoder, '
      'or --config.perceptual_weight=0.'
    )


class Autoencoder(Task):
  """A task with a `CVAE` network from images to latents and back.

  evaluate.py and sample.py work with any such task. A subclass gives `loss` and `evaluate`.
  """

  is_generative = True  # whether latents have a prior, to draw from and to bound log p(x | c) with

  def __init__(self, config, steps_per_epoch: int):
    self._made_with = config, steps_per_epoch
    self.network = cvae.build(config)
    self.likelihood = likelihoods.build(config)
    self.binarize = config.data.binarize
    self._condition_dropout = config.condition_dropout
    self.compiler_options = architectures.compiler_options(config.model.name, config.deterministic)
    has_alpha = config.data.alpha == 'keep'
    self._augment = augmentation.make_augment(config.data.augment, has_alpha)

  def __reduce__(self):
    return type(self), self._made_with  # pickle cannot store JAX's functions

  # Models that compute the same thing share compiled functions.
  def _computes(self):
    return type(self), self.network, self.likelihood, self.binarize

  def __eq__(self, other):
    return isinstance(other, Autoencoder) and self._computes() == other._computes()

  def __hash__(self):
    return hash(self._computes())

  def init(self, key: Key[Array, '']) -> Variables:
    return cvae.init(self.network, key)

  def augmented(
    self,
    images: UInt8[ArrayLike, 'batch h w c'],
    augment_key: Key[Array, ''],
    pixels_key: Key[Array, ''],
  ) -> Float[ArrayLike, 'batch h w c']:
    """The images of a training step: augmented, binarized if configured, in [0, 1]."""
    images = transforms.to_unit_interval(images)
    if self._augment:
      images = self._augment(augment_key, images)
    return transforms.binarize(pixels_key, images) if self.binarize == 'dynamic' else images

  def observed(
    self, images: UInt8[ArrayLike, 'batch h w c'], keys: Key[Array, ' batch']
  ) -> tuple[Float[ArrayLike, 'batch h w c'], Key[Array, ' batch']]:
    """Images as an evaluation sees them: in [0, 1], binarized if configured, each by its own key.

    So an image depends neither on its batch nor on the order.

    Returns:
      The images, and a key for everything else that is drawn for each.
    """
    image_keys = jax.vmap(jax.random.split)(keys)
    images = transforms.to_unit_interval(images)
    if self.binarize == 'dynamic':
      images = jax.vmap(transforms.binarize)(image_keys[:, 0], images)
    return images, image_keys[:, 1]

  def to_pixels(self, images: Float[ArrayLike, 'batch h w c']) -> Float[ArrayLike, 'batch h w c']:
    """Maps [0, 1] to the likelihood's pixel range."""
    return transforms.to_pixel_range(images, self.likelihood.pixel_range)

  def training_pass(
    self,
    variables: Variables,
    pixels: Float[ArrayLike, 'batch h w c'],
    conditions: Conditions,
    draw: Callable,
    dropout_key: Key[Array, ''],
  ) -> tuple[Forward, Variables]:
    """The network's pass in a training step, with the new statistics of its batch norms.

    Args:
      variables: the model's.
      pixels: images in the likelihood's pixel range.
      conditions: theirs; some are hidden, see `hidden`.
      draw: (mean, logvar) -> latents.
      dropout_key: of features and conditions.
    """
    return self.network.apply(
      variables,
      pixels,
      conditions_lib.hide(conditions, self.hidden(dropout_key, len(pixels))),
      draw=draw,
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': dropout_key},
    )

  def hidden(self, dropout_key: Key[Array, ''], count: int) -> Bool[Array, ' batch'] | None:
    """Which of `count` images a training step sees without their conditions; None: of none."""
    if not self._condition_dropout:
      return None
    # Another key than the dropout of features has.
    key = jax.random.fold_in(dropout_key, 1)
    return jax.random.bernoulli(key, self._condition_dropout, (count,))

  @property
  def omitted_nats(self) -> float:
    """The constant of −log p(x | z, c) of one image that the training loss omits."""
    return self.likelihood.omitted * math.prod(self.network.image_shape)

  def encode(
    self,
    variables: Variables,
    images: Float[ArrayLike, 'batch h w c'],
    conditions: Conditions,
  ) -> tuple[Float[Array, 'batch latent'], Float[Array, 'batch latent']]:
    """Mean and log-variance of q(z | x, c), of images in [0, 1]."""
    return generation.encode(self.network, self.likelihood, variables, images, conditions)

  def decode(
    self,
    variables: Variables,
    latents: Float[ArrayLike, 'batch latent'],
    conditions: Conditions,
  ) -> Float[Array, 'batch h w c']:
    """E[x | z, c] in [0, 1]."""
    return generation.decode(self.network, self.likelihood, variables, latents, conditions)

  def latents(self, variables: Variables, batch: Batch) -> Float[np.ndarray, 'batch latent']:
    """Posterior means of the grey values, without binarization."""
    mean, _ = batches.map_rows(
      lambda images, conditions: self.encode(variables, np.float32(images) / 255, conditions),
      ENCODED_BATCH,
      *batch,
    )
    return mean

  def reconstructions(
    self,
    variables: Variables,
    batch: Batch,
    corrupt: Callable[[ArrayLike], ArrayLike] = lambda x: x,
  ) -> Float[np.ndarray, '_ _ h w c']:
    """Rows of the first images in [0, 1], each above the row of their reconstructions.

    `corrupt` changes images in [0, 1] before they are encoded and shown.
    """
    images, conditions = batch
    columns = min(GRID_COLUMNS, len(images))
    count = min(RECONSTRUCTION_ROWS, len(images) // columns) * columns
    seen = corrupt(transforms.to_unit_interval(images[:count]))
    mean, _ = self.encode(variables, seen, conditions[:count])
    decoded = self.decode(variables, mean, conditions[:count])
    rows = [np.reshape(x, (-1, columns, *x.shape[1:])) for x in jax.device_get((seen, decoded))]
    return np.stack(rows, axis=1).reshape(-1, *rows[0].shape[1:])
