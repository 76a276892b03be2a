"""What can be drawn from a model: rows and columns of images that bear names."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.inference import interpolation as latent_space
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError

NUM_STEPS = 11  # of an interpolation
TRAVERSED = np.linspace(-3, 3, 11)  # standard deviations of the prior
MANIFOLD_SIDE = 15
MAX_COLUMNS = 16  # of images without a place of their own
PAIR_COLUMNS = 10
MAX_END = 20  # characters of the name of a way's end


class Inputs(NamedTuple):
  """Images to begin with, and what is known of them."""

  images: np.ndarray  # float32 [N, H, W, C] in [0, 1]
  labels: np.ndarray | None  # int32 [N]; None for an unconditional model
  names: tuple[str, ...]  # of the files, or numbers in a set


def of_set(model: Model, part: Dataset, rows: Sequence[int]) -> Inputs:
  """Images of a split, by their numbers; named after their classes.

  Raises:
    InputError: there is no image of such a number.
  """
  rows, count = np.asarray(rows), len(part.labels)
  if wrong := [row for row in rows if not 0 <= row < count]:
    raise InputError(f'index {wrong[0]} is not in this split: 0 to {count - 1}.')
  labels = part.labels[rows]
  names = part.class_names or [str(row) for row in range(count)]
  chosen = labels if part.class_names else rows
  return Inputs(
    part.images[rows].astype(np.float32) / 255,
    labels if model.conditional else None,
    tuple(names[number] for number in chosen),
  )


class Drawing(NamedTuple):
  """Images with names for their rows and columns, either of which may be ()."""

  images: np.ndarray  # [rows, columns, H, W, C] in [0, 1]; a tile of NaN stays empty
  row_names: tuple[str, ...] = ()
  column_names: tuple[str, ...] = ()
  title: str = ''
  latents: np.ndarray | None = None  # [rows, columns, latent], where every image has one
  labels: np.ndarray | None = None  # [rows, columns], likewise


def prior(
  model: Model,
  labels: Sequence[int] | None,
  num_images: int,
  temperature: float,
  seed: int,
  draw: bool,
  source: str | None = None,
) -> Drawing:
  """Samples: a row for each of several classes, a square of one or of an unconditional model.

  Args:
    model: a trained model.
    labels: the classes; None for an unconditional model.
    num_images: of each class.
    temperature: as of `Model.sample`.
    seed: the same seed gives the same pictures.
    draw: sample the pixels too.
    source: 'fitted' or 'model', the prior; None is the fitted one where there is one.
  """
  count = num_images * len(labels or [0])
  repeated = None if labels is None else np.repeat(np.asarray(labels, np.int32), num_images)
  latents = model.draw_latents(
    repeated, temperature, seed, count if labels is None else None, source
  )
  images = model.decode_draw(latents, repeated, seed) if draw else model.decode(latents, repeated)
  subject = f' of {model.class_names[labels[0]]}' if labels is not None and len(labels) == 1 else ''
  title = f'Samples{subject}, z ~ {model.priors.describe(source, temperature)}'
  if labels is None or len(labels) == 1:
    columns = min(MAX_COLUMNS, int(np.ceil(np.sqrt(count))))
    parts = [_rows(x, columns) for x in (images, latents, repeated)]
    return Drawing(parts[0], title=title, latents=parts[1], labels=parts[2])
  rows = len(labels)
  return Drawing(
    images.reshape(rows, num_images, *model.image_shape),
    _class_names(model, labels),
    title=title,
    latents=latents.reshape(rows, num_images, -1),
    labels=repeated.reshape(rows, num_images),
  )


def posterior(
  model: Model, inputs: Inputs, num_draws: int, temperature: float, seed: int
) -> Drawing:
  """Each image, and variations of it: decoded draws from its posterior."""
  variations = model.vary(inputs.images, inputs.labels, num_draws, temperature, seed)
  return Drawing(
    np.concatenate([inputs.images[:, None], variations], axis=1),
    inputs.names,
    ('image', *(str(number + 1) for number in range(num_draws))),
    'Variations: decoded draws from q(z | x)'
    + ('' if temperature == 1 else f', temperature {temperature:g}'),
  )


def reconstruct(model: Model, inputs: Inputs) -> Drawing:
  """Rows of images, and their reconstructions below them."""
  columns = min(PAIR_COLUMNS, len(inputs.images))
  both = [
    _rows(x, columns) for x in (inputs.images, model.reconstruct(inputs.images, inputs.labels))
  ]
  images = np.stack(both, axis=1).reshape(-1, *both[0].shape[1:])
  return Drawing(images, ('image', 'recon.') * len(both[0]), title='Images and reconstructions')


def interpolate_images(model: Model, inputs: Inputs, method: str) -> Drawing:
  """From the first image to the second, from the third to the fourth, and so on."""
  count = len(inputs.images)
  if count < 2 or count % 2:
    raise InputError(f'{count} image(s) make no pairs to interpolate between: give 2, 4, 6, ...')
  labels = None if inputs.labels is None else (inputs.labels[::2], inputs.labels[1::2])
  images = model.interpolate(inputs.images[::2], inputs.images[1::2], labels, NUM_STEPS, method)
  names = tuple(
    f'{_short(first)} → {_short(second)}'
    for first, second in zip(inputs.names[::2], inputs.names[1::2], strict=True)
  )
  return Drawing(images, names, _shares(), f'Interpolation in z, {method}')


def interpolate_classes(
  model: Model,
  labels: tuple[int, int],
  num_images: int,
  temperature: float,
  seed: int,
  source: str | None = None,
) -> Drawing:
  """From one class to another, each row with noise of its own.

  The embedded class moves from one to the other and, where the prior depends on the class, the
  latent with it.
  """
  ends = (
    model.draw_latents(np.full(num_images, label), temperature, seed, prior=source)
    for label in labels
  )
  latents = latent_space.linear(*ends, NUM_STEPS)
  shares = np.eye(len(model.class_names), dtype=np.float32)[np.asarray(labels)]
  mixtures = latent_space.linear(shares[:1], shares[1:], NUM_STEPS)
  images = model.decode(
    latents.reshape(-1, latents.shape[-1]),
    np.tile(mixtures, (num_images, 1, 1)).reshape(-1, shares.shape[1]),
  )
  first, second = _class_names(model, labels)
  return Drawing(
    images.reshape(num_images, NUM_STEPS, *model.image_shape),
    column_names=_shares(),
    title=f'From {first} to {second}, z ~ {model.priors.describe(source, temperature)}',
    latents=latents,
  )


def traverse(
  model: Model,
  latent: np.ndarray | None,
  label: int | None,
  dimensions: Sequence[int] | None = None,
  source: str | None = None,
) -> Drawing:
  """Each latent dimension in turn from −3 to 3 standard deviations of the prior.

  Args:
    model: a trained model.
    latent: [D] where the others stay; None is the prior's mean.
    label: the class; None for an unconditional model.
    dimensions: which are to move; None is all.
    source: 'fitted' or 'model', the prior; None is the fitted one where there is one.
  """
  mean, deviation = model.priors.moments(label or 0, source)
  shown = range(len(mean)) if dimensions is None else dimensions
  values = mean + TRAVERSED[:, None] * deviation
  centre = mean if latent is None else latent
  points = latent_space.traversal(centre, values)[np.asarray(shown)]
  images = model.decode(
    points.reshape(-1, points.shape[-1]), _labels(model, label, points.shape[0] * points.shape[1])
  )
  return Drawing(
    images.reshape(*points.shape[:2], *model.image_shape),
    tuple(f'z{dimension}' for dimension in shown),
    tuple(f'{value:+.1f}' for value in TRAVERSED),
    f'Traversals{_of_class(model, label)}, in standard deviations of {_prior_name(model, source)}',
    points,
  )


def arithmetic(model: Model, operands: Inputs, latents: np.ndarray) -> Drawing:
  """a − b + c in the latent space; the result takes the class of c.

  Args:
    model: a trained model.
    operands: a, b and c, as they are to be shown.
    latents: [3, D] theirs.
  """
  result = latents[0] - latents[1] + latents[2]
  label = None if operands.labels is None else int(operands.labels[2])
  image = model.decode(result[None], _labels(model, label, 1))
  return Drawing(
    np.concatenate([operands.images, image])[None],
    column_names=(*(f'{s}{n}' for s, n in zip(('', '− ', '+ '), operands.names, strict=True)), '='),
    title='Arithmetic in z' + ('' if label is None else f', decoded as {model.class_names[label]}'),
  )


def manifold(
  model: Model,
  dimensions: tuple[int, int] | None,
  label: int | None,
  source: str | None = None,
) -> Drawing:
  """A grid over two latent dimensions; by default the two that change most.

  The others stay at the mean of the prior, 'fitted' or 'model' as in `traverse`.
  """
  size = model.config.latent_dim
  if size < 2:
    raise InputError(f'latent_dim={size} spans no plane: --mode=traverse shows all there is.')
  if dimensions is None:
    drawn = traverse(model, None, label, source=source).images
    first, second = np.argsort(-drawn.std(axis=1).mean(axis=(1, 2, 3)))[:2]
    dimensions = int(first), int(second)
  for dimension in dimensions:
    if not 0 <= dimension < size:
      raise InputError(f'dimension {dimension} is not in this latent space: 0 to {size - 1}.')
  moments = model.priors.moments(label or 0, source)
  points = latent_space.plane(*moments, dimensions, MANIFOLD_SIDE)
  images = model.decode(points.reshape(-1, size), _labels(model, label, MANIFOLD_SIDE**2))
  across, down = dimensions
  normal = _prior_name(model, source)
  if not model.priors.is_standard(source):
    normal = f'a normal with the moments of {normal}'
  return Drawing(
    images.reshape(MANIFOLD_SIDE, MANIFOLD_SIDE, *model.image_shape),
    title=f'Manifold{_of_class(model, label)}: z{across} across, z{down} down, quantiles of '
    f'{normal}',
    latents=points,
  )


def style(model: Model, latents: np.ndarray, drawn_from: str = '') -> Drawing:
  """A row for each style, in every class: one handwriting, all digits.

  Args:
    model: a conditional model.
    latents: [N, classes, D], as `Model.draw_styles` and `Model.restyle` give them.
    drawn_from: the prior, for the title.
  """
  count, classes = latents.shape[:2]
  labels = np.tile(np.arange(classes, dtype=np.int32), (count, 1))
  images = model.decode(latents.reshape(count * classes, -1), labels.reshape(-1))
  return Drawing(
    images.reshape(count, classes, *model.image_shape),
    (),
    _class_names(model, range(classes)),
    'One style in each row, as every class' + (f', z ~ {drawn_from}' if drawn_from else ''),
    latents,
    labels,
  )


def restyle(model: Model, inputs: Inputs) -> Drawing:
  """Each image, and its style in every class."""
  mean, _ = model.encode(inputs.images, inputs.labels)
  drawn = style(model, model.restyle(mean, inputs.labels))
  images, latents, labels = (
    np.concatenate([own[:, None], of_classes], axis=1)
    for own, of_classes in (
      (inputs.images, drawn.images),
      (mean, drawn.latents),
      (inputs.labels, drawn.labels),
    )
  )
  names = ('image', *drawn.column_names)
  return Drawing(images, inputs.names, names, drawn.title, latents, labels)


def _short(name: str) -> str:
  return name if len(name) <= MAX_END else f'{name[: MAX_END - 1]}…'


def _shares() -> tuple[str, ...]:
  return tuple(f'{share:.1f}' for share in np.linspace(0, 1, NUM_STEPS))


def _labels(model: Model, label: int | None, count: int) -> np.ndarray | None:
  return np.full(count, label, np.int32) if model.conditional else None


def _prior_name(model: Model, source: str | None) -> str:
  if model.priors.is_standard(source):
    return 'N(0, 1)'
  return f'the {model.priors.describe(source)}'


def _class_names(model: Model, labels) -> tuple[str, ...]:
  return tuple(model.class_names[label] for label in labels)


def _of_class(model: Model, label: int | None) -> str:
  return f' of {model.class_names[label]}' if model.conditional else ''


def _rows(values: np.ndarray | None, columns: int) -> np.ndarray | None:
  """[N, ...] to [rows, columns, ...]; the last row is filled up, with NaN where there is one."""
  if values is None:
    return None
  rows = -(-len(values) // columns)
  blank = np.nan if values.dtype.kind == 'f' else -1
  padding = [(0, rows * columns - len(values))] + [(0, 0)] * (values.ndim - 1)
  return np.pad(values, padding, constant_values=blank).reshape(rows, columns, *values.shape[1:])
