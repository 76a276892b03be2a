"""Names and numbers of classes, from what files and arrays call them."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


def class_name(given: str) -> str:
  """The name of a class, from a label or a folder: printable, in Unicode's composed form (NFC).

  macOS may write an accent as a character of its own where others write one letter.
  """
  return unicodedata.normalize('NFC', printable(given))


def in_order(names: Iterable[str]) -> list[str]:
  """Distinct names, sorted; as numbers if all are numbers."""
  names = set(names)
  are_numbers = all(name.isdecimal() for name in names)
  return sorted(names, key=lambda name: (int(name) if are_numbers else 0, name))


def numbered(
  labels: Mapping[str, np.ndarray], what: str = 'labels'
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Numbers the classes of the split 'train': 0, 1, ... in the order of `in_order`.

  Args:
    labels: of each split, [N] integers, bools or texts.
    what: they are, for messages.

  Returns:
    Labels int32 [N] of each split, and the names of the classes. Integers sort as numbers.

  Raises:
    InputError: a label is an empty text, or another split has one that 'train' lacks.
  """
  values, rows, names = {}, {}, {}
  for split, given in labels.items():
    values[split], rows[split] = np.unique(given, return_inverse=True)
    names[split] = [class_name(str(value)) for value in values[split]]
    if '' in names[split]:
      count = np.count_nonzero(rows[split] == names[split].index(''))
      raise InputError(
        f'{count:,} of the {len(given):,} {split} {what} are empty. Give each image a class.'
      )
  are_texts = values['train'].dtype.kind not in 'biu'
  ordered = in_order(names['train']) if are_texts else names['train']
  numbers = {name: number for number, name in enumerate(ordered)}
  for split in labels:
    if unknown := [name for name in names[split] if name not in numbers]:
      raise InputError(
        f'The {split} {what} hold {listed(unknown)}, expected those of the training images: '
        f'{listed(ordered, 10)}. Add training images of it, or leave its {split} images out.'
      )
  return {
    split: np.array([numbers[name] for name in names[split]], np.int32)[rows[split].reshape(-1)]
    for split in labels
  }, tuple(ordered)


def listed(names: Sequence[str], at_most: int = 5) -> str:
  """The first of `names`, quoted, for a message."""
  return ', '.join(map(repr, names[:at_most])) + (', ...' if len(names) > at_most else '')
