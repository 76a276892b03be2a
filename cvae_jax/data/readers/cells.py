"""Cells of files and arrays become columns of conditions; their kinds are given or recognized."""

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from cvae_jax.config import Column, asked
from cvae_jax.config.columns import MAX_NAMES
from cvae_jax.data.readers import classes
from cvae_jax.data.readers.cell_values import FLAGS, as_flags, as_numbers, as_texts, known_of
from cvae_jax.runtime.errors import InputError

CLASS = 'label'  # what the class of an image is called where it has no name
MAX_INTEGERS = 20  # distinct ones in a column; those with more are numbers
MAX_SHOWN = 20  # columns in a line
ADVICE = 'Correct it, leave it empty, or name another kind: --config.data.conditions='

Given = Mapping[str, Mapping[str, np.ndarray]]
Where = Callable[[str, int], str]


def wanted(conditions: str, names: Iterable[str]) -> dict[str, str | None]:
  """Those of `names` that `data.conditions` asks for, in their order, each with its kind or None.

  What it asks for beside may be measured on the images: see `data.tables`.
  """
  request = asked(conditions)
  if request is None:
    return dict.fromkeys(names)
  return {name: request[name] for name in names if name in request}


def read(
  given: Given,
  kinds: Mapping[str, str | None],
  where: Where,
  names: Mapping[str, tuple[str, ...]] | None = None,
  of_class: Collection[str] = (CLASS,),
) -> tuple[tuple[Column, ...], dict[str, np.ndarray]]:
  """The columns of all splits and their cells; prints the kinds.

  Without a kind, the cells of the split 'train' decide. Flags are bools, yes and no, true and
  false, 0 and 1, −1 and 1. Integers with at most 20 distinct values are a category, and so are
  texts. Other numbers are numbers. A column that is mostly yes and no, or at least half numbers, is
  of that kind too, and what else it holds is refused: it is a typing mistake. The names of a
  category are those in the split 'train'.

  Args:
    given: of each column, the cells of each split; see `cell_values.known_of`.
    kinds: of the columns, in their order, each with the kind that is asked for or None.
    where: says for messages where a row of a split is: 'labels.csv, line 7'.
    names: of columns whose cells are numbers of names, −1 where they are empty.
    of_class: columns that are categories unless they hold numbers with fractions.

  Returns:
    The columns, and float32 [N, columns] of each split in the units of the data; NaN is empty.

  Raises:
    InputError: a cell is not of its column's kind, an infinite number, or a name that the split
      'train' lacks; or a category has too many names.
  """
  columns, values = [], {split: [] for split in next(iter(given.values()), {})}
  for name, kind in kinds.items():
    column, cells = _column(name, kind, given[name], where, (names or {}).get(name), of_class)
    columns.append(column)
    for split, found in cells.items():
      values[split].append(found)
  if columns:
    print(f'Conditions: {_shown(columns)}.')
  return tuple(columns), {split: np.stack(found, axis=1) for split, found in values.items()}


def _column(name, kind, given, where, names, of_class):
  """One column, and float32 [N] of each split."""
  known = {split: known_of(cells, f'{split} cells of {name!r}') for split, cells in given.items()}
  if names and kind in (None, 'category'):
    column, numbers = Column(name, 'category', names), _numbers_of_names(name, known, names, where)
  else:
    kind = kind or _kind(known['train'][1], name in of_class)
    column = Column(name, kind)
    if kind == 'category':
      numbers, names = _categories(name, {split: values for split, (_, values) in known.items()})
      column = column._replace(names=names)
    else:
      numbers = {
        split: _checked(name, kind, split, *cells, where) for split, cells in known.items()
      }
  if len(column.names) > MAX_NAMES:
    raise InputError(
      f'The column {name!r} has {len(column.names):,} names, expected at most {MAX_NAMES:,} of a '
      'category. Leave it out of --config.data.conditions.'
    )
  cells = {}
  for split, (is_known, _) in known.items():
    cells[split] = np.full(len(is_known), np.nan, np.float32)
    cells[split][is_known] = numbers[split]
  return column, cells


