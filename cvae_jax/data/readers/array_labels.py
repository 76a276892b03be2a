"""Labels in arrays of any type become integers or texts, or are refused by what they hold."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cvae_jax.runtime.errors import InputError, reason


def labels_of(given: Any, name: str) -> np.ndarray:
  """Checks labels.

  Args:
    given: [N] or [N, 1]: integers, bools, texts or bytes in UTF-8; floats without fractions.
    name: for messages, 'train labels'.

  Returns:
    [N] integers, bools or texts.

  Raises:
    InputError: they cannot be labels.
  """
  labels = array_of(given, name)
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.ndim != 1:
    advice = 'Choose one column.'
    if labels.ndim == 2 and labels.dtype.kind in 'biuf' and (np.sum(labels, axis=1) == 1).all():
      advice = 'One-hot labels are labels.argmax(1).'
    raise InputError(f'The {name} have shape {shown(labels.shape)}, expected [N]. {advice}')
  kind = labels.dtype.kind
  if kind in 'OT' and all(isinstance(label, str) for label in labels):  # as Pandas has texts
    return np.array(labels.tolist())
  if kind == 'S':
    try:
      return np.strings.decode(labels, 'utf-8')
    except UnicodeDecodeError as error:
      raise InputError(f'The {name} are bytes that are no UTF-8: {error.object[:40]!r}.') from error
  if kind == 'f':
    is_whole = np.isfinite(labels) & (labels == np.floor(labels)) & (abs(labels) < 2**53)
    if not is_whole.all():
      raise InputError(
        f'The {name} are floats, the first with a fraction is {labels[is_whole.argmin()]:g}: '
        'expected integers or texts. A number to predict is no class.'
      )
    return labels.astype(np.int64)
  if kind not in 'biuU':
    odd = [label for label in labels.tolist() if not isinstance(label, str)][:1]
    found = f', among them {odd[0]!r}' if kind == 'O' and odd else ''
    raise InputError(
      f'The {name} are of type {labels.dtype}{found}: expected integers or texts, such as '
      'labels.astype(str).'
    )
  return labels


def array_of(given: Any, name: str) -> np.ndarray:
  """`given` as an array that is not empty.

  Raises:
    InputError: it is none, its rows differ in shape, it has none, or some entries are masked.
  """
  refuse_masked(given, name)
  if not isinstance(given, np.ndarray):
    try:
      given = np.asarray(given)
    except Exception as error:  # Arrays of other libraries raise what they like.
      raise InputError(f'The {name} are no array of one shape: {reason(error)}.') from error
  if not given.shape:
    raise InputError(f'The {name} are a single {given.dtype}, expected an array.')
  if not math.prod(given.shape):
    raise InputError(f'The {name} are empty: shape {shown(given.shape)}.')
  return given


def refuse_masked(given: Any, name: str) -> None:
  """Raises InputError if entries are masked: NumPy would use what lies under the mask."""
  if np.ma.is_masked(given):
    count = np.ma.count_masked(given)
    raise InputError(f'The {name} have {count:,} masked entries: fill them first.')


def shown(shape: Sequence[int]) -> str:
  """A shape for messages."""
  return '[' + ', '.join(f'{size:,}' for size in shape) + ']'
