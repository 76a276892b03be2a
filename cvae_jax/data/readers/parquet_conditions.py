"""Columns of Parquet files beside the pictures become columns of conditions."""

import bisect
import itertools
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cvae_jax.config import asked
from cvae_jax.data.readers import cells, embedded, parquet_columns
from cvae_jax.data.readers.sources import Source, Split
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SCALAR = re.compile(r'bool|u?int\d+|halffloat|float|double|(large_)?string(_view)?')


def source_of(shards: Mapping[str, Sequence[Path]], data) -> Source:
  """The pictures in the files of each split, with the columns that `data.conditions` asks for.

  The column of labels is the first; where Hugging Face calls a column a ClassLabel, its names are
  those of the category, and −1 is an empty cell.

  Raises:
    InputError: as `cells.read`; files differ in their columns, or a column holds no single values.
  """
  first = shards['train'][0]
  image = parquet_columns.find_image(first, data.image_column)
  schema, _ = parquet_columns.read_table(first, ())
  usual = [name for name in (data.label_column, *parquet_columns.LABELS) if name in schema.names]
  label = usual[0] if usual else ''
  names = _readable(first, schema, image.split('.')[0], data.conditions)
  names.sort(key=lambda name: name != label)
  kinds = cells.wanted(data.conditions, names)
  class_names = {name: parquet_columns.class_names(schema, name) for name in kinds}
  pictures, counts, given = {}, {}, {name: {} for name in kinds}
  for split, files in shards.items():
    tables = [_read(file, class_names) for file in files]
    counts[split] = [table.num_rows for table in tables]
    pictures[split] = embedded.rows_of(files, counts[split], image)
    if not pictures[split]:
      raise InputError(f'{printable(files[0])} holds no rows: the {split} split is empty.')
    for name in kinds:
      columns = [parquet_columns.plain(table.column(name)) for table in tables]
      given[name][split] = _joined(columns)
  for split in parquet_columns.hidden(given[label]) if class_names.get(label) else ():
    for by_split in (pictures, *given.values()):
      del by_split[split]
  where = partial(_where, shards, counts)
  columns, values = cells.read(given, kinds, where, class_names, of_class=(label,))
  splits = {
    split: Split(found, np.zeros(len(found), np.int32), values.get(split))
    for split, found in pictures.items()
  }
  others = tuple(name for name in names if name not in kinds)
  return Source(splits, (), columns=columns, others=others)


def _readable(file, schema, image, conditions):
  """The columns beside the pictures that hold one value for each."""
  types = {field.name: _type_of_values(field.type) for field in schema if field.name != image}
  found, request = [name for name in types if SCALAR.fullmatch(types[name])], asked(conditions)
  others = [name for name in types if name not in found]
  for name in others:
    if name in (request or ()):
      raise InputError(
        f'{printable(file)}: column {name!r} is {types[name]}, expected numbers, bools or texts. '
        'Leave it out of --config.data.conditions.'
      )
  if others and request is None:
    print(f'Passed over in {printable(file)}: {", ".join(others)[:500]}.')
  return found


def _type_of_values(column_type):
  is_dictionary = str(column_type).startswith('dictionary')
  return str(column_type.value_type if is_dictionary else column_type)


def _where(shards, counts, split, row):
  """The file of a row, and its number in there."""
  ends = list(itertools.accumulate(counts[split]))
  number = bisect.bisect_right(ends, row)
  return f'{printable(shards[split][number])}, row {row - ends[number] + counts[split][number]:,}'


def _read(file, class_names):
  """A table of the columns in a file, whose classes must have these names."""
  schema, table = parquet_columns.read_table(file, class_names)
  if lacking := [name for name in class_names if name not in schema.names]:
    raise InputError(f'{printable(file)} has no column {lacking[0]!r}, but other files have.')
  for name, expected in class_names.items():
    parquet_columns.check_class_names(file, schema, name, expected)
  return table


def _joined(columns):
  """One array of the cells in several files, which may have empty cells in some alone."""
  is_object = any(column.dtype.kind == 'O' for column in columns)
  return np.concatenate([column.astype(object) for column in columns] if is_object else columns)
