"""A trained model: NumPy arrays in, NumPy arrays out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import Column
from cvae_jax.data.datasets import Splits
from cvae_jax.data.readers import DATASETS
from cvae_jax.inference import arrays, bounds, inpainting, interpolation, model_data, passes
from cvae_jax.inference import conditions as conditions_lib
from cvae_jax.inference.conditions import Conditioning, Conditions
from cvae_jax.inference.latent_prior import LatentPrior, check_temperature
from cvae_jax.models.conditions import Input, inputs_of
from cvae_jax.models.cvae import Mixtures
from cvae_jax.plots import grids
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError, check_integer
from cvae_jax.tasks.autoencoder import Autoencoder

IWAE_SAMPLES, IWAE_SAMPLES_OF_FLOW = 5_000, 50  # by default
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
      return Conditioning((), (), has_table=False)
    name = DATASETS.trait(self.config.data.name, 'label_column', 'label')
    column = Column(name, 'category', self.class_names)
    known = Input('category', len(self.class_names), has_unknown=False, is_inferred=False)
    return Conditioning((column,), (known,), has_table=False)

  @property
  def has_classes(self) -> bool:
    """Whether it is conditioned on a class, perhaps among other conditions."""
    return self.conditioning.class_number is not None

  @property
  def reads_conditions(self) -> bool:
    """Whether encoder and decoder know the conditions, so that they can be found of an image."""
    return self.task.network.conditional

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

  def with_flow(self, guidance: float | None = None, steps: int | None = None) -> 'Model':
    """The model of a second stage with other settings of its flow; None leaves one as it is.

    Args:
      guidance: how much the conditions count in samples; 1 is no guidance.
      steps: of the flow, in two passes each; fewer are quicker.

    Raises:
      InputError: the model has no second stage, it cannot be guided, or a number is out of range.
    """
    return dataclasses.replace(self, prior=self.prior.with_flow(guidance, steps))

  @property
  def suffix(self) -> str:
    """A suffix for names of results: that of the step, if it was asked for."""
    return '' if self.asked_step is None else f'-step{self.asked_step}'

  def label(self, text: str | int) -> int:
    """The number of a class, from its number or its name in any case.

    Raises:
      InputError: there is no such class.
    """
    self._check_classes(f'has no class {str(text)[:40]!r}')
    return conditions_lib.name_number(self.conditioning.class_column, text)

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
      images, count = arrays.images_of(images, self.image_shape), len(images)
      if any(column.measured for column in self.columns):
        images = arrays.as_bytes(images)
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
    known = self.config, self.conditioning, self.class_names, self.data_fingerprint
    return model_data.load(*known, data_dir)

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
    elif labels is None and conditions is None:
      raise InputError('Give labels, conditions or num_images.')
    return self.conditioning.of(labels, conditions, num_images, seed=seed)

  def draw_styles(
    self, count: int, temperature: float = 1.0, seed: int = 0, prior: str | None = None
  ) -> np.ndarray:
    """Latents of the same style in all classes, [count, classes, latent].

    The rows are drawn for each class in turn, and then restyled.
    """
    rows = self.styles(count, seed)
    latents = self.prior.draw(rows, temperature, seed, prior)
    return self._in_every_class(latents, rows, prior)

  def styles(self, count: int, seed: int = 0) -> Conditions:
    """The conditions that `draw_styles` draws for."""
    self.check_styles()
    check_integer('count', count, 0)
    labels = np.arange(count, dtype=np.int32) % len(self.class_names)
    return self.conditioning.of(labels, None, count, seed=seed)

  def restyle(self, latents, labels=None, conditions: Given = None) -> np.ndarray:
    """Latents of the same style in all classes, [N, classes, latent], for latents [N, latent].

    The noise that gives a latent under its own conditions gives those of the other classes, by the
    second stage, unguided, or else by the prior that the model was trained with. If that is
    N(0, I), the latent is the same in all.
    """
    self.check_styles()
    latents = arrays.latents_of(latents, self.config.latent_dim)
    own = self.conditioning.of(labels, conditions, len(latents))
    return self._in_every_class(latents, own, None)

  def _in_every_class(self, latents: np.ndarray, own: Conditions, prior: str | None) -> np.ndarray:
    count = len(self.class_names)
    repeated = np.repeat(latents, count, axis=0)
    changed = self.prior.under(repeated, own.repeat(count), own.in_every_class(), prior)
    return changed.reshape(len(latents), count, self.config.latent_dim)

  def check_styles(self) -> None:
    """Raises InputError if the model has no classes to show a style in."""
    self._check_classes('cannot draw one style in all classes')

  def _check_classes(self, otherwise: str) -> None:
    if not self.has_classes:
      kind = 'not conditioned on a class' if self.conditional else 'unconditional'
      raise InputError(f'This model is {kind}: it {otherwise}.')

  def encode(self, images, labels=None, conditions: Given = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of q(z | x, c), [N, latent] each. Grey values are not binarized.

    As features, take the means with one and the same label for all images: the encoder leaves out
    of the latents what the label says already. A logistic regression on the latents of the shipped
    mnist (5,000 training and 2,000 test images) finds 93.3 % of the digits so, and 20 % from
    latents that were encoded with the true labels.
    """
    images = arrays.images_of(images, self.image_shape)
    rows = self.conditions(labels, conditions, images=images)
    return passes.encode(self.task, self.variables, images, rows.values)

  def decode(self, latents, labels=None, conditions: Given = None, seed: int = 0) -> np.ndarray:
    """E[x | z, c], [N, H, W, C] in [0, 1].

    Labels may also be mixtures of classes, floats [N, classes], with embeddings between theirs.
    Columns that are not named are as in training images, drawn with the seed.

    Raises:
      InputError: wrong latents, labels or conditions, or none for a conditional model.
    """
    latents = arrays.latents_of(latents, self.config.latent_dim)
    values, kind = None, Mixtures
    if labels is not None and self.has_classes and not self.conditioning.has_table:
      values = arrays.mixtures_of(labels, len(latents), len(self.class_names))
    if values is None:
      kind = np.asarray
      self._check_given(labels, conditions)
      values = self.conditioning.of(labels, conditions, len(latents), seed=seed).values
    return passes.decode(self.task, self.variables, latents, values, kind)

  def _check_given(self, labels, conditions: Given) -> None:
    """Raises InputError without any conditions: latents come from images that had some."""
    is_given = labels is not None or isinstance(conditions, Conditions) or bool(conditions)
    if self.conditional and not is_given:
      raise InputError('This model is conditional: give the labels or conditions to decode with.')

  def decode_paths(self, paths: np.ndarray, first: Conditions, second: Conditions) -> np.ndarray:
    """E[x | z, c] along paths [N, steps, latent], [N, steps, H, W, C] in [0, 1].

    Conditions go from `first` to `second` of each path: the inputs of their embedding do, in even
    steps.
    """
    count, steps, size = paths.shape
    inputs, kind = first.repeat(steps).values, np.asarray
    if self.conditional:
      inputs, kind = interpolation.linear(*map(self._inputs, (first, second)), steps), Mixtures
      inputs = inputs.reshape(count * steps, inputs.shape[-1])
    paths = paths.reshape(count * steps, size)
    images = passes.decode(self.task, self.variables, paths, inputs, kind)
    return images.reshape(count, steps, *self.image_shape)

  def _inputs(self, conditions: Conditions) -> np.ndarray:
    """The inputs of the embedding, float32 [N, inputs]."""
    if self.conditioning.has_table:
      return np.asarray(inputs_of(self.conditioning.inputs, conditions.values))
    return np.eye(len(self.class_names), dtype=np.float32)[conditions.values]

  def decode_draw(
    self, latents, labels=None, seed: int = 0, conditions: Given = None
  ) -> np.ndarray:
    """x ~ p(x | z, c), [N, H, W, C] in [0, 1]."""
    latents = arrays.latents_of(latents, self.config.latent_dim)
    self._check_given(labels, conditions)
    rows = self.conditioning.of(labels, conditions, len(latents), seed=seed)
    return passes.decode_draw(self.task, self.variables, latents, rows.values, seed)

  def reconstruct(self, images, labels=None, conditions: Given = None) -> np.ndarray:
    """E[x | z, c] at the posterior mean of each image, [N, H, W, C] in [0, 1]."""
    rows = self.inferred(images, conditions, labels)
    mean, _ = self.encode(images, conditions=rows)
    return self.decode(mean, conditions=rows)

  def inferred(self, images, conditions: Given = None, labels=None) -> Conditions:
    """The conditions of images, with the likeliest class by q(c | x) where it is missing."""
    images = arrays.images_of(images, self.image_shape)
    rows = self.conditions(labels, conditions, images=images)
    values = passes.complete(self.task, self.variables, images, rows.values)
    return dataclasses.replace(rows, values=values)

  def elbo(
    self,
    images,
    labels=None,
    seed: int = 0,
    conditions: Given = None,
    prior: str | None = None,
  ) -> Elbo:
    """The ELBO of each image at β = 1, with one posterior sample.

    Pixels are rounded to bytes, and binarized if those of the training were. The draws of an image
    depend on the seed and on its position. Where a class is missing, `kl` is that of latents and
    class (M2; see docs/conditions.md).

    With a second stage, p(z | c) is its flow, unguided, and `kl` the difference of the two log
    densities at the sample; this takes some hundred passes for each latent of an image.
    `prior='model'` gives the bound of the first stage with its own prior.

    Raises:
      InputError: wrong images, labels or prior, or a denoising autoencoder, which has no bound.
    """
    pixels, rows, key = self._bounded(images, labels, conditions, seed)
    density = self.prior.density(prior)
    terms = bounds.elbo(self.task, self.variables, pixels, rows.values, key, density)
    kl = terms.kl.sum(axis=-1) + terms.class_kl
    return Elbo(-terms.negative_elbo, terms.reconstruction, kl)

  def log_likelihood(
    self,
    images,
    labels=None,
    num_samples: int | None = None,
    seed: int = 0,
    conditions: Given = None,
    prior: str | None = None,
  ) -> np.ndarray:
    """The IWAE bound on log p(x | c) of each image, [N] nats (Burda et al. 2016).

    Pixels and prior as in `elbo`. The default is 5,000 samples: about a second for an image of
    28×28 on a CPU. With a second stage it is 50, and each takes as long as the bound of `elbo`.

    Raises:
      InputError: as of `elbo`.
    """
    pixels, rows, key = self._bounded(images, labels, conditions, seed)
    density = self.prior.density(prior)
    if num_samples is None:
      num_samples = IWAE_SAMPLES if density is None else IWAE_SAMPLES_OF_FLOW
    check_integer('num_samples', num_samples, 1)
    given = self.task, self.variables, pixels, rows.values, key, num_samples
    return bounds.iwae(*given, density=density)

  def classify(self, images, seed: int = 0, conditions: Given = None) -> np.ndarray:
    """p(c | x), [N, classes], by Bayes from the ELBO of every class; classes are equally likely.

    Args:
      images: of the model.
      seed: as of `elbo`.
      conditions: of the other columns.

    Raises:
      InputError: as of `elbo`, or the model knows no classes.
    """
    self._check_classes('knows no classes')
    if not self.reads_conditions:
      raise InputError(
        'Only the second stage of this model knows classes: its bounds are the same for all. Name '
        'a model whose encoder and decoder are conditional.'
      )
    if not isinstance(conditions, Conditions):  # any class will do: it is replaced
      conditions = {**(conditions or {}), self.conditioning.class_column.name: self.class_names[0]}
    pixels, rows, key = self._bounded(images, None, conditions, seed)
    number, classes = self.conditioning.class_number, range(len(self.class_names))
    candidates = [rows.replaced(number, label).values for label in classes]
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

  def _bounded(self, images, labels, conditions, seed) -> tuple[np.ndarray, Conditions, Array]:
    """Images as bytes, their conditions and the key, for `bounds`."""
    self.prior.check_exists()
    images = arrays.images_of(images, self.image_shape)
    rows = self.conditions(labels, conditions, images=images)
    return arrays.as_bytes(images), rows, keys.of_user(seed, 'validation')

  def vary(
    self,
    images,
    labels=None,
    num_draws: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    conditions: Given = None,
    noise: float | None = None,
  ) -> np.ndarray:
    """Variations of each image, [N, num_draws, H, W, C] in [0, 1].

    They are E[x | z, c] at draws from the posterior or, with `noise`, at what a second stage makes
    of the latents after it has mixed them with noise.

    Args:
      images: [N, H, W, C] in [0, 1].
      labels: [N] class numbers; None for an unconditional model.
      num_draws: of each image.
      temperature: factor on the standard deviation of the posterior, or of the noise.
      seed: the same seed gives the same draws.
      conditions: by column; see the class.
      noise: above 0, where nothing changes, to 1, where nothing of the image is left and these are
        samples.
    """
    check_integer('num_draws', num_draws, 1)
    if noise is None:
      self.prior.check_exists()
    rows = self.inferred(images, conditions, labels)
    mean, logvar = self.encode(images, conditions=rows)
    count = len(mean)
    mean, logvar = (np.repeat(x, num_draws, axis=0) for x in (mean, logvar))
    rows = rows.repeat(num_draws)
    if noise is None:
      latents = passes.draw_posterior(mean, logvar, temperature, seed)
    else:
      flow = self.prior.check_flow('takes noise back')
      latents = flow.vary(mean, rows, noise, check_temperature(temperature), seed)
    decoded = self.decode(latents, conditions=rows)
    return decoded.reshape(count, num_draws, *self.image_shape)

  def inpaint(
    self,
    images,
    mask,
    labels=None,
    num_draws: int = 8,
    seed: int = 0,
    conditions: Given = None,
  ) -> np.ndarray:
    """Images with their holes filled by a second stage, [N, num_draws, H, W, C] in [0, 1].

    Pixels outside of the hole stay as they are. See `models.inpainting.fill`.

    Args:
      images: [N, H, W, C] in [0, 1]; what is in the hole has no effect.
      mask: [H, W] or [N, H, W], true, or from 0.5 or 128 on, where pixels are to be filled.
      labels: [N] class numbers or names. Without them, and other conditions, these are unknown.
      num_draws: fills of each image.
      seed: the same seed gives the same fills.
      conditions: by column; see the class.

    Raises:
      InputError: the model has no second stage, the mask has another size or no hole, or the model
        needs to know a condition that is not given.
    """
    check_integer('num_draws', num_draws, 1)
    flow = self.prior.check_flow('fills holes')
    images = arrays.images_of(images, self.image_shape)
    holes = inpainting.holes_of(mask, len(images), self.image_shape)
    rows = inpainting.known_conditions(self.conditioning, labels, conditions, len(images))
    images, holes = (np.repeat(x, num_draws, axis=0) for x in (images, holes))
    rows = rows.repeat(num_draws)
    latents = flow.fill(images, holes, rows, seed)
    filled = np.where(holes, self.decode(latents, conditions=rows), images)
    return filled.reshape(-1, num_draws, *self.image_shape)

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

    With a second stage, 'spherical' is the path between the noises that give these latents, which
    the flow finds backwards and follows forwards again.

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
    interpolate = interpolation.of_name(method)
    sides = [(None, None) if given is None else given for given in (conditions, labels)]
    for name, given in zip(('conditions', 'labels'), sides, strict=True):
      if len(given) != 2:
        raise InputError(f'{name} have {len(given)} rows, expected two: of first, and of second.')
    rows, means = [], []
    for images, *given in zip((first, second), *sides, strict=True):
      rows.append(self.inferred(images, *given))
      means.append(self.encode(images, conditions=rows[-1])[0])
    if len(means[0]) != len(means[1]):
      raise InputError(f'{len(means[0])} images cannot be paired with {len(means[1])}.')
    if method == 'spherical' and self.prior.flow is not None:
      paths = self.prior.flow.through_noise(interpolate, means, rows, num_steps)
    else:
      paths = interpolate(*means, num_steps)
    return self.decode_paths(paths, *rows)
