"""Which columns of a Parquet file hold pictures and labels, and its labels."""

import contextlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.data.readers import classes, embedded
from cvae_jax.runtime.errors import InputError, did_you_mean, reason
from cvae_jax.runtime.paths import printable

IMAGES = ('image', 'img', 'images')  # the usual names, in this order
LABELS = ('label', 'labels', 'fine_label')
HIDDEN = -1  # the number of a class that is not told
LFS_POINTER = b'version https://git-lfs'


class Columns(NamedTuple):
  """The columns of pictures and labels."""

  image: str  # of the bytes, as in `Embedded`
  label: str  # '' where there is none
  class_names: tuple[str, ...]  # of the labels 0, 1, ..., where the file has them; else ()


def find(file: Path, image_column: str, label_column: str) -> Columns:
  """Finds the columns of a file by their names and types.

  Args:
    file: any of a data set.
    image_column: its name; '' takes 'image', 'img' or 'images', else the only one with pictures.
    label_column: its name; '' takes 'label', 'labels' or 'fine_label', else the only ClassLabel.

  Raises:
    InputError: there is no such column, or it holds something else, or there are several.
  """
  schema, _ = read_table(file, ())
  types = {field.name: field.type for field in schema}
  features = _features(schema)
  image = _image(file, types, features, image_column)
  label = _label(file, types, features, label_column)
  if not label:
    others = ', '.join(name for name in types if name != image.split('.')[0])
    advice = f' If one of {others} is, name it with --config.data.label_column.' if others else ''
    print(f'{printable(file)} has no column of labels.{advice}')
  return Columns(image, label, class_names(schema, label))


def find_image(file: Path, image_column: str) -> str:
  """The column of pictures, as `find` finds it."""
  schema, _ = read_table(file, ())
  types = {field.name: field.type for field in schema}
  return _image(file, types, _features(schema), image_column)


def class_names(schema: Any, label_column: str) -> tuple[str, ...]:
  """The names of the integers in a column; () where the file has none."""
  if label_column not in schema.names or 'int' not in str(schema.field(label_column).type):
    return ()
  names = _features(schema).get(label_column, {}).get('names')
  return tuple(classes.class_name(str(name)) for name in names or ())


def read(file: Path, columns: Columns) -> tuple[int, np.ndarray | None]:
  """The number of rows of a file, and their labels [N], if there are some.

  Raises:
    InputError: the file lacks a column, labels are missing, or they number other classes.
  """
  schema, table = read_table(file, (columns.label,) if columns.label else ())
  if lacking := {columns.image.split('.')[0], columns.label or schema.names[0]} - {*schema.names}:
    raise InputError(f'{printable(file)} has no column {min(lacking)!r}, but other files have.')
  check_class_names(file, schema, columns.label, columns.class_names)
  if not columns.label:
    return table.num_rows, None
  column = table.column(0)
  if missing := column.null_count:
    shown = f'{missing:,} of {len(column):,} rows have no {columns.label!r}'
    raise InputError(f'{printable(file)}: {shown}.')
  return table.num_rows, plain(column)


def check_class_names(file: Path, schema: Any, column: str, expected: tuple[str, ...]) -> None:
  """Raises InputError if a file gives the classes in a column other names than another file."""
  if (names := class_names(schema, column)) != expected:
    raise InputError(
      f'{printable(file)} names its classes {classes.listed(names)}, another file '
      f'{classes.listed(expected)}: a number means another class there. Fetch both again, or leave '
      'one out.'
    )


def hidden(labels: Mapping[str, np.ndarray]) -> list[str]:
  """Splits but 'train' whose labels are all kept secret, as for a competition; prints them."""
  found = [name for name, cells in labels.items() if name != 'train' and (cells == HIDDEN).all()]
  for split in found:
    print(f'Passed over: the {split} split, whose labels are not public ({HIDDEN}).')
  return found


def plain(column: Any) -> np.ndarray:
  """The cells of a column; empty ones are None or NaN."""
  if str(column.type).startswith('dictionary'):
    column = column.cast(column.type.value_type)
  return column.to_numpy()


def read_table(file: Path, columns: Collection[str]) -> tuple[Any, Any]:
  """The schema of a file, and a table of those of `columns` that it has.

  Raises:
    InputError: it cannot be read.
  """
  parquet = embedded.library()
  try:
    with parquet.ParquetFile(file) as opened:
      known = [name for name in columns if name in opened.schema_arrow.names]
      return opened.schema_arrow, opened.read(columns=known)
  except Exception as error:  # Of Arrow, and of the system.
    why = reason(error)
    with contextlib.suppress(OSError), open(file, 'rb') as opened:
      if opened.read(len(LFS_POINTER)) == LFS_POINTER:
        why = 'it is a pointer of Git LFS; git lfs pull fetches the file'
    raise InputError(f'{printable(file)} cannot be read: {why}.') from error


def _features(schema):
  """What Hugging Face's library wrote about the columns: {name: {'_type': 'ClassLabel', ...}}."""
  try:
    features = json.loads(schema.metadata[b'huggingface'])['info']['features']
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
  except (KeyError, TypeError, ValueError, AttributeError):
    return {}


def _of_type(kind, names, features):
  return [name for name in names if features.get(name, {}).get('_type') == kind]


def _image(file, types, features, asked):
  columns = {name: column for name in types if (column := _bytes_column(name, types[name]))}
  named = _named(file, types, 'image_column', asked, IMAGES)
  if not named:
    named = _of_type('Image', columns, features) or list(columns)
    if len(named) != 1:
      raise _several(file, types, 'image_column', 'pictures', named)
  if named[0] not in columns:
    raise InputError(
      f'{printable(file)}: column {named[0]!r} is {types[named[0]]}, expected pictures: binary, or '
      'a struct of bytes and path. Name another with --config.data.image_column.'
    )
  return columns[named[0]]


def _bytes_column(name, column_type):
  """The column of the bytes where pictures may be, else ''."""
  if str(column_type) in ('binary', 'large_binary'):
    return name
  is_struct = str(column_type).startswith('struct<')
  if is_struct and column_type.get_field_index('bytes') >= 0:
    return f'{name}.bytes'
  return ''


def _label(file, types, features, asked):
  named = _named(file, types, 'label_column', asked, LABELS)
  if not named:
    named = _of_type('ClassLabel', types, features)
    if len(named) > 1:
      raise _several(file, types, 'label_column', 'labels', named)
  if not named:
    return ''
  if str(types[named[0]]).startswith(('list', 'large_list', 'fixed_size_list', 'struct')):
    raise InputError(
      f'{printable(file)}: column {named[0]!r} is {types[named[0]]}, expected one label for each '
      'picture, an integer or a text. Name another with --config.data.label_column.'
    )
  return named[0]


def _named(file, types, field, asked, usual):
  """The column that is asked for, else those that have a usual name."""
  if asked and asked not in types:
    raise InputError(
      f'data.{field}={asked!r} is no column of {printable(file)}, which has {", ".join(types)}.'
      f'{did_you_mean(asked, types)}'
    )
  return [asked] if asked else [name for name in usual if name in types]


def _several(file, types, field, what, candidates):
  shown = ', '.join(f'{name} ({kind})' for name, kind in types.items())
  found = f'several columns of {what} ({", ".join(candidates)})' if candidates else f'no {what}'
  return InputError(
    f'{printable(file)} holds {found}: its columns are {shown[:300]}. Name the right one with '
    f'--config.data.{field}.'
  )
