"""Drawings of a model, one function for each mode of sample.py, and their files.

Functions take `prior` as `LatentPrior` does, and `conditions` as `Model.conditions` gives them: of
one image, or of each that is named. Those that can draw any number of images raise
InputError if these have more than `max_pixels`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.inference import inpainting
from cvae_jax.inference import interpolation as interpolation_lib
from cvae_jax.inference.conditions import Conditions
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
  conditions: Mapping[str, np.ndarray] | None = None  # [rows, columns] likewise, by column


def samples(
  model: Model,
  labels: Sequence[int] | None = None,
  conditions: Mapping[str, Any] | None = None,
  num_images: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  draw: bool = False,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """Samples: a row for each of several classes; a square of one, or of a model without classes.

  Args:
    model: a trained model.
    labels: the classes; None is all of them, or the first MAX_CLASSES.
    conditions: values by column. A column that is not named is as in training images.
    num_images: of each class; by default 10 of several, 64 of one.
    temperature: as in `Model.sample`.
    seed: of the latents and pixels.
    draw: also sample the pixels.
    prior: see above.
    max_pixels: see above.
  """
  given = dict(conditions or {})
  is_all = (
    labels is None and model.has_classes and model.conditioning.class_column.name not in given
  )
  if is_all:
    labels = range(len(model.class_names))[:MAX_CLASSES]
  shown = 1 if labels is None else len(labels)
  num_images = num_images or (10 if shown > 1 else 64)
  check_size(num_images * shown, model.image_shape, max_pixels)
  repeated = None if labels is None else np.repeat(np.asarray(labels, np.int32), num_images)
  rows = model.conditions(repeated, given, num_images * shown, seed=seed)
  latents = model.prior.draw(rows, temperature, seed, prior)
  if draw:
    images = model.decode_draw(latents, conditions=rows, seed=seed)
  else:
    images = model.decode(latents, conditions=rows)
  names, subjects, columns = (), [], num_images
  if shown > 1:
    names = _class_texts(model, labels)
    if is_all and shown < len(model.class_names):
      subjects = [f'the first {MAX_CLASSES} of {len(model.class_names):,} classes']
    elif len(names) < len(model.class_names):
      subjects = [', '.join(names)]
  else:
    subjects = [] if labels is None else [model.class_text(labels[0])]
    columns = min(MAX_COLUMNS, int(np.ceil(np.sqrt(num_images))))
  subjects += [f'{name} {text}' for name, text in given.items()]
  subject = f' of {", ".join(subjects)}' if subjects else ''
  return Drawing(
    grids.rows_of(images, columns, np.nan),
    names,
    title=f'Samples{subject}, z ~ {model.prior.describe(prior, temperature)}',
    latents=grids.rows_of(latents, columns, np.nan),
    **_kept(model, rows, lambda values, fill: grids.rows_of(values, columns, fill)),
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
  check_size(len(inputs.images) * (num_draws + 1), model.image_shape, max_pixels)
  images = model.vary(inputs.images, None, num_draws, temperature, seed, inputs.conditions)
  title = 'Variations: decoded draws from q(z | x)'
  title += '' if temperature == 1 else f', temperature {temperature:g}'
  return _beside(inputs, {'image': inputs.images}, images, title)


def noised(
  model: Model,
  inputs: Inputs,
  noise: float = 0.5,
  num_draws: int = 8,
  temperature: float = 1.0,
  seed: int = 0,
  max_pixels: int | None = None,
) -> Drawing:
  """Each image, and what a second stage makes of it when it is in part noise."""
  check_size(len(inputs.images) * (num_draws + 1), model.image_shape, max_pixels)
  given = num_draws, temperature, seed, inputs.conditions, noise
  images = model.vary(inputs.images, None, *given)
  title = f'Variations: noise {noise:g}, {model.prior.describe(None, temperature)}'
  return _beside(inputs, {'image': inputs.images}, images, title)


def inpaint(
  model: Model,
  inputs: Inputs,
  mask: np.ndarray,
  num_draws: int = 8,
  seed: int = 0,
  max_pixels: int | None = None,
) -> Drawing:
  """Each image, the image with its hole, and fills of the hole."""
  check_size(len(inputs.images) * (num_draws + 2), model.image_shape, max_pixels)
  images = inputs.images
  filled = model.inpaint(images, mask, None, num_draws, seed, inputs.conditions)
  shown = inpainting.with_hole(images, inpainting.holes_of(mask, len(images), model.image_shape))
  title = f'Fills of the hole, {model.prior.describe()}'
  return _beside(inputs, {'image': images, 'hole': shown}, filled, title)


def _beside(
  inputs: Inputs, given: Mapping[str, np.ndarray], drawn: np.ndarray, title: str
) -> Drawing:
  """A row of each input: given images, [N, H, W, C] by name, and draws [N, draws, H, W, C]."""
  numbers = (str(number + 1) for number in range(drawn.shape[1]))
  images = np.concatenate([np.stack(list(given.values()), axis=1), drawn], axis=1)
  return Drawing(images, inputs.names, (*given, *numbers), title)


def reconstructions(model: Model, inputs: Inputs) -> Drawing:
  """Rows of images, each above the row of their reconstructions."""
  columns = min(PAIR_COLUMNS, len(inputs.images))
  pairs = inputs.images, model.reconstruct(inputs.images, conditions=inputs.conditions)
  rows = np.stack([grids.rows_of(x, columns, np.nan) for x in pairs], axis=1)
  images = rows.reshape(-1, *rows.shape[2:])
  return Drawing(images, ('image', 'recon.') * len(rows), title='Images and reconstructions')


def interpolate_images(model: Model, inputs: Inputs, interpolation: str = 'linear') -> Drawing:
  """From the first image to the second, from the third to the fourth, and so on."""
  count = len(inputs.images)
  if count < 2 or count % 2:
    raise InputError(f'{count} image(s) make no pairs to interpolate between: give 2, 4, 6, ...')
  conditions = inputs.conditions[::2], inputs.conditions[1::2]
  ends = inputs.images[::2], inputs.images[1::2]
  images = model.interpolate(*ends, None, NUM_STEPS, interpolation, conditions)
  names = [name if len(name) <= MAX_NAME else f'{name[: MAX_NAME - 1]}…' for name in inputs.names]
  pairs = tuple(map(' → '.join, zip(names[::2], names[1::2], strict=True)))
  space = 'noise' if interpolation == 'spherical' and model.prior.flow is not None else 'z'
  return Drawing(images, pairs, _fractions(), f'Interpolation in {space}, {interpolation}')


def interpolate_conditions(
  model: Model,
  conditions: Conditions,
  num_images: int = 4,
  temperature: float = 1.0,
  seed: int = 0,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """From one of two conditions to the other, with other noise in each of `num_images` rows.

  Their embedding is interpolated and, if the prior depends on them, the latent too.
  """
  check_size(num_images * NUM_STEPS, model.image_shape, max_pixels)
  ends = [conditions[[number]].repeat(num_images) for number in (0, 1)]
  drawn = (model.prior.draw(end, temperature, seed, prior) for end in ends)
  latents = interpolation_lib.linear(*drawn, NUM_STEPS)
  first, second = _texts(model, conditions)
  return Drawing(
    model.decode_paths(latents, *ends),
    column_names=_fractions(),
    title=f'From {first} to {second}, z ~ {model.prior.describe(prior, temperature)}',
    latents=latents,
  )


def traverse(
  model: Model,
  conditions: Conditions | None = None,
  prior: str | None = None,
  latent: np.ndarray | None = None,
  dimensions: Sequence[int] | None = None,
) -> Drawing:
  """Each latent dimension in turn from −3 to 3 standard deviations of the prior.

  Args:
    model: a trained model.
    conditions: of one image; None is `Conditioning.usual`.
    prior: see above.
    latent: [D] the values of the other dimensions; None is the prior's mean.
    dimensions: those to traverse; None is all.
  """
  condition = model.conditioning.usual if conditions is None else conditions
  mean, std = model.prior.moments(condition, prior)
  shown = range(len(mean)) if dimensions is None else dimensions
  values = mean + TRAVERSED[:, None] * std
  points = interpolation_lib.traversals(mean if latent is None else latent, values)
  points = points[np.asarray(shown)]
  return Drawing(
    _decoded(model, points, condition),
    tuple(f'z{dimension}' for dimension in shown),
    tuple(f'{value:+.1f}' for value in TRAVERSED),
    f'Traversals{_of(model, condition)}, in standard deviations of {_prior_name(model, prior)}',
    points,
  )


def traverse_image(model: Model, inputs: Inputs, prior: str | None = None) -> Drawing:
  """Each latent dimension in turn as in `traverse`, the others as in one image."""
  conditions = model.inferred(inputs.images, inputs.conditions)
  (latent,), _ = model.encode(inputs.images, conditions=conditions)
  return traverse(model, conditions, prior, latent)


def arithmetic(model: Model, inputs: Inputs, latents: np.ndarray | None = None) -> Drawing:
  """a − b + c in latent space; the result has the conditions of c.

  Args:
    model: a trained model.
    inputs: a, b and c, as they are to be shown.
    latents: [3, D] their latents; None encodes the images.
  """
  conditions = model.inferred(inputs.images, inputs.conditions)
  if latents is None:
    latents, _ = model.encode(inputs.images, conditions=conditions)
  last = conditions[[2]]
  result = _decoded(model, (latents[0] - latents[1] + latents[2])[None, None], last)
  return Drawing(
    np.concatenate([inputs.images[None], result], axis=1),
    column_names=(*(f'{s}{n}' for s, n in zip(('', '− ', '+ '), inputs.names, strict=True)), '='),
    title='Arithmetic in z'
    + (f', decoded as {_texts(model, last)[0]}' if model.conditional else ''),
  )


def class_arithmetic(model: Model, conditions: Conditions, dataset: Dataset) -> Drawing:
  """a − b + c of the mean latents of three classes, over the first images of each in `dataset`."""
  means = []
  for label in conditions.labels:
    rows = np.flatnonzero(dataset.labels == label)[:CLASS_MEAN_IMAGES]
    if not len(rows):
      raise InputError(f'The split has no image of class {model.class_text(label)}.')
    images, given, _ = from_dataset(model, dataset, rows)
    means.append(model.encode(images, conditions=given)[0].mean(axis=0))
  latents, names = np.stack(means), _class_texts(model, conditions.labels)
  operands = Inputs(model.decode(latents, conditions=conditions), conditions, names)
  return arithmetic(model, operands, latents)


def manifold(
  model: Model,
  conditions: Conditions | None = None,
  dims: Sequence[int] | None = None,
  prior: str | None = None,
) -> Drawing:
  """A grid over two latent dimensions, by default those that change images most.

  The others stay at the mean of the prior. The conditions are those of `traverse`.
  """
  size = model.config.latent_dim
  if size < 2:
    raise InputError(f'latent_dim={size} has no two dimensions: use --mode=traverse.')
  condition = model.conditioning.usual if conditions is None else conditions
  if dims is None:
    traversed = traverse(model, condition, prior).images
    dims = np.argsort(-traversed.std(axis=1).mean(axis=(1, 2, 3)))[:2].tolist()
  if len(dims) != 2 or dims[0] == dims[1] or max(dims) >= size:
    raise InputError(
      f'--dims={",".join(map(str, dims))} is not two different dimensions from 0 to {size - 1}.'
    )
  points = interpolation_lib.quantile_grid(
    *model.prior.moments(condition, prior), dims, MANIFOLD_SIDE
  )
  normal = _prior_name(model, prior)
  if not model.prior.is_standard(prior):
    normal = f'a normal with the moments of {normal}'
  return Drawing(
    _decoded(model, points, condition),
    title=f'Manifold{_of(model, condition)}: z{dims[0]} across, z{dims[1]} down, quantiles of '
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
  check_size(num_images * len(model.class_names), model.image_shape, max_pixels)
  rows = model.styles(num_images, seed)
  latents = model.prior.draw(rows, temperature, seed, prior)
  return _styles(model, latents, rows, f', z ~ {model.prior.describe(prior, temperature)}')


def restyle(model: Model, inputs: Inputs) -> Drawing:
  """Each image, and its style in every class."""
  model.check_styles()
  own = model.inferred(inputs.images, inputs.conditions)
  mean, _ = model.encode(inputs.images, conditions=own)
  return after_images(model, inputs, own, mean, _styles(model, mean, own))


def _styles(model: Model, latents: np.ndarray, own: Conditions, title: str = '') -> Drawing:
  """Latents [N, D], a row each, in every class."""
  names = _class_texts(model, range(len(model.class_names)))
  title = f'One style in each row, as every class{title}'
  return under_others(model, latents, own, own.in_every_class(), names, title)


def under_others(
  model: Model,
  latents: np.ndarray,
  own: Conditions,
  others: Conditions,
  column_names: tuple[str, ...],
  title: str = '',
) -> Drawing:
  """A row of images for each latent, with the same noise under several other conditions.

  Args:
    model: a trained model.
    latents: [N, D].
    own: the conditions that they are of, [N].
    others: those that they are decoded with, [N · columns].
    column_names: of the images in a row.
    title: of the drawing.
  """
  columns = len(others) // len(own)
  changed = model.prior.under(np.repeat(latents, columns, axis=0), own.repeat(columns), others)
  return in_rows(model, changed, others, column_names, title)


def in_rows(
  model: Model,
  latents: np.ndarray,
  conditions: Conditions,
  column_names: tuple[str, ...],
  title: str = '',
) -> Drawing:
  """Decoded latents [rows · columns, D] of conditions of as many, in rows."""
  arrange = lambda values, _=None: values.reshape(-1, len(column_names), *values.shape[1:])  # noqa: E731
  return Drawing(
    arrange(model.decode(latents, conditions=conditions)),
    column_names=column_names,
    title=title,
    latents=arrange(latents),
    **_kept(model, conditions, arrange),
  )


def after_images(
  model: Model, inputs: Inputs, own: Conditions, latents: np.ndarray, drawing: Drawing
) -> Drawing:
  """A drawing with the images that it starts from, their conditions and latents, at the left."""
  first = Drawing(
    inputs.images[:, None],
    inputs.names,
    ('image',),
    drawing.title,
    latents[:, None],
    **_kept(model, own, lambda values, _: values[:, None]),
  )
  return beside(first, drawing)


def beside(left: Drawing, right: Drawing) -> Drawing:
  """Two drawings of the same rows as one."""
  join = lambda *pair: None if pair[0] is None else np.concatenate(pair, axis=1)  # noqa: E731
  names = left.conditions or {}
  return left._replace(
    images=join(left.images, right.images),
    column_names=left.column_names + right.column_names,
    latents=join(left.latents, right.latents),
    labels=join(left.labels, right.labels),
    conditions={name: join(left.conditions[name], right.conditions[name]) for name in names},
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
    arrays |= {f'condition_{name}': x for name, x in (drawing.conditions or {}).items()}
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
    check_size(rows * columns, images.shape[2:], MAX_PIXELS)
    if has_names:
      from cvae_jax.plots import figures  # late: a grid without names needs no matplotlib

      names = drawing.row_names, drawing.column_names
      figures.save(
        {path: figures.image_grid(images, *names, drawing.title, class_names=class_names)}
      )
    else:
      grids.save_png(path, grids.picture(np.nan_to_num(images)))


def _decoded(model: Model, latents: np.ndarray, conditions: Conditions) -> np.ndarray:
  """Images [rows, columns, ...] of latents [rows, columns, D], of one condition or of one each."""
  rows, columns, size = latents.shape
  if len(conditions) == 1:
    conditions = conditions.repeat(rows * columns)
  images = model.decode(latents.reshape(-1, size), conditions=conditions)
  return images.reshape(rows, columns, *model.image_shape)


def _kept(model: Model, conditions: Conditions, arrange) -> dict[str, Any]:
  """The fields `labels` and `conditions` of a drawing; `arrange(values, fill)` shapes each."""
  kept = {}
  if model.has_classes:
    kept['labels'] = arrange(conditions.labels, -1)
  if model.conditioning.has_table:
    columns = zip(conditions.columns, conditions.table.T, strict=True)
    kept['conditions'] = {
      column.name: arrange(column.in_units(values), np.nan) for column, values in columns
    }
  return kept


def check_size(count: int, image_shape: Sequence[int], max_pixels: int | None) -> None:
  """Raises InputError if so many images are too large for one picture."""
  height, width = image_shape[:2]
  if max_pixels is not None and count * height * width > max_pixels:
    raise InputError(
      f'{count:,} images of {height}×{width} are too many for one picture: draw fewer, or '
      'use --format=npz.'
    )


def _fractions() -> tuple[str, ...]:
  return tuple(f'{fraction:.1f}' for fraction in np.linspace(0, 1, NUM_STEPS))


def _prior_name(model: Model, prior: str | None) -> str:
  return 'N(0, 1)' if model.prior.is_standard(prior) else f'the {model.prior.describe(prior)}'


def _class_texts(model: Model, labels) -> tuple[str, ...]:
  return tuple(model.class_text(label) for label in labels)


def _texts(model: Model, conditions: Conditions) -> tuple[str, ...]:
  """Each row in words."""
  if model.conditioning.has_table:
    return conditions.texts()
  return _class_texts(model, conditions.labels)


def _of(model: Model, condition: Conditions) -> str:
  return f' of {_texts(model, condition)[0]}' if model.conditional else ''
