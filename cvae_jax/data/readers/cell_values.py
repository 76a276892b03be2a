"""What single cells hold: nothing, a flag, a number or a text."""

import numbers
import re

import numpy as np

from cvae_jax.runtime.errors import InputError

EMPTY = frozenset(('', 'na', 'n/a', 'nan', '<na>', 'null', 'none', '?'))  # in any case
FLAGS = {'no': 0, 'false': 0, 'yes': 1, 'true': 1}  # in any case
_WHOLE = re.compile(r'(-?[0-9]+)\.0*')  # as Pandas writes integers beside empty cells


def known_of(given: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Which cells hold something, and what.

  Args:
    given: [N] bools, numbers or texts; or objects that are such, None or NaN.
    name: for messages, "train cells of 'angle'".

  Returns:
    bool [N]; and the [M] cells that are not empty: bools, integers, floats, or texts.

  Raises:
    InputError: they are of another type, or of several.
  """
  if given.dtype.kind in 'biuf':
    is_known = given == given
    return is_known, given[is_known]
  if given.dtype.kind == 'S':
    try:
      given = np.strings.decode(given, 'utf-8')
    except UnicodeDecodeError as error:
      raise InputError(f'The {name} are bytes that are no UTF-8: {error.object[:40]!r}.') from error
  if given.dtype.kind not in 'UTO':
    raise InputError(f'The {name} are of type {given.dtype}, expected numbers, bools or texts.')
  cells = given.tolist()
  is_known = np.array([str(cell).strip().lower() not in EMPTY for cell in cells], bool)
  known = [cell for cell, is_one in zip(cells, is_known, strict=True) if is_one]
  if all(isinstance(cell, str) for cell in known):
    return is_known, np.array([cell.strip() for cell in known], str)
  if all(isinstance(cell, bool | np.bool_) for cell in known):
    return is_known, np.array(known, bool)
  for cell in known:
    if not isinstance(cell, numbers.Real | np.bool_):
      raise InputError(
        f'The {name} hold {str(cell)[:40]!r} ({type(cell).__name__}) beside others, expected all '
        'to be numbers, bools, texts or None.'
      )
  return is_known, np.array([_real(cell) for cell in known], np.float64)


def as_numbers(values: np.ndarray) -> np.ndarray:
  """Cells as float64; NaN where a text is no number."""
  if values.dtype.kind != 'U':
    return values.astype(np.float64)
  distinct, rows = np.unique(values, return_inverse=True)
  return np.array([_number(text) for text in distinct], np.float64)[rows]


def as_flags(values: np.ndarray) -> np.ndarray:
  """Cells as 0 and 1; NaN where one is no flag. −1 is 0 where no cell is."""
  found = as_numbers(values)
  if values.dtype.kind == 'U':
    distinct, rows = np.unique(values, return_inverse=True)
    of_words = np.array([FLAGS.get(text.lower(), np.nan) for text in distinct])[rows]
    found = np.where(np.isnan(of_words), found, of_words)
  if not (found == 0).any():
    found = np.where(found == -1, 0, found)
  return np.where((found == 0) | (found == 1), found, np.nan)


def as_texts(values: np.ndarray) -> np.ndarray:
  """Cells as names: integers as they are, and whole numbers among texts without decimals."""
  if values.dtype.kind == 'f':
    is_whole = np.isfinite(values) & (values == np.floor(values)) & (abs(values) < 2**53)
    return values.astype(np.int64) if is_whole.all() else values.astype(str)
  if values.dtype.kind != 'U':
    return values
  distinct, rows = np.unique(values, return_inverse=True)
  names = [found[1] if (found := _WHOLE.fullmatch(text)) else text for text in distinct]
  return np.array(names, str)[rows]


def _real(number: numbers.Real) -> float:
  try:
    return float(number)
  except OverflowError:
    return np.inf


def _number(text: str) -> float:
  """What a text says; NaN where it is no number."""
  try:
    return np.nan if '_' in text else float(text)
  except ValueError:
    return np.nan
