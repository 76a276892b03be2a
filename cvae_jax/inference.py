"""A trained model in the hand: NumPy in, NumPy out."""

import dataclasses
import numbers
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax import generation, keys
from cvae_jax.errors import InputError, did_you_mean
from cvae_jax.models import cvae
from cvae_jax.objectives import likelihoods
from cvae_jax.training import checkpoints, run_folder

# Larger requests run in pieces of this many images, so that memory stays bounded.
MAX_BATCH = 256
# Far outside of anything a decoder has seen, and still far from overflow.
MAX_TEMPERATURE = 100


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained conditional VAE; see `load`.

  Images are float32 [N, H, W, C] in [0, 1], labels integers [N], latents float32 [N, latent].
  An unconditional model takes no labels. Each batch shape is compiled once.
  """

  config: ConfigDict
  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]  # (H, W, C)
  step: int  # of the checkpoint the weights are from
  _variables: dict
  _encode: Callable
  _decode: Callable
  _decode_draw: Callable

  @property
  def conditional(self) -> bool:
    """Whether the model knows classes."""
    return self.config.conditional

  def label(self, text: str | int) -> int:
    """The class that a number or a class name (in any case) stands for.

    Raises:
      InputError: it is neither, or the model is unconditional.
    """
    text = str(text)
    if not self.conditional:
      raise InputError(f'This model is unconditional and knows no class {text[:40]!r}.')
    names = [name.lower() for name in self.class_names]
    if text.lower() in names:
      return names.index(text.lower())
    is_number = text.isascii() and text.isdecimal()
    if is_number and len(text) < 10 and int(text) < len(names):
      return int(text)
    known = ', '.join(
      name if name == str(number) else f'{number} ({name})'
      for number, name in enumerate(self.class_names)
    )
    suggestion = '' if is_number else did_you_mean(text, self.class_names)
    raise InputError(f'{text[:40]!r} is no class of this model, which has {known}.{suggestion}')

  def sample(
    self,
    labels=None,
    temperature: float = 1.0,
    seed: int = 0,
    draw: bool = False,
    num_images: int | None = None,
  ) -> np.ndarray:
    """Images of the given classes, from z ~ N(0, temperature² I).

    Args:
      labels: [N] class numbers; None for an unconditional model.
      temperature: standard deviation of the prior, 0 or more; 1 is the model's own.
      seed: the same seed gives the same image, to float tolerance, for a place and label.
      draw: sample the pixels too, instead of taking the decoder's mean.
      num_images: N, for an unconditional model.

    Returns:
      [N, H, W, C] float32 in [0, 1].
    """
    if (num_images is None) == (labels is None):
      raise InputError('Give labels to a conditional model, num_images to an unconditional one.')
    if not isinstance(num_images, numbers.Integral | None) or (num_images or 0) < 0:
      raise InputError(f'num_images={num_images!r} is not an integer, 0 or more.')
    labels = self._check_labels(labels, num_images)
    if not (isinstance(temperature, numbers.Real) and 0 <= temperature <= MAX_TEMPERATURE):
      raise InputError(f'temperature={temperature!r} is not a number from 0 to {MAX_TEMPERATURE}.')
    if not (isinstance(seed, numbers.Integral) and 0 <= seed < 2**32):
      raise InputError(f'seed={seed!r} is not an integer from 0 to {2**32 - 1}.')
    latents_key, pixels_key = keys.stream(seed, 'prior'), keys.stream(seed, 'pixels')

    def draw_batch(labels, numbers):
      latents = generation.prior_latents(
        latents_key, numbers, self.config.latent_dim, np.float32(temperature)
      )
      if draw:
        return self._decode_draw(self._variables, latents, labels, pixels_key, numbers)
      return self._decode(self._variables, latents, labels)

    return _in_batches(draw_batch, labels, np.arange(len(labels), dtype=np.int32))

  def encode(self, images, labels=None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of q(z | x, c), [N, latent] each. Grey values are taken as they are."""
    images = self._check_images(images)
    labels = self._check_labels(labels, len(images))
    return _in_batches(
      lambda images, labels: self._encode(self._variables, images, labels), images, labels
    )

  def decode(self, latents, labels=None) -> np.ndarray:
    """E[x | z, c], [N, H, W, C] in [0, 1]."""
    latents, expected = np.asarray(latents), self.config.latent_dim
    if latents.dtype.kind not in 'fiu' or not np.isfinite(latents).all():
      raise InputError(f'latents ({latents.dtype}) are not all finite real numbers.')
    latents = latents.astype(np.float32)
    if latents.ndim != 2 or latents.shape[1] != expected:
      raise InputError(f'latents have shape {latents.shape}, expected [N, {expected}].')
    labels = self._check_labels(labels, len(latents))
    return _in_batches(
      lambda latents, labels: self._decode(self._variables, latents, labels), latents, labels
    )

  def reconstruct(self, images, labels=None) -> np.ndarray:
    """E[x | z, c] at the posterior mean of each image, [N, H, W, C] in [0, 1]."""
    mean, _ = self.encode(images, labels)
    return self.decode(mean, labels)

  def _check_images(self, images) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != self.image_shape:
      height, width, channels = self.image_shape
      raise InputError(
        f'images have shape {images.shape}, expected [N, {height}, {width}, {channels}].'
      )
    if images.dtype.kind != 'f':
      raise InputError(
        f'images are {images.dtype}, expected floats in [0, 1]: divide bytes by 255.'
      )
    if images.size and not (images.min() >= 0 and images.max() <= 1):
      raise InputError(f'images range from {images.min():g} to {images.max():g}, expected 0 to 1.')
    return images.astype(np.float32)

  def _check_labels(self, labels, num_examples: int | None) -> np.ndarray:
    if not self.conditional:
      if labels is not None:
        raise InputError('This model is unconditional: leave out the labels.')
      return np.zeros(num_examples, np.int32)
    if labels is None:
      raise InputError('This model is conditional: give the labels.')
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in 'iu'):
      raise InputError(
        f'labels are {labels.dtype} of shape {labels.shape}, expected integers of shape [N].'
      )
    if num_examples is not None and len(labels) != num_examples:
      raise InputError(f'{len(labels)} labels came with {num_examples} examples.')
    count = len(self.class_names)
    if labels.size and not (labels.min() >= 0 and labels.max() < count):
      wrong = labels[(labels < 0) | (labels >= count)][0]
      raise InputError(f'label {wrong} is no class of this model: expected 0 to {count - 1}.')
    return labels.astype(np.int32)


