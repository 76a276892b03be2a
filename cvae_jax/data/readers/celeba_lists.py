"""CelebA's lists: the attributes and the split of each picture."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from cvae_jax.data.readers import files
from cvae_jax.runtime.errors import InputError

PICTURE_NAME = re.compile(r'[0-9]{1,9}\.jpg')
MAX_BYTES = 1 << 28  # of a text file; the largest original has 27 million


def attributes_of(
  path: Path, choose: Callable[[list[str]], list[str]]
) -> tuple[list[str], dict[str, bytes]]:
  """Some attributes, and for each picture a byte for each: 1 where it has the attribute, else 0.

  Args:
    path: of list_attr_celeba.txt or .csv.
    choose: given the names of all attributes, those to read.

  Raises:
    InputError: the list is broken.
  """
  rows, num_pictures = _read_rows(path), None
  number, header = next(rows)
  if path.suffix == '.csv':
    first, *attributes = header
    if first != 'image_id':
      _refuse(path, 1, f'begins with {first[:40]!r}, expected image_id and names of attributes')
  else:
    num_pictures = ' '.join(header)
    if not num_pictures.isdigit():
      _refuse(path, 1, f'is {num_pictures[:40]!r}, expected the number of pictures')
    number, attributes = next(rows, (2, ()))
  if not attributes or len(set(attributes)) < len(attributes):
    named = ', '.join(attributes)[:200] or 'none'
    _refuse(path, number, f'names the attributes {named}, expected each of them once')
  chosen = choose(list(attributes))
  numbers = [attributes.index(name) for name in chosen]
  values = _values(path, rows, len(attributes), ('-1', '1'))
  flags = {name: bytes(row[number] == '1' for number in numbers) for name, row in values}
  if num_pictures not in (None, str(len(flags))):
    raise InputError(
      f'{path} has {len(flags):,} pictures, expected {num_pictures[:40]!r} by its line 1. '
      'Fetch it again.'
    )
  return chosen, flags


def partition_of(path: Path) -> dict[str, int]:
  """0, 1 or 2 by the name of each picture, from list_eval_partition.txt or .csv.

  Raises:
    InputError: the list is broken.
  """
  rows = _read_rows(path)
  if path.suffix == '.csv' and (header := ','.join(next(rows)[1])) != 'image_id,partition':
    _refuse(path, 1, f'is {header[:40]!r}, expected image_id,partition')
  return {name: int(split) for name, (split,) in _values(path, rows, 1, ('0', '1', '2'))}


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
  """The number and the cells of each line of a list, without blank lines at the end."""
  try:
    text = files.read_bytes(path, MAX_BYTES).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(f'{path} is not a text file: {str(error)[-200:]}. Fetch it again.') from error
  separator = ',' if path.suffix == '.csv' else None
  lines = text.replace('\r\n', '\n').rstrip().split('\n')
  return ((number, line.split(separator)) for number, line in enumerate(lines, 1))


def _values(path, rows, num_values, allowed):
  """Yields the name and the values of each picture; refuses a line that has others."""
  seen = set()
  for number, cells in rows:
    name, *values = cells or ['']
    if len(values) != num_values:
      _refuse(path, number, f'has {len(values):,} values, expected a file name and {num_values}')
    if others := set(values) - set(allowed):
      expected = f'{", ".join(allowed[:-1])} or {allowed[-1]}'
      _refuse(path, number, f'has the value {min(others)[:40]!r}, expected {expected}')
    if not PICTURE_NAME.fullmatch(name):
      _refuse(path, number, f'begins with {name[:40]!r}, expected a file name like 000001.jpg')
    if name in seen:
      _refuse(path, number, f'names {name} a second time')
    seen.add(name)
    yield name, values


def _refuse(path: Path, line: int, problem: str) -> NoReturn:
  raise InputError(f'{path}, line {line} {problem}. Fetch it again.')
