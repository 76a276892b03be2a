"""A trained model: NumPy arrays in, NumPy arrays out."""

import dataclasses
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.data import batches, datasets
from cvae_jax.data.datasets import Splits
from cvae_jax.data.readers import DATASETS, Source, array_images, array_labels
from cvae_jax.inference import bounds, interpolation, latent_prior
from cvae_jax.inference.latent_prior import MAX_BATCH, LatentPrior
from cvae_jax.models import generation
from cvae_jax.plots import grids
from cvae_jax.runtime import keys, paths
from cvae_jax.runtime.errors import InputError, check_integer, did_you_mean
from cvae_jax.tasks.autoencoder import Autoencoder


class Elbo(NamedTuple):
  """The ELBO of each image and its terms, [N] nats each: elbo = −reconstruction − kl."""

  elbo: np.ndarray
  reconstruction: np.ndarray  # −log p(x | z, c)
  kl: np.ndarray  # KL(q(z | x, c) ‖ p(z | c))


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no one truth value
class Model:
  """A trained autoencoder; see `loading.load`.

  Images are floats in [0, 1] or uint8, [N, H, W, C], or [N, H, W] if C = 1; results are float32 in
  [0, 1]. Labels are [N] numbers of classes or their names; an unconditional model takes none.
  Latents are float32 [N, latent]. Each batch shape is compiled once.

  Attributes:
    config: that of the training.
    class_names: of the labels 0, 1, ...
    image_shape: (H, W, C).
    step: of the checkpoint that the weights are from.
    asked_step: the same step, or None if the best checkpoint was asked for.
    data_fingerprint: of the training and validation images, if the run kept it.
    folder: of its results: the run's folder, or `shipped/<name>` for a shipped model.
    task: computes losses and bounds.
    variables: the weights.
    prior: of the latents.
  """

  config: ConfigDict = dataclasses.field(repr=False)
  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  step: int
  asked_step: int | None
  data_fingerprint: str | None = dataclasses.field(repr=False)
  folder: Path
  task: Autoencoder = dataclasses.field(repr=False)
  variables: dict = dataclasses.field(repr=False)
  prior: LatentPrior = dataclasses.field(repr=False)

  @property
  def conditional(self) -> bool:
    """Whether the model is conditioned on classes."""
    return self.config.conditional

  def shown(self, images: np.ndarray) -> np.ndarray:
    """Images [..., C] as pictures show them, [..., 1 or 3]: by `data.shown_channels`."""
    return grids.shown(images, config_lib.shown_channels(self.config.data))

  @property
  def has_prior(self) -> bool:
    """Whether latents can be drawn."""
    return self.prior.exists

  @property
  def suffix(self) -> str:
    """A suffix for names of results: that of the step, if it was asked for."""
    return '' if self.asked_step is None else f'-step{self.asked_step}'

  def label(self, text: str | int) -> int:
    """The number of a class, from its number or its name in any case.

    Raises:
      InputError: there is no such class.
    """
    text = unicodedata.normalize('NFC', str(text))  # as the names are
    if text not in self.class_names:
      text = paths.printable(text)  # typed as the bytes of a folder's name
    if not self.conditional:
      raise InputError(f'This model is unconditional: it has no class {text[:40]!r}.')
    if text in self.class_names:
      return self.class_names.index(text)
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
    raise InputError(f'{text[:40]!r} is not a class of this model, which has {known}.{suggestion}')

  def class_text(self, label: int) -> str:
    """The name of a class; where it is the number of another, its own number too: '1' (class 0)."""
    name = self.class_names[label]
    is_ambiguous = name.isdecimal() and name != str(label)
    return f"'{name}' (class {label})" if is_ambiguous else name

  def data(self, data_dir: str | None = None) -> Splits:
    """The dataset that the model was trained on, in its three splits.

    Args:
      data_dir: its folder; None is that of the training.

    Raises:
      InputError: the data are missing, or have other classes than the model.
    """
    config = self.config.copy_and_resolve_references()
    config.batch_size = 1  # a dataset may be too small to train on
    if data_dir is not None:
      config.data.dir = data_dir
    try:
      splits = datasets.load(config, source=self._source(config.data))
    except InputError as error:  # with the flags of train.py
      raise InputError(
        f'{error} The config of a trained model is fixed, but --data_dir replaces its data.dir.'
      ) from error
    if self.conditional and splits.train.class_names != self.class_names:
      raise InputError(
        f'The classes of the data are {", ".join(splits.train.class_names)[:100]}, those of the '
        f'model {", ".join(self.class_names)[:100]}. Name its data with --data_dir.'
      )
    if self.data_fingerprint not in (None, datasets.fingerprint(splits.train, splits.validation)):
      print('Note: these are not the images that the model was trained on.')
    return splits

  def _source(self, data: ConfigDict) -> Source:
    """The data set that `data` names; of a model of arrays in memory, with images to test on."""
    source = None if config_lib.is_in_memory(data) else DATASETS[data.name](data)
    has_test = source is not None and 'test' in source.splits
    if config_lib.is_in_memory(self.config.data) and not has_test:
      raise InputError(
        'This model was trained on arrays in memory. Save these, and images to test on that are '
        'not among them, with numpy.savez(FILE, train_images=..., train_labels=..., '
        'test_images=..., test_labels=...), with val_... if you gave validation images, and name '
        'that file.'
      )
    return source

  def sample(
    self,
    labels=None,
    temperature: float = 1.0,
    seed: int = 0,
    draw: bool = False,
    num_images: int | None = None,
    prior: str | None = None,
  ) -> np.ndarray:
    """Images of the given classes, from z ~ p(z | c).

    Args:
      labels: [N] class numbers; None for an unconditional model.
      temperature: factor on the standard deviation of each Gaussian of the prior, or of a flow's
        noise.
      seed: with one seed, an image depends on its position and label only, to float tolerance.
      draw: also sample the pixels, instead of the decoder's mean.
      num_images: N, for an unconditional model.
      prior: 'fitted', 'model' or None; see `LatentPrior`.

    Returns:
      [N, H, W, C] float32 in [0, 1].
    """
    latents = self.draw_latents(labels, temperature, seed, num_images, prior)
    return self.decode_draw(latents, labels, seed) if draw else self.decode(latents, labels)

  def draw_latents(
    self,
    labels=None,
    temperature: float = 1.0,
    seed: int = 0,
    num_images: int | None = None,
    prior: str | None = None,
  ) -> np.ndarray:
    """z ~ p(z | c), [N, latent]: the latents of `sample` with the same arguments."""
    if (num_images is None) == (labels is None):
      raise InputError('Give labels to a conditional model, num_images to an unconditional one.')
    if num_images is not None:
      check_integer('num_images', num_images, 0)
    return self.prior.draw(self._check_labels(labels, num_images), temperature, seed, prior)

  def draw_styles(
    self, count: int, temperature: float = 1.0, seed: int = 0, prior: str | None = None
  ) -> np.ndarray:
    """Latents of the same style in all classes, [count, classes, latent].

    The rows are drawn for each class in turn, and then restyled.
    """
    self._check_styles()
    check_integer('count', count, 0)
    labels = np.arange(count, dtype=np.int32) % len(self.class_names)
    return self.restyle(self.prior.draw(labels, temperature, seed, prior), labels)

  def restyle(self, latents, labels) -> np.ndarray:
    """Latents of the same style in all classes, [N, classes, latent], for latents [N, latent].

    The noise that gives a latent in its own class [N] gives those of the others, by the prior that
    the model was trained with. If that is N(0, I), the latent is the same in all classes.
    """
    self._check_styles()
    latents = self._check_latents(latents)
    return self.prior.in_all_classes(latents, self._check_labels(labels, len(latents)))

  def _check_styles(self) -> None:
    if not self.conditional:
      raise InputError('This model is unconditional: it cannot draw one style in all classes.')

  def encode(self, images, labels=None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of q(z | x, c), [N, latent] each. Grey values are not binarized.

    As features, take the means with one and the same label for all images: the encoder leaves out
    of the latents what the label says already. A logistic regression on the latents of the shipped
    mnist (5,000 training and 2,000 test images) finds 93.3 % of the digits so, and 20 % from
    latents that were encoded with the true labels.
    """
    images = self._check_images(images)
    labels = self._check_labels(labels, len(images))
    return batches.map_rows(
      lambda *rows: self.task.encode(self.variables, *rows), MAX_BATCH, images, labels
    )

  def decode(self, latents, labels=None) -> np.ndarray:
    """E[x | z, c], [N, H, W, C] in [0, 1].

    Labels may also be mixtures of classes, floats [N, classes], with embeddings between theirs.
    """
    latents = self._check_latents(latents)
    labels = self._check_labels(labels, len(latents), mixtures=True)
    return batches.map_rows(
      lambda *rows: self.task.decode(self.variables, *rows), MAX_BATCH, latents, labels
    )

  def decode_draw(self, latents, labels=None, seed: int = 0) -> np.ndarray:
    """x ~ p(x | z, c), [N, H, W, C] in [0, 1]."""
    latents = self._check_latents(latents)
    labels = self._check_labels(labels, len(latents))
    key = keys.of_user(seed, 'pixels')
    return batches.map_rows(
      lambda latents, labels, indices: generation.decode_draw(
        self.task.network, self.task.likelihood, self.variables, latents, labels, key, indices
      ),
      MAX_BATCH,
      latents,
      labels,
      np.arange(len(latents), dtype=np.int32),
    )

  def reconstruct(self, images, labels=None) -> np.ndarray:
    """E[x | z, c] at the posterior mean of each image, [N, H, W, C] in [0, 1]."""
    mean, _ = self.encode(images, labels)
    return self.decode(mean, labels)

  def elbo(self, images, labels=None, seed: int = 0) -> Elbo:
    """The ELBO of each image at β = 1, with one posterior sample.

    Pixels are rounded to bytes, and binarized if those of the training were. The draws of an image
    depend on the seed and on its position.

    Raises:
      InputError: wrong images or labels, or a denoising autoencoder, which has no bound.
    """
    pixels, labels, key = self._bounded(images, labels, seed)
    terms = bounds.elbo(self.task, self.variables, pixels, labels, key)
    return Elbo(-terms.negative_elbo, terms.reconstruction, terms.kl.sum(axis=-1))

  def log_likelihood(
    self, images, labels=None, num_samples: int = 5000, seed: int = 0
  ) -> np.ndarray:
    """The IWAE bound on log p(x | c) of each image, [N] nats (Burda et al. 2016).

    Pixels as in `elbo`. On a CPU, 5,000 samples take about a second for an image of 28×28.

    Raises:
      InputError: as of `elbo`.
    """
    check_integer('num_samples', num_samples, 1)
    pixels, labels, key = self._bounded(images, labels, seed)
    return bounds.iwae(self.task, self.variables, pixels, labels, key, num_samples)

  def classify(self, images, seed: int = 0) -> np.ndarray:
    """p(c | x), [N, classes], by Bayes from the ELBO of every class; classes are equally likely.

    Raises:
      InputError: as of `elbo`, or the model is unconditional.
    """
    if not self.conditional:
      raise InputError('This model is unconditional: it knows no classes.')
    # The labels do not matter here.
    pixels, _, key = self._bounded(images, np.zeros(len(images), np.int32), seed)
    return np.exp(
      bounds.class_log_probabilities(self.task, self.variables, len(self.class_names), pixels, key)
    )

  def as_transformer(self, label: str | int | None = None):
    """The encoder as a step of a scikit-learn pipeline: a `PosteriorMeans`.

    Args:
      label: the class that a conditional model is given for all images, by name or number; by
        default the first. Their own classes would make poor features: see `encode`.

    Raises:
      InputError: there is no such class.
    """
    from cvae_jax.inference.transformer import PosteriorMeans  # late: scikit-learn takes a second

    if label is not None:
      self.label(label)
    return PosteriorMeans(self, label)

  def _bounded(self, images, labels, seed):
    """Images as bytes, labels and the key, for `bounds`."""
    self.prior.check_exists()
    images = self._check_images(images)
    labels = self._check_labels(labels, len(images))
    return np.rint(255 * images).astype(np.uint8), labels, keys.of_user(seed, 'validation')

  def vary(
    self, images, labels=None, num_draws: int = 8, temperature: float = 1.0, seed: int = 0
  ) -> np.ndarray:
    """E[x | z, c] at draws from the posterior of each image, [N, num_draws, H, W, C] in [0, 1].

    Args:
      images: [N, H, W, C] in [0, 1].
      labels: [N] class numbers; None for an unconditional model.
      num_draws: of each image.
      temperature: factor on the posterior's standard deviation.
      seed: the same seed gives the same draws.
    """
    check_integer('num_draws', num_draws, 1)
    self.prior.check_exists()
    mean, logvar = self.encode(images, labels)
    count = len(mean)
    mean, logvar = (np.repeat(x, num_draws, axis=0) for x in (mean, logvar))
    temperature = latent_prior.check_temperature(temperature)
    key = keys.of_user(seed, 'posterior')
    latents = batches.map_rows(
      lambda *rows: generation.draw_gaussian(*rows, key, temperature),
      MAX_BATCH,
      mean,
      logvar,
      np.arange(len(mean), dtype=np.int32),
    )
    repeated = None if labels is None else np.repeat(labels, num_draws, axis=0)
    return self.decode(latents, repeated).reshape(count, num_draws, *self.image_shape)

  def interpolate(
    self, first, second, labels=None, num_steps: int = 11, method: str = 'linear'
  ) -> np.ndarray:
    """Decoded interpolations of the latents from each image of `first` to that in `second`.

    Args:
      first: [N, H, W, C] in [0, 1].
      second: the same.
      labels: for a conditional model the classes of `first` and of `second`, [2, N]; between two
        classes, their embeddings are interpolated too.
      num_steps: images of each interpolation, both ends included.
      method: 'linear' or 'spherical'; see `interpolation`.

    Returns:
      [N, num_steps, H, W, C] in [0, 1].
    """
    check_integer('num_steps', num_steps, 1)
    interpolate = interpolation.METHODS.get(method)
    if interpolate is None:
      raise InputError(
        f'method={method!r} is not one of: {", ".join(interpolation.METHODS)}.'
        f'{did_you_mean(method, interpolation.METHODS)}'
      )
    sides = (None, None) if labels is None else labels
    if len(sides) != 2:
      raise InputError(
        f'labels have {len(sides)} rows, expected two: the classes of first, and those of second.'
      )
    means = [self.encode(x, y)[0] for x, y in zip((first, second), sides, strict=True)]
    if len(means[0]) != len(means[1]):
      raise InputError(f'{len(means[0])} images cannot be paired with {len(means[1])}.')
    latents = interpolate(*means, num_steps)
    mixtures = None
    if self.conditional:
      one_hot = [np.eye(len(self.class_names), dtype=np.float32)[np.asarray(y, int)] for y in sides]
      mixtures = interpolation.linear(*one_hot, num_steps)
      mixtures = mixtures.reshape(-1, len(self.class_names))
    images = self.decode(latents.reshape(-1, self.config.latent_dim), mixtures)
    return images.reshape(-1, num_steps, *self.image_shape)

  def _check_images(self, images) -> np.ndarray:
    images = _array('images', images)
    if images.ndim == 3 and self.image_shape[-1] == 1:
      images = images[..., None]
    if images.ndim != 4 or images.shape[1:] != self.image_shape:
      height, width, channels = self.image_shape
      raise InputError(
        f'images have shape {images.shape}, expected [N, {height}, {width}, {channels}].'
      )
    if images.dtype.kind != 'f':
      return array_images.images_of(images, 'images').astype(np.float32) / 255
    if images.size and not (images.min() >= 0 and images.max() <= 1):
      raise InputError(f'images range from {images.min():g} to {images.max():g}, expected 0 to 1.')
    return images.astype(np.float32)

  def _check_latents(self, latents) -> np.ndarray:
    given, expected = _array('latents', latents), self.config.latent_dim
    with np.errstate(over='ignore'):
      latents = given.astype(np.float32) if given.dtype.kind in 'fiu' else np.float32(np.nan)
    if not np.isfinite(latents).all():
      raise InputError(f'latents ({given.dtype}) are not all finite float32 numbers.')
    if latents.ndim != 2 or latents.shape[1] != expected:
      raise InputError(f'latents have shape {latents.shape}, expected [N, {expected}].')
    return latents

  def _check_labels(self, labels, num_examples: int | None, mixtures: bool = False) -> np.ndarray:
    if not self.conditional:
      if labels is not None:
        raise InputError('This model is unconditional: leave out the labels.')
      return np.zeros(num_examples, np.int32)
    if labels is None:
      raise InputError('This model is conditional: give the labels.')
    labels, count = _array('labels', labels), len(self.class_names)
    if mixtures and labels.dtype.kind == 'f' and labels.shape == (num_examples, count):
      if not np.isfinite(labels).all():
        raise InputError('labels (mixtures of classes) are not all finite: expected numbers.')
      return labels.astype(np.float32)
    if labels.size or labels.ndim != 1:
      labels = array_labels.labels_of(labels, 'labels')
    if labels.dtype.kind in 'Ub':
      labels = np.array([self.label(str(name)) for name in labels], np.int32)
    if num_examples is not None and len(labels) != num_examples:
      raise InputError(f'labels and examples differ in number: {len(labels)} and {num_examples}.')
    if labels.size and not (labels.min() >= 0 and labels.max() < count):
      wrong = labels[(labels < 0) | (labels >= count)][0]
      raise InputError(
        f'label {wrong} is not the number of a class of this model: expected 0 to {count - 1}, or '
        f'the names as texts: {", ".join(self.class_names)[:100]}.'
      )
    return labels.astype(np.int32)


def _array(name: str, values) -> np.ndarray:
  """`values` as an array; raises InputError if rows differ in length or entries are masked."""
  array_labels.refuse_masked(values, name)
  try:
    return np.asarray(values)
  except ValueError as error:  # NumPy: "inhomogeneous shape"
    raise InputError(f'{name} are not one array: rows differ in length.') from error
