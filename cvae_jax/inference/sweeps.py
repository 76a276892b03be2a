"""Drawings along conditions: the same latents while a number, a flag or a category changes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.inference.conditions import Conditions, value_of, values_of
from cvae_jax.inference.drawings import Drawing, check_size, kept
from cvae_jax.inference.inputs import Inputs
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError

EVERY = 'all'  # names of a category or a flag
MAX_STEPS = 200  # of a range
EXAMPLES = 'digit=3 or slant=-0.6:0.6:9'


class Axis(NamedTuple):
  """Values of one column, along which images change."""

  number: int  # of the column
  values: np.ndarray  # float32 [steps]
  texts: tuple[str, ...]


class Asked(NamedTuple):
  """What --condition says: one value for each of some columns, and ranges of others."""

  fixed: dict[str, str]
  axes: tuple[Axis, ...]


def parse(model: Model, items: Sequence[str]) -> Asked:
  """Reads a list of `column=value`, `column=first:last:steps` and `category=all`.

  Args:
    model: whose columns they are.
    items: split at commas, which names may hold too.

  Raises:
    InputError: there is no such column or value, or a range has no steps.
  """
  fixed, axes = {}, []
  for name, text in _pairs(items):
    number = model.conditioning.number(name)
    column = model.columns[number]
    if name in fixed or number in [axis.number for axis in axes]:
      raise InputError(f'--condition names {name!r} twice. Give one value, or a range.')
    if column.kind != 'number' and text == EVERY and EVERY not in column.names:
      values = np.arange(len(column.value_names), dtype=np.float32)
      axes.append(axis(model, number, values))
    elif column.kind == 'number' and ':' in text:
      axes.append(axis(model, number, values_of(column, _range(name, text))))
    else:
      value_of(column, text)  # raises
      fixed[name] = text
  return Asked(fixed, tuple(axes))


def _pairs(items: Sequence[str]) -> list[tuple[str, str]]:
  """Columns and values; an item without '=' goes on with the value before it."""
  pairs: list[tuple[str, str]] = []
  for item in items:
    name, found, text = item.partition('=')
    if found:
      pairs.append((name.strip(), text.strip()))
    elif pairs:
      pairs[-1] = (pairs[-1][0], f'{pairs[-1][1]},{item}')
    else:
      raise InputError(f'--condition={item!r} is not column=value, such as {EXAMPLES}.')
  for name, text in pairs:
    if not name or not text:
      raise InputError(f'--condition={name}={text} lacks a column or a value, such as {EXAMPLES}.')
  return pairs


def _range(name: str, text: str) -> np.ndarray:
  parts = text.split(':')
  try:
    first, last = map(float, parts[:2])
    steps = int(parts[2]) if len(parts) == 3 else 0
  except ValueError:
    steps = 0
  if not 2 <= steps <= MAX_STEPS or not np.isfinite([first, last]).all():
    raise InputError(
      f'--condition={name}={text} is no range: expected first:last:steps with 2 to {MAX_STEPS} '
      f'steps, such as {name}=-1:1:9.'
    )
  return np.linspace(first, last, steps)


def axis(model: Model, number: int, values: np.ndarray) -> Axis:
  """The axis of these values of a column."""
  column = model.columns[number]
  return Axis(number, values, tuple(f'{column.text(value)}' for value in values))


def sweep(
  model: Model,
  asked: Asked,
  num_images: int = 1,
  temperature: float = 1.0,
  seed: int = 0,
  prior: str | None = None,
  max_pixels: int | None = None,
) -> Drawing:
  """Images along one range, a row for each of `num_images` latents; along two, of one latent.

  What is neither fixed nor a range is as in a training image.

  Raises:
    InputError: there is no range, or more than two; or a grid of several latents is asked for.
  """
  if not 1 <= len(asked.axes) <= 2:
    raise InputError(
      f'--mode=sweep changes one or two columns, but --condition has {len(asked.axes)} ranges: '
      'expected such as slant=-0.6:0.6:9, or digit=all.'
    )
  if len(asked.axes) == 2 and num_images != 1:
    raise InputError(f'--num_images={num_images} has no meaning with two ranges: leave it out.')
  *first, across = asked.axes
  rows, steps = len(first[0].values) if first else num_images, len(across.values)
  check_size(rows * steps, model.image_shape, max_pixels)
  begin = model.conditions(conditions=_beginning(model, asked), count=num_images, seed=seed)
  if first:
    begin = begin.repeat(rows).replaced(first[0].number, first[0].values)
  conditions = _along(begin, across)
  # One noise for each image: along the ranges its latent changes as far as the prior does.
  noise = np.repeat(np.zeros(rows, int) if first else np.arange(rows), steps)
  latents = model.prior.draw(conditions, temperature, seed, prior, noise)
  columns = [model.columns[axis.number].name for axis in asked.axes]
  fixed = ''.join(f', {name} {text}' for name, text in asked.fixed.items())
  return _decoded(model, latents, conditions, across)._replace(
    row_names=tuple(f'{columns[0]} {text}' for text in first[0].texts) if first else (),
    title=f'Along {" and ".join(columns)}{fixed}, z ~ {model.prior.describe(prior, temperature)}',
  )


def _beginning(model: Model, asked: Asked) -> dict[str, Any]:
  """The conditions at which all ranges begin."""
  begin: dict[str, Any] = dict(asked.fixed)
  for axis in asked.axes:
    column, value = model.columns[axis.number], axis.values[0]
    if column.kind == 'number':
      begin[column.name] = float(column.mean + column.std * value)
    else:
      begin[column.name] = column.value_names[int(value)]
  return begin


def edit(model: Model, inputs: Inputs, asked: Asked) -> Drawing:
  """Each image, its reconstruction, and the same latent under other conditions.

  Raises:
    InputError: no condition is asked for, or more than one range.
  """
  if (not asked.fixed and not asked.axes) or len(asked.axes) > 1:
    raise InputError(
      f'--mode=edit needs --condition, with one range at most: {EXAMPLES}, not '
      f'{len(asked.axes)} ranges.'
    )
  own = model.inferred(inputs.images, inputs.conditions)
  mean, _ = model.encode(inputs.images, conditions=own)
  wanted = own
  for name, text in asked.fixed.items():
    number = model.conditioning.number(name)
    wanted = wanted.replaced(number, values_of(model.columns[number], text))
  if asked.axes:
    wanted = _along(wanted, asked.axes[0])
  steps = len(wanted) // len(own)
  latents = model.prior.under(np.repeat(mean, steps, axis=0), own.repeat(steps), wanted)
  if asked.axes:
    edited = _decoded(model, latents, wanted, asked.axes[0])
    names = edited.column_names
  else:
    edited = Drawing(model.decode(latents, conditions=wanted)[:, None], latents=latents[:, None])
    names = (', '.join(f'{name} {text}' for name, text in asked.fixed.items()),)
  shown = (inputs.images, model.decode(mean, conditions=own))
  return Drawing(
    np.concatenate([*(images[:, None] for images in shown), edited.images], axis=1),
    inputs.names,
    ('image', 'recon.', *names),
    'The latent of each image under other conditions',
    np.concatenate([np.stack([mean, mean], axis=1), edited.latents], axis=1),
  )


def _along(begin: Conditions, axis: Axis) -> Conditions:
  """Each row with every value of an axis, [N · steps]."""
  steps = len(axis.values)
  return begin.repeat(steps).replaced(axis.number, np.tile(axis.values, len(begin)))


def _decoded(model: Model, latents: np.ndarray, conditions: Conditions, axis: Axis) -> Drawing:
  """Rows of images along an axis."""
  steps, name = len(axis.values), model.columns[axis.number].name
  in_rows = lambda values, *_: values.reshape(-1, steps, *values.shape[1:])  # noqa: E731
  return Drawing(
    in_rows(model.decode(latents, conditions=conditions)),
    column_names=tuple(f'{name} {text}' if steps < 4 else text for text in axis.texts),
    latents=in_rows(latents),
    **kept(model, conditions, in_rows),
  )