def _kind(values: np.ndarray, is_class: bool) -> str:
  """The kind of a column whose cells in the split 'train' are `values`, without the empty ones."""
  distinct, counts = np.unique(values, return_counts=True)
  is_text = distinct.dtype.kind == 'U'
  if not len(distinct):
    return 'number'  # which `data.tables` refuses, as it would any kind
  are_flags = np.array([text.lower() in FLAGS for text in distinct]) if is_text else False
  if distinct.dtype.kind == 'b' or 2 * np.sum(counts * are_flags) > counts.sum():
    return 'category' if is_class else 'flag'
  numbers = as_numbers(distinct)
  if is_text:  # decimal commas are refused later, with advice
    with_points = as_numbers(np.char.replace(distinct, ',', '.'))
    numbers = np.where(np.isnan(numbers), with_points, numbers)
  is_number = ~np.isnan(numbers)
  if 2 * counts[is_number].sum() <= counts.sum():
    return 'category'
  numbers = np.unique(numbers[is_number])
  if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
    return 'number'
  are_flags = (is_number.all() and not {*numbers} - {0, 1}) or not {*numbers} - {-1, 1}
  if are_flags and not is_class:
    return 'flag'
  return 'category' if is_class or len(numbers) <= MAX_INTEGERS else 'number'


def _checked(name, kind, split, is_known, values, where):
  """The known cells of a flag's or a number's column as float32."""
  numbers = (as_flags if kind == 'flag' else as_numbers)(values)
  with np.errstate(over='ignore'):
    cells = numbers.astype(np.float32)
  if not (is_good := np.isfinite(cells)).all():
    first = is_good.argmin()
    place, cell = where(split, int(np.flatnonzero(is_known)[first])), values[first].item()
    problem, other = 'is no number', f'{name}:category'
    if kind == 'flag':
      problem = 'is no flag: expected yes and no, true and false, 0 and 1, or −1 and 1'
    elif not np.isnan(numbers[first]):
      problem, other = 'is infinite as float32', ''
    advice = f'{ADVICE}{other}.' if other else 'Correct it, or leave it empty.'
    if kind == 'number' and not np.isnan(as_numbers(np.array([str(cell).replace(',', '.')]))[0]):
      advice = 'Write numbers with a point.' if ',' in str(cell) else advice
    raise InputError(f'{place}: {str(cell)[:40]!r} in the column {name!r} {problem}. {advice}')
  return cells


def _categories(name, values):
  """Numbers of names, for each split, and the names."""
  texts = {split: as_texts(cells) for split, cells in values.items()}
  try:
    return classes.numbered(texts, f'cells of the column {name!r}')
  except InputError as error:
    if any(cells.dtype.kind == 'U' for cells in values.values()):
      raise
    raise InputError(
      f'{error} Or is it a number? --config.data.conditions={name}:number.'
    ) from error


def _numbers_of_names(name, known, names, where):
  """The known cells of each split, which number `names`; NaN where they are −1."""
  numbers = {}
  for split, (is_known, values) in known.items():
    numbers[split] = as_numbers(values).astype(np.float32)
    numbers[split][values == -1] = np.nan
    if (is_odd := ~np.isin(values, np.arange(-1, len(names)))).any():
      row = int(np.flatnonzero(is_known)[is_odd.argmax()])
      raise InputError(
        f'{where(split, row)}: {values[is_odd.argmax()].item()} in the column {name!r} is the '
        f'number of no name, expected 0 to {len(names) - 1}. Fetch the file again.'
      )
  return numbers


def _shown(columns):
  shown = [
    f'{column.name} ({column.kind}'
    + (f', {len(column.names):,} names)' if column.kind == 'category' else ')')
    for column in columns[:MAX_SHOWN]
  ]
  more = len(columns) - MAX_SHOWN
  return ', '.join(shown) + (f', and {more} more' if more > 0 else '')
