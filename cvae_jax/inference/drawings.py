"""Drawings of a model, one function for each mode of sample.py, and their files.

Functions take `prior` as `LatentPrior` does. Those that can draw any number of images raise
InputError if these have more than `max_pixels`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.inference import interpolation as interpolation_lib
from cvae_jax.inference.inputs import Inputs, from_dataset
from cvae_jax.inference.model import Model
from cvae_jax.plots import grids
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

NUM_STEPS = 11  # of an interpolation
TRAVERSED = np.linspace(-3, 3, 11)  # standard deviations of the prior
MANIFOLD_SIDE = 15
MAX_COLUMNS = 16  # of samples of one class
PAIR_COLUMNS = 10
CLASS_MEAN_IMAGES = 500  # of a class
MAX_NAME = 20  # characters of an image's name in a pair
MAX_CLASSES = 100  # in a picture of samples, unless more are asked for
MAX_PIXELS = 20_000_000  # of all images of a PNG file


class Drawing(NamedTuple):
  """Images with names of their rows and columns; either may be ()."""

  images: np.ndarray  # [rows, columns, H, W, C] in [0, 1]; a tile of NaN is empty
  row_names: tuple[str, ...] = ()
  column_names: tuple[str, ...] = ()
  title: str = ''
  latents: np.ndarray | None = None  # [rows, columns, latent] of all images, if they have some
  labels: np.ndarray | None = None  # [rows, columns] likewise


def samples(
  model: Model,
  labels: Sequence[int] | None = None,
  num_images: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  draw: bool = False,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """Samples: a row for each of several classes; a square of one, or of an unconditional model.

  Args:
    model: a trained model.
    labels: the classes; None is all of them, or the first MAX_CLASSES.
    num_images: of each class; by default 10 of several, 64 of one.
    temperature: as in `Model.sample`.
    seed: of the latents and pixels.
    draw: also sample the pixels.
    prior: see above.
    max_pixels: see above.
  """
  is_cut = labels is None and len(model.class_names) > MAX_CLASSES
  if labels is None and model.conditional:
    labels = range(len(model.class_names))[:MAX_CLASSES]
  num_classes = 1 if labels is None else len(labels)
  num_images = num_images or (10 if num_classes > 1 else 64)
  _check_size(num_images * num_classes, model.image_shape, max_pixels)
  repeated = None if labels is None else np.repeat(np.asarray(labels, np.int32), num_images)
  count = num_images if labels is None else None
  latents = model.draw_latents(repeated, temperature, seed, count, prior)
  images = model.decode_draw(latents, repeated, seed) if draw else model.decode(latents, repeated)
  names, subject, columns = (), '', num_images
  if num_classes > 1:
    names = _class_texts(model, labels)
    if is_cut:
      subject = f' of the first {MAX_CLASSES} of {len(model.class_names):,} classes'
    elif len(names) < len(model.class_names):
      subject = f' of {", ".join(names)}'
  else:
    subject = '' if labels is None else f' of {model.class_text(labels[0])}'
    columns = min(MAX_COLUMNS, int(np.ceil(np.sqrt(num_images))))
  return Drawing(
    grids.rows_of(images, columns, np.nan),
    names,
    title=f'Samples{subject}, z ~ {model.prior.describe(prior, temperature)}',
    latents=grids.rows_of(latents, columns, np.nan),
    labels=None if repeated is None else grids.rows_of(repeated, columns, -1),
  )


def variations(
  model: Model,
  inputs: Inputs,
  num_draws: int = 8,
  temperature: float = 1.0,
  seed: int = 0,
  max_pixels: int | None = None,
) -> Drawing:
  """Each image, and decoded draws from its posterior."""
  _check_size(len(inputs.images) * (num_draws + 1), model.image_shape, max_pixels)
  images = model.vary(inputs.images, inputs.labels, num_draws, temperature, seed)
  return Drawing(
    np.concatenate([inputs.images[:, None], images], axis=1),
    inputs.names,
    ('image', *(str(number + 1) for number in range(num_draws))),
    'Variations: decoded draws from q(z | x)'
    + ('' if temperature == 1 else f', temperature {temperature:g}'),
  )


def reconstructions(model: Model, inputs: Inputs) -> Drawing:
  """Rows of images, each above the row of their reconstructions."""
  columns = min(PAIR_COLUMNS, len(inputs.images))
  pairs = inputs.images, model.reconstruct(inputs.images, inputs.labels)
  rows = np.stack([grids.rows_of(x, columns, np.nan) for x in pairs], axis=1)
  images = rows.reshape(-1, *rows.shape[2:])
  return Drawing(images, ('image', 'recon.') * len(rows), title='Images and reconstructions')


def interpolate_images(model: Model, inputs: Inputs, interpolation: str = 'linear') -> Drawing:
  """From the first image to the second, from the third to the fourth, and so on."""
  count = len(inputs.images)
  if count < 2 or count % 2:
    raise InputError(f'{count} image(s) make no pairs to interpolate between: give 2, 4, 6, ...')
  labels = None if inputs.labels is None else (inputs.labels[::2], inputs.labels[1::2])
  ends = inputs.images[::2], inputs.images[1::2]
  images = model.interpolate(*ends, labels, NUM_STEPS, interpolation)
  names = [name if len(name) <= MAX_NAME else f'{name[: MAX_NAME - 1]}…' for name in inputs.names]
  pairs = tuple(map(' → '.join, zip(names[::2], names[1::2], strict=True)))
  return Drawing(images, pairs, _fractions(), f'Interpolation in z, {interpolation}')


def interpolate_classes(
  model: Model,
  labels: Sequence[int],
  num_images: int = 4,
  temperature: float = 1.0,
  seed: int = 0,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """From one of two classes to the other, with other noise in each of `num_images` rows.

  The embedding of the class is interpolated and, if the prior depends on the class, the latent too.
  """
  _check_size(num_images * NUM_STEPS, model.image_shape, max_pixels)
  ends = (
    model.draw_latents(np.full(num_images, label), temperature, seed, prior=prior)
    for label in labels
  )
  latents = interpolation_lib.linear(*ends, NUM_STEPS)
  one_hot = np.eye(len(model.class_names), dtype=np.float32)[np.asarray(labels)]
  mixtures = interpolation_lib.linear(one_hot[:1], one_hot[1:], NUM_STEPS)
  first, second = _class_texts(model, labels)
  return Drawing(
    _decoded(model, latents, np.tile(mixtures[0], (num_images, 1))),
    column_names=_fractions(),
    title=f'From {first} to {second}, z ~ {model.prior.describe(prior, temperature)}',
    latents=latents,
  )


def traverse(
  model: Model,
  labels: Sequence[int] | None = None,
  prior: str | None = None,
  latent: np.ndarray | None = None,
  dimensions: Sequence[int] | None = None,
) -> Drawing:
  """Each latent dimension in turn from −3 to 3 standard deviations of the prior.

  Args:
    model: a trained model.
    labels: its class, a list of one; None is the first.
    prior: see above.
    latent: [D] the values of the other dimensions; None is the prior's mean.
    dimensions: those to traverse; None is all.
  """
  label = _label(model, labels)
  mean, std = model.prior.moments(label or 0, prior)
  shown = range(len(mean)) if dimensions is None else dimensions
  values = mean + TRAVERSED[:, None] * std
  points = interpolation_lib.traversals(mean if latent is None else latent, values)
  points = points[np.asarray(shown)]
  return Drawing(
    _decoded(model, points, label),
    tuple(f'z{dimension}' for dimension in shown),
    tuple(f'{value:+.1f}' for value in TRAVERSED),
    f'Traversals{_of_class(model, label)}, in standard deviations of {_prior_name(model, prior)}',
    points,
  )


def traverse_image(model: Model, inputs: Inputs, prior: str | None = None) -> Drawing:
  """Each latent dimension in turn as in `traverse`, the others as in one image."""
  (latent,), _ = model.encode(inputs.images, inputs.labels)
  return traverse(model, inputs.labels, prior, latent)


def arithmetic(model: Model, inputs: Inputs, latents: np.ndarray | None = None) -> Drawing:
  """a − b + c in latent space; the result has the class of c.

  Args:
    model: a trained model.
    inputs: a, b and c, as they are to be shown.
    latents: [3, D] their latents; None encodes the images.
  """
  if latents is None:
    latents, _ = model.encode(inputs.images, inputs.labels)
  label = None if inputs.labels is None else int(inputs.labels[2])
  result = _decoded(model, (latents[0] - latents[1] + latents[2])[None, None], label)
  return Drawing(
    np.concatenate([inputs.images[None], result], axis=1),
    column_names=(*(f'{s}{n}' for s, n in zip(('', '− ', '+ '), inputs.names, strict=True)), '='),
    title='Arithmetic in z' + ('' if label is None else f', decoded as {model.class_text(label)}'),
  )


def class_arithmetic(model: Model, labels: Sequence[int], dataset: Dataset) -> Drawing:
  """a − b + c of the mean latents of three classes, over the first images of each in `dataset`."""
  means = []
  for label in labels:
    rows = np.flatnonzero(dataset.labels == label)[:CLASS_MEAN_IMAGES]
    if not len(rows):
      raise InputError(f'The split has no image of class {model.class_text(label)}.')
    images, given, _ = from_dataset(model, dataset, rows)
    means.append(model.encode(images, given)[0].mean(axis=0))
  latents, labels = np.stack(means), np.array(labels, np.int32)
  operands = Inputs(model.decode(latents, labels), labels, _class_texts(model, labels))
  return arithmetic(model, operands, latents)


def manifold(
  model: Model,
  labels: Sequence[int] | None = None,
  dims: Sequence[int] | None = None,
  prior: str | None = None,
) -> Drawing:
  """A grid over two latent dimensions, by default those that change images most.

  The others stay at the mean of the prior. The class is that of `traverse`.
  """
  size = model.config.latent_dim
  if size < 2:
    raise InputError(f'latent_dim={size} has no two dimensions: use --mode=traverse.')
  label = _label(model, labels)
  if dims is None:
    traversed = traverse(model, labels, prior).images
    dims = np.argsort(-traversed.std(axis=1).mean(axis=(1, 2, 3)))[:2].tolist()
  if len(dims) != 2 or dims[0] == dims[1] or max(dims) >= size:
    raise InputError(
      f'--dims={",".join(map(str, dims))} is not two different dimensions from 0 to {size - 1}.'
    )
  points = interpolation_lib.quantile_grid(
    *model.prior.moments(label or 0, prior), dims, MANIFOLD_SIDE
  )
  normal = _prior_name(model, prior)
  if not model.prior.is_standard(prior):
    normal = f'a normal with the moments of {normal}'
  return Drawing(
    _decoded(model, points, label),
    title=f'Manifold{_of_class(model, label)}: z{dims[0]} across, z{dims[1]} down, quantiles of '
    f'{normal}',
    latents=points,
  )


def styles(
  model: Model,
  num_images: int = 10,
  temperature: float = 1.0,
  seed: int = 0,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """A row for each of `num_images` styles, in every class: one handwriting, all digits."""
  _check_size(num_images * len(model.class_names), model.image_shape, max_pixels)
  latents = model.draw_styles(num_images, temperature, seed, prior)
  return _styles(model, latents, f', z ~ {model.prior.describe(prior, temperature)}')


def restyle(model: Model, inputs: Inputs) -> Drawing:
  """Each image, and its style in every class."""
  mean, _ = model.encode(inputs.images, inputs.labels)
  drawing = _styles(model, model.restyle(mean, inputs.labels))
  with_first = lambda first, others: np.concatenate([first[:, None], others], axis=1)  # noqa: E731
  return Drawing(
    with_first(inputs.images, drawing.images),
    inputs.names,
    ('image', *drawing.column_names),
    drawing.title,
    with_first(mean, drawing.latents),
    with_first(inputs.labels, drawing.labels),
  )


def _styles(model: Model, latents: np.ndarray, title: str = '') -> Drawing:
  """Latents [N, classes, D] of one style in each row, decoded in every class."""
  count, classes = latents.shape[:2]
  labels = np.tile(np.arange(classes, dtype=np.int32), (count, 1))
  return Drawing(
    _decoded(model, latents, labels.reshape(-1)),
    (),
    _class_texts(model, range(classes)),
    f'One style in each row, as every class{title}',
    latents,
    labels,
  )


def write(
  drawing: Drawing,
  path: Path,
  class_names: Sequence[str] = (),
  shown: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> None:
  """Writes a drawing as a file of the kind that `path` ends in: png, npz or gif.

  Args:
    drawing: its images stay whole in an npz.
    path: of the file.
    class_names: where no font shows one of them, a picture has the number instead.
    shown: gives what a picture shows of images, [..., 1 or 3]; that of the model.
  """
  has_names = bool(drawing.row_names or drawing.column_names)
  rows, columns = drawing.images.shape[:2]
  suffix = path.suffix.lower()
  if suffix == '.npz':
    arrays = {'images': drawing.images, 'latents': drawing.latents, 'labels': drawing.labels}
    if not has_names:  # a list of images, without the empty tiles of the last row
      exists = ~np.isnan(drawing.images).any(axis=(2, 3, 4))
      arrays = {name: None if x is None else x[exists] for name, x in arrays.items()}
    arrays |= {'row_names': drawing.row_names, 'column_names': drawing.column_names}
    known = {name: np.asarray(x) for name, x in arrays.items() if x is not None}
    with paths.whole(path) as temporary, open(temporary, 'wb') as file:
      np.savez_compressed(file, **known)
  elif suffix == '.gif':
    across = int(np.ceil(np.sqrt(rows)))
    images = shown(drawing.images)
    grids.save_gif(path, [grids.grid(images[:, step], across) for step in range(columns)])
  else:
    images = shown(drawing.images)
    _check_size(rows * columns, images.shape[2:], MAX_PIXELS)
    if has_names:
      from cvae_jax.plots import figures  # late: a grid without names needs no matplotlib

      names = drawing.row_names, drawing.column_names
      figures.save(
        {path: figures.image_grid(images, *names, drawing.title, class_names=class_names)}
      )
    else:
      grids.save_png(path, grids.picture(np.nan_to_num(images)))


def _decoded(model: Model, latents: np.ndarray, labels: np.ndarray | int | None) -> np.ndarray:
  """Images [rows, columns, ...] of latents [rows, columns, D], of one class or of a label each."""
  rows, columns, size = latents.shape
  if model.conditional and np.ndim(labels) == 0:
    labels = np.full(rows * columns, labels, np.int32)
  images = model.decode(latents.reshape(-1, size), labels)
  return images.reshape(rows, columns, *model.image_shape)


def _check_size(count: int, image_shape: Sequence[int], max_pixels: int | None) -> None:
  height, width = image_shape[:2]
  if max_pixels is not None and count * height * width > max_pixels:
    raise InputError(
      f'{count:,} images of {height}×{width} are too many for one picture: draw fewer, or '
      'use --format=npz.'
    )


def _label(model: Model, labels: Sequence[int] | None) -> int | None:
  """The class, by default the first; None for an unconditional model."""
  if not model.conditional:
    return None
  return 0 if labels is None else int(labels[0])


def _fractions() -> tuple[str, ...]:
  return tuple(f'{fraction:.1f}' for fraction in np.linspace(0, 1, NUM_STEPS))


def _prior_name(model: Model, prior: str | None) -> str:
  return 'N(0, 1)' if model.prior.is_standard(prior) else f'the {model.prior.describe(prior)}'


def _class_texts(model: Model, labels) -> tuple[str, ...]:
  return tuple(model.class_text(label) for label in labels)


def _of_class(model: Model, label: int | None) -> str:
  return f' of {model.class_text(label)}' if model.conditional else ''
