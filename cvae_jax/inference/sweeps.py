"""Drawings along conditions: the same latents while a number, a flag or a category changes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvae_jax.inference.conditions import Conditions, value_of, values_of
from cvae_jax.inference.drawings import (
  Drawing,
  after_images,
  beside,
  check_size,
  in_rows,
  under_others,
)
from cvae_jax.inference.inputs import Inputs
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError

EVERY = 'all'  # names of a category or a flag
MAX_STEPS = 200  # of a range
FEW = 4  # values that are shown with the name of their column
EXAMPLES = 'digit=3 or slant=-0.6:0.6:9'


class Range(NamedTuple):
  """Values of one column, along which images change."""

  column: int
  values: np.ndarray  # float32 [steps], as the model takes them


class Asked(NamedTuple):
  """What --condition says: one value for each of some columns, and ranges of others."""

  fixed: dict[str, str]
  ranges: tuple[Range, ...]

  def has(self, number: int, name: str) -> bool:
    """Whether it says something of a column."""
    return name in self.fixed or number in [along.column for along in self.ranges]


def parse(model: Model, items: Sequence[str]) -> Asked:
  """Reads a list of `column=value`, `column=first:last:steps` and `category=all`.

  Args:
    model: whose columns they are.
    items: split at commas, which names may hold too.

  Raises:
    InputError: there is no such column or value, or a range has no steps.
  """
  asked = Asked({}, ())
  for name, text in _pairs(items):
    number = model.conditioning.number(name)
    column = model.columns[number]
    if asked.has(number, name):
      raise InputError(f'--condition names {name!r} twice. Give one value, or a range.')
    if column.kind == 'number' and ':' in text:
      values = values_of(column, _range(name, text))
    elif column.kind != 'number' and text == EVERY and EVERY not in column.names:
      values = np.arange(len(column.value_names), dtype=np.float32)
    else:
      value_of(column, text)  # raises
      asked.fixed[name] = text
      continue
    asked = asked._replace(ranges=(*asked.ranges, Range(number, values)))
  return asked


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
  if not 1 <= len(asked.ranges) <= 2:
    raise InputError(
      f'--mode=sweep changes one or two columns, but --condition has {len(asked.ranges)} ranges: '
      'expected such as slant=-0.6:0.6:9, or digit=all.'
    )
  if len(asked.ranges) == 2 and num_images != 1:
    raise InputError(f'--num_images={num_images} has no meaning with two ranges: leave it out.')
  *down, across = asked.ranges
  rows, steps = len(down[0].values) if down else num_images, len(across.values)
  check_size(rows * steps, model.image_shape, max_pixels)
  begin = {along.column: along.values[0] for along in asked.ranges}
  begin |= model.conditioning.values(asked.fixed)
  own = model.conditioning.completed(begin, num_images, seed=seed)
  conditions = _along(_along(own, down[0]) if down else own, across)
  # One noise for each image: along the ranges its latent changes as far as the prior does.
  noise = np.repeat(np.arange(num_images), rows // num_images * steps)
  latents = model.prior.draw(conditions, temperature, seed, prior, noise)
  names = ' and '.join(model.columns[along.column].name for along in asked.ranges)
  fixed = ''.join(f', {name} {text}' for name, text in asked.fixed.items())
  title = f'Along {names}{fixed}, z ~ {model.prior.describe(prior, temperature)}'
  drawing = in_rows(model, latents, conditions, _texts(model, across), title)
  return drawing._replace(row_names=_texts(model, down[0], named=True) if down else ())


def edit(model: Model, inputs: Inputs, asked: Asked) -> Drawing:
  """Each image, its reconstruction, and the same latent under other conditions.

  Raises:
    InputError: no condition is asked for, or more than one range.
  """
  if len(asked.ranges) > 1 or not (asked.fixed or asked.ranges):
    raise InputError(
      f'--mode=edit needs --condition with one range at most, such as {EXAMPLES}; it has '
      f'{len(asked.ranges)} ranges.'
    )
  own = model.inferred(inputs.images, inputs.conditions)
  mean, _ = model.encode(inputs.images, conditions=own)
  others, names = own, (', '.join(f'{name} {text}' for name, text in asked.fixed.items()),)
  for number, value in model.conditioning.values(asked.fixed).items():
    others = others.replaced(number, value)
  for along in asked.ranges:
    others, names = _along(others, along), _texts(model, along)
  title = 'The latent of each image under other conditions'
  drawing = in_rows(model, mean, own, ('recon.',), title)
  edited = under_others(model, mean, own, others, names)
  return after_images(model, inputs, own, mean, beside(drawing, edited))


def _along(own: Conditions, along: Range) -> Conditions:
  """Each row with every value of a range, [N · steps]."""
  return own.repeat(len(along.values)).replaced(along.column, np.tile(along.values, len(own)))


def _texts(model: Model, along: Range, named: bool = False) -> tuple[str, ...]:
  """The values of a range in words; a few have the name of their column."""
  column = model.columns[along.column]
  name = f'{column.name} ' if named or len(along.values) < FEW else ''
  return tuple(f'{name}{column.text(value)}' for value in along.values)