def load(path: str | Path, checkpoint: str | int = 'best') -> Model:
  """Loads a trained model; no code from the run folder is executed.

  Args:
    path: a run's folder, or one checkpoint in it (`runs/mnist/checkpoints/4290`).
    checkpoint: 'best' (by validation ELBO at β = 1), 'last', or a step.

  Returns:
    The model, with the moving average of its weights where the run kept one.

  Raises:
    InputError: there is no such run or checkpoint, or it is broken.
  """
  run, step = run_folder.locate(Path(path))
  if step is not None and checkpoint != 'best':
    raise InputError(f'{path} is a checkpoint already: leave out checkpoint={checkpoint!r}.')
  config, class_names, _ = config_lib.read(run)
  model, likelihood = cvae.build(config), likelihoods.build(config)
  abstract = jax.eval_shape(lambda: cvae.init(model, jax.random.key(0)))
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract)
  variables, step = checkpoints.restore_variables(
    run, str(checkpoint) if step is None else str(step), like
  )
  return Model(
    config=config,
    class_names=class_names,
    image_shape=model.image_shape,
    step=step,
    _variables=variables,
    _encode=generation.make_encode(model, likelihood),
    _decode=generation.make_decode_mean(model, likelihood),
    _decode_draw=generation.make_decode_draw(model, likelihood),
  )


def _in_batches(function, *arrays):
  """Maps `function` over pieces of at most MAX_BATCH rows, the last one padded."""
  count = len(arrays[0])
  size = min(max(count, 1), MAX_BATCH)
  pieces = []
  for begin in range(0, max(count, 1), size):
    rows = [array[begin : begin + size] for array in arrays]
    missing = size - len(rows[0])
    padded = [np.pad(row, [(0, missing)] + [(0, 0)] * (row.ndim - 1)) for row in rows]
    pieces.append(jax.device_get(function(*padded)))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *pieces)
