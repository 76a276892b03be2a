"""A trained model: NumPy arrays in, NumPy arrays out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import Column
from cvae_jax.data import batches, datasets
from cvae_jax.data.datasets import Splits
from cvae_jax.data.readers import DATASETS, Source, array_images, array_labels
from cvae_jax.inference import bounds, interpolation, latent_prior
from cvae_jax.inference import conditions as conditions_lib
from cvae_jax.inference.conditions import Conditioning, Conditions
from cvae_jax.inference.latent_prior import MAX_BATCH, LatentPrior
from cvae_jax.models import generation
from cvae_jax.models.conditions import inputs_of
from cvae_jax.models.cvae import Mixtures
from cvae_jax.plots import grids
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError, check_integer, did_you_mean
from cvae_jax.tasks.autoencoder import Autoencoder

Given = Mapping[str, Any] | Conditions | None  # conditions as a user gives them


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
  Conditions give a value, or [N] of them, by the name of a column: `conditions={'digit': ['3',
  '7'], 'slant': [0.1, 0.4]}`. A column that is not named is, of images, measured or unknown;
  samples take it from training images. Latents are float32 [N, latent]. Each batch shape is
  compiled once.

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
    of_table: what the model is conditioned on, if that is a table.
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
  of_table: Conditioning | None = dataclasses.field(default=None, repr=False)

  @property
  def conditional(self) -> bool:
    """Whether the model is conditioned on anything."""
    return self.config.conditional

  @property
  def conditioning(self) -> Conditioning:
    """What the model is conditioned on."""
    if self.of_table is not None:
      return self.of_table
    if not self.conditional:
      return Conditioning((), False, (), None)
    name = DATASETS.trait(self.config.data.name, 'label_column', 'label')
    return Conditioning((Column(name, 'category', self.class_names),), False, (False,), None)

  @property
  def has_classes(self) -> bool:
    """Whether it is conditioned on a class, perhaps among other conditions."""
    return self.conditioning.class_number is not None

  @property
  def class_column(self) -> Column:
    """The column of the class, of a model that has classes."""
    return self.columns[self.conditioning.class_number]

  @property
  def columns(self) -> tuple[Column, ...]:
    """What the model is conditioned on; the label alone is one column."""
    return self.conditioning.columns

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
    if not self.has_classes:
      kind = 'not conditioned on a class' if self.conditional else 'unconditional'
      raise InputError(f'This model is {kind}: it has no class {str(text)[:40]!r}.')
    return conditions_lib.name_number(self.class_column, text)

  @property
  def usual(self) -> Conditions:
    """One row: the first class, the means of numbers, and flags that are not set."""
    if not self.conditioning.has_table:
      return Conditions(self.columns, np.zeros(1, np.int32))
    return Conditions(self.columns, np.zeros((1, len(self.columns)), np.float32))

  def conditions(
    self,
    labels=None,
    conditions: Given = None,
    count: int | None = None,
    images: np.ndarray | None = None,
    seed: int = 0,
  ) -> Conditions:
    """What the methods make of the labels or conditions of N images; see `Conditioning.of`."""
    if images is not None:
      images, count = self._as_bytes(self._check_images(images)), len(images)
    return self.conditioning.of(labels, conditions, count, images, seed)

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
    mine, theirs = self.conditioning.names, tuple(column.name for column in splits.train.columns)
    if self.conditioning.has_table and mine != theirs:
      raise InputError(
        f'The data have the columns {", ".join(theirs)[:100]}, the model {", ".join(mine)[:100]}. '
        'Name its data with --data_dir.'
      )
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
    conditions: Given = None,
  ) -> np.ndarray:
    """Images of the given conditions, from z ~ p(z | c).

    Args:
      labels: [N] class numbers or names; None for an unconditional model.
      temperature: factor on the standard deviation of each Gaussian of the prior, or of a flow's
        noise.
      seed: with one seed, an image depends on its position and conditions only, to float
        tolerance.
      draw: also sample the pixels, instead of the decoder's mean.
      num_images: N, where labels and conditions do not say it.
      prior: 'fitted', 'model' or None; see `LatentPrior`.
      conditions: by column; see the class.

    Returns:
      [N, H, W, C] float32 in [0, 1].
    """
    rows = self._to_draw(labels, conditions, num_images, seed)
    latents = self.prior.draw(rows, temperature, seed, prior)
    if draw:
      return self.decode_draw(latents, conditions=rows, seed=seed)
    return self.decode(latents, conditions=rows)

  def draw_latents(
    self,
    labels=None,
    temperature: float = 1.0,
    seed: int = 0,
    num_images: int | None = None,
    prior: str | None = None,
    conditions: Given = None,
  ) -> np.ndarray:
    """z ~ p(z | c), [N, latent]: the latents of `sample` with the same arguments."""
    rows = self._to_draw(labels, conditions, num_images, seed)
    return self.prior.draw(rows, temperature, seed, prior)

  def _to_draw(self, labels, conditions, num_images, seed) -> Conditions:
    """The conditions of samples."""
    if num_images is not None:
      check_integer('num_images', num_images, 0)
    is_known = labels is not None or conditions is not None
    if not (is_known or num_images is not None) or (
      num_images is not None and not self.columns and is_known
    ):
      raise InputError('Give labels to a conditional model, num_images to an unconditional one.')
    if self.conditional and not is_known and not self.conditioning.has_table:
      raise InputError('Give labels to a conditional model, num_images to an unconditional one.')
    return self.conditioning.of(labels, conditions, num_images, seed=seed)

  def draw_styles(
    self, count: int, temperature: float = 1.0, seed: int = 0, prior: str | None = None
  ) -> np.ndarray:
    """Latents of the same style in all classes, [count, classes, latent].

    The rows are drawn for each class in turn, and then restyled.
    """
    self._check_styles()
    check_integer('count', count, 0)
    labels = np.arange(count, dtype=np.int32) % len(self.class_names)
    rows = self.conditioning.of(labels, None, count, seed=seed)
    return self.restyle(self.prior.draw(rows, temperature, seed, prior), conditions=rows)

  def restyle(self, latents, labels=None, conditions: Given = None) -> np.ndarray:
    """Latents of the same style in all classes, [N, classes, latent], for latents [N, latent].

    The noise that gives a latent under its own conditions gives those of the other classes, by the
    prior that the model was trained with. If that is N(0, I), the latent is the same in all.
    """
    self._check_styles()
    latents = self._check_latents(latents)
    own = self.conditioning.of(labels, conditions, len(latents))
    count = len(self.class_names)
    repeated = np.repeat(latents, count, axis=0)
    changed = self.prior.under(repeated, own.repeat(count), self.in_all_classes(own))
    return changed.reshape(len(latents), count, self.config.latent_dim)

  def in_all_classes(self, conditions: Conditions) -> Conditions:
    """Each row in every class, [N · classes]."""
    self._check_styles()
    count = len(self.class_names)
    classes = np.tile(np.arange(count), len(conditions))
    return conditions.repeat(count).replaced(self.conditioning.class_number, classes)

  def _check_styles(self) -> None:
    if not self.has_classes:
      kind = 'not conditioned on a class' if self.conditional else 'unconditional'
      raise InputError(f'This model is {kind}: it cannot draw one style in all classes.')

  def encode(self, images, labels=None, conditions: Given = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of q(z | x, c), [N, latent] each. Grey values are not binarized.

    As features, take the means with one and the same label for all images: the encoder leaves out
    of the latents what the label says already. A logistic regression on the latents of the shipped
    mnist (5,000 training and 2,000 test images) finds 93.3 % of the digits so, and 20 % from
    latents that were encoded with the true labels.
    """
    images = self._check_images(images)
    rows = self.conditioning.of(labels, conditions, len(images), self._as_bytes(images))
    return batches.map_rows(
      lambda *rows: self.task.encode(self.variables, *rows), MAX_BATCH, images, rows.values
    )

  def decode(self, latents, labels=None, conditions: Given = None, seed: int = 0) -> np.ndarray:
    """E[x | z, c], [N, H, W, C] in [0, 1].

    Labels may also be mixtures of classes, floats [N, classes], with embeddings between theirs.
    The seed is that of conditions that are not named.
    """
    latents = self._check_latents(latents)
    if (mixtures := self._mixtures(labels, len(latents))) is not None:
      return self.decode_mixtures(latents, mixtures)
    values = self.conditioning.of(labels, conditions, len(latents), seed=seed).values
    return batches.map_rows(
      lambda *rows: self.task.decode(self.variables, *rows), MAX_BATCH, latents, values
    )

  def decode_mixtures(self, latents: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """`decode` with inputs of the embedding [N, inputs], such as lie between `mixable` ones."""
    return batches.map_rows(
      lambda latents, inputs: self.task.decode(self.variables, latents, Mixtures(inputs)),
      MAX_BATCH,
      latents,
      inputs,
    )

  def mixable(self, conditions: Conditions) -> np.ndarray:
    """The inputs of the embedding, float32 [N, inputs]."""
    if self.conditioning.has_table:
      return np.asarray(inputs_of(self.task.network.columns, conditions.values))
    return np.eye(len(self.class_names), dtype=np.float32)[conditions.values]

  def decode_draw(
    self, latents, labels=None, seed: int = 0, conditions: Given = None
  ) -> np.ndarray:
    """x ~ p(x | z, c), [N, H, W, C] in [0, 1]."""
    latents = self._check_latents(latents)
    rows = self.conditioning.of(labels, conditions, len(latents), seed=seed)
    key = keys.of_user(seed, 'pixels')
    return batches.map_rows(
      lambda latents, values, indices: generation.decode_draw(
        self.task.network, self.task.likelihood, self.variables, latents, values, key, indices
      ),
      MAX_BATCH,
      latents,
      rows.values,
      np.arange(len(latents), dtype=np.int32),
    )

  def reconstruct(self, images, labels=None, conditions: Given = None) -> np.ndarray:
    """E[x | z, c] at the posterior mean of each image, [N, H, W, C] in [0, 1]."""
    rows = self.inferred(images, self.conditions(labels, conditions, images=images))
    mean, _ = self.encode(images, conditions=rows)
    return self.decode(mean, conditions=rows)

  def inferred(self, images, conditions: Conditions) -> Conditions:
    """Conditions with the likeliest class where it is missing and the model has a q(c | x)."""
    network = self.task.network
    if not network.is_inferring:
      return conditions
    values = batches.map_rows(
      lambda *rows: generation.complete(network, self.task.likelihood, self.variables, *rows),
      MAX_BATCH,
      self._check_images(images),
      conditions.values,
    )
    return dataclasses.replace(conditions, values=values)

  def elbo(self, images, labels=None, seed: int = 0, conditions: Given = None) -> Elbo:
    """The ELBO of each image at β = 1, with one posterior sample.

    Pixels are rounded to bytes, and binarized if those of the training were. The draws of an image
    depend on the seed and on its position. Where a class is missing, `kl` is that of latents and
    class (M2; see docs/models.md).

    Raises:
      InputError: wrong images or labels, or a denoising autoencoder, which has no bound.
    """
    pixels, values, key = self._bounded(images, labels, conditions, seed)
    terms = bounds.elbo(self.task, self.variables, pixels, values, key)
    kl = terms.kl.sum(axis=-1) + terms.class_kl
    return Elbo(-terms.negative_elbo, terms.reconstruction, kl)

  def log_likelihood(
    self, images, labels=None, num_samples: int = 5000, seed: int = 0, conditions: Given = None
  ) -> np.ndarray:
    """The IWAE bound on log p(x | c) of each image, [N] nats (Burda et al. 2016).

    Pixels as in `elbo`. On a CPU, 5,000 samples take about a second for an image of 28×28.

    Raises:
      InputError: as of `elbo`.
    """
    check_integer('num_samples', num_samples, 1)
    pixels, values, key = self._bounded(images, labels, conditions, seed)
    return bounds.iwae(self.task, self.variables, pixels, values, key, num_samples)

  def classify(self, images, seed: int = 0, conditions: Given = None) -> np.ndarray:
    """p(c | x), [N, classes], by Bayes from the ELBO of every class; classes are equally likely.

    Args:
      images: of the model.
      seed: as of `elbo`.
      conditions: of the other columns.

    Raises:
      InputError: as of `elbo`, or the model knows no classes.
    """
    if not self.has_classes:
      raise InputError('This model knows no classes.')
    given = conditions
    if not isinstance(conditions, Conditions):  # whose class does not matter
      name = self.class_column.name
      given = {**(conditions or {}), name: self.class_names[0]}
    pixels, values, key = self._bounded(images, None, given, seed)
    own = Conditions(self.columns, values)
    candidates = [
      own.replaced(self.conditioning.class_number, label).values
      for label in range(len(self.class_names))
    ]
    return np.exp(bounds.log_probabilities(self.task, self.variables, pixels, candidates, key))

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

  def _bounded(self, images, labels, conditions, seed):
    """Images as bytes, their conditions and the key, for `bounds`."""
    self.prior.check_exists()
    pixels = self._as_bytes(self._check_images(images))
    rows = self.conditioning.of(labels, conditions, len(pixels), pixels)
    return pixels, rows.values, keys.of_user(seed, 'validation')

  def vary(
    self,
    images,
    labels=None,
    num_draws: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    conditions: Given = None,
  ) -> np.ndarray:
    """E[x | z, c] at draws from the posterior of each image, [N, num_draws, H, W, C] in [0, 1].

    Args:
      images: [N, H, W, C] in [0, 1].
      labels: [N] class numbers; None for an unconditional model.
      num_draws: of each image.
      temperature: factor on the posterior's standard deviation.
      seed: the same seed gives the same draws.
      conditions: by column; see the class.
    """
    check_integer('num_draws', num_draws, 1)
    self.prior.check_exists()
    rows = self.inferred(images, self.conditions(labels, conditions, images=images))
    mean, logvar = self.encode(images, conditions=rows)
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
    decoded = self.decode(latents, conditions=rows.repeat(num_draws))
    return decoded.reshape(count, num_draws, *self.image_shape)

  def interpolate(
    self,
    first,
    second,
    labels=None,
    num_steps: int = 11,
    method: str = 'linear',
    conditions: tuple[Given, Given] | None = None,
  ) -> np.ndarray:
    """Decoded interpolations of the latents from each image of `first` to that in `second`.

    Args:
      first: [N, H, W, C] in [0, 1].
      second: the same.
      labels: for a conditional model the classes of `first` and of `second`, [2, N]; between two
        conditions, their embeddings are interpolated too.
      num_steps: images of each interpolation, both ends included.
      method: 'linear' or 'spherical'; see `interpolation`.
      conditions: those of `first` and of `second`, by column.

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
    sides = [(None, None) if given is None else given for given in (labels, conditions)]
    for name, given in zip(('labels', 'conditions'), sides, strict=True):
      if len(given) != 2:
        raise InputError(f'{name} have {len(given)} rows, expected two: of first, and of second.')
    rows, means = [], []
    for images, *given in zip((first, second), *sides, strict=True):
      rows.append(self.inferred(images, self.conditions(*given, images=images)))
      means.append(self.encode(images, conditions=rows[-1])[0])
    if len(means[0]) != len(means[1]):
      raise InputError(f'{len(means[0])} images cannot be paired with {len(means[1])}.')
    latents = interpolate(*means, num_steps).reshape(-1, self.config.latent_dim)
    if self.conditional:
      mixtures = interpolation.linear(*map(self.mixable, rows), num_steps)
      images = self.decode_mixtures(latents, mixtures.reshape(len(latents), mixtures.shape[-1]))
    else:
      images = self.decode(latents)
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

  def _mixtures(self, labels, count: int) -> np.ndarray | None:
    """Weights of classes [N, classes], if the labels are such."""
    if labels is None or not self.conditional or self.conditioning.has_table:
      return None
    labels = _array('labels', labels)
    if labels.dtype.kind != 'f' or labels.shape != (count, len(self.class_names)):
      return None
    if not np.isfinite(labels).all():
      raise InputError('labels (mixtures of classes) are not all finite: expected numbers.')
    return labels.astype(np.float32)

  @staticmethod
  def _as_bytes(images: np.ndarray) -> np.ndarray:
    return np.rint(255 * images).astype(np.uint8)


def _array(name: str, values) -> np.ndarray:
  """`values` as an array; raises InputError if rows differ in length or entries are masked."""
  array_labels.refuse_masked(values, name)
  try:
    return np.asarray(values)
  except ValueError as error:  # NumPy: "inhomogeneous shape"
    raise InputError(f'{name} are not one array: rows differ in length.') from error
