"""Arrays, in memory or in NumPy's files, become a data set."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cvae_jax.data.readers import (
  array_columns,
  array_images,
  array_labels,
  cells,
  classes,
  numpy_files,
  roles,
)
from cvae_jax.data.readers.roles import Role
from cvae_jax.data.readers.sources import DATASETS, Source, Split, in_order_of_content
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

NAMES = (
  'train_images and train_labels (val_..., test_...), x_train and y_train, or images and labels'
)


@DATASETS.register('arrays', own_test_split=False)
def source(data) -> Source:
  """The arrays of the .npz or .npy file, or of the folder of such files, in `data.dir`."""
  if not data.dir:
    raise InputError(
      "data.name='arrays' needs a .npz or .npy file, or a folder of .npy files: name it with "
      f'--config.data.dir=FILE. Its arrays are {NAMES}.'
    )
  path = paths.from_user(data.dir)
  places = _places(path)
  asked = array_columns.asked_names(data.conditions, places)
  advice = 'Rename one, or save the arrays that you mean in a file of their own.'
  found = roles.assign([name for name in places if name not in asked], printable(path), advice)
  arrays = {role: numpy_files.read(*places[name]) for role, name in found.items()}
  names = [name for name in places if name not in found.values()]
  columns = {}
  if data.conditions:
    num_images = {role.split: len(array) for role, array in arrays.items() if role.kind == 'images'}
    columns = array_columns.find({name: places[name] for name in names}, asked, num_images)
  kinds = cells.wanted(data.conditions, columns) if columns else {}
  read = {name for column in kinds for name in columns[column].values()}
  if others := [name for name in names if name not in read]:
    print(f'Passed over in {printable(path)}: {", ".join(map(printable, others[:10]))}.')
  given = {
    column: {
      split: numpy_files.read(*places[name]) for split, name in by_split.items() if name in read
    }
    for column, by_split in columns.items()
  }
  return source_of_roles(path, arrays, data, given)


def source_of_roles(
  path: Path,
  arrays: Mapping[Role, np.ndarray],
  data,
  columns: Mapping[str, Mapping[str, np.ndarray]] = MappingProxyType({}),
) -> Source:
  """`source_of` the arrays in these roles and columns; errors name `path`."""
  splits = dict.fromkeys(roles.SPLITS.values())
  given = {
    split: tuple(arrays.get(Role(split, kind)) for kind in ('images', 'labels')) for split in splits
  }
  if alone := [split for split, (images, labels) in given.items() if images is None is not labels]:
    raise InputError(f'{printable(path)} holds {alone[0]} labels, but no {alone[0]} images.')
  present = {split: pair for split, pair in given.items() if pair[0] is not None}
  try:
    return source_of(present, data.bit_depth, data.conditions, columns)
  except InputError as error:
    raise InputError(f'{printable(path)}: {error}') from error


def source_of(
  splits: Mapping[str, tuple[Any, Any | None]],
  bit_depth: int = 0,
  conditions: str = '',
  columns: array_columns.Columns = MappingProxyType({}),
) -> Source:
  """A data set of arrays; a run does not depend on the order of their rows.

  Large uint8 images that are mapped from a file stay there.

  Args:
    splits: images and labels of 'train', and of 'validation' and 'test' if there are such. Images
      as in `array_images.images_of`, of one shape in all splits. Labels as in
      `array_labels.labels_of`, or None in every split: then there are no classes.
    bit_depth: bits of integer images that are wider than a byte; 0: their values are bytes.
    conditions: `data.conditions`. If it is given, labels are one of the columns, 'label', and may
      have empty cells.
    columns: the cells of further columns, for each split; see `array_columns.columns_of`. Those
      that `conditions` does not ask for may be empty.

  Raises:
    InputError: the arrays cannot be used, or do not fit each other.
  """
  images = {
    name: array_images.images_of(given, f'{name} images', bit_depth)
    for name, (given, _) in splits.items()
  }
  _check_same_shape(images)
  labels = {name: given for name, (_, given) in splits.items() if given is not None}
  if conditions:
    columns = {cells.CLASS: labels, **columns} if labels else columns
    counts = {name: len(split) for name, split in images.items()}
    columns, values, others = array_columns.columns_of(columns, conditions, counts)
    source = {
      name: Split(split, np.zeros(len(split), np.int32), values.get(name))
      for name, split in images.items()
    }
    source = in_order_of_content(source)
    return Source(source, (), is_mixed=True, columns=columns, others=others)
  labels, names = _numbered(images, labels)
  source = {name: Split(images[name], labels[name]) for name in splits}
  return Source(in_order_of_content(source), names, is_mixed=True)


def _check_same_shape(images: Mapping[str, np.ndarray]) -> None:
  shape = images['train'].shape[1:]
  for name, split in images.items():
    if split.shape[1:] != shape:
      raise InputError(
        f'The {name} images are of shape {list(split.shape[1:])}, the train images of '
        f'{list(shape)}: expected height, width and channels to be the same.'
      )


def _numbered(
  images: Mapping[str, np.ndarray], given: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Labels int32 [N] of each split and the names of classes; zeros and () where none are given."""
  if not given:
    return {name: np.zeros(len(split), np.int32) for name, split in images.items()}, ()
  labels = {name: array_labels.labels_of(array, f'{name} labels') for name, array in given.items()}
  for name, split in images.items():
    if name not in labels:
      raise InputError(
        f'The {name} images have no labels, but those of {next(iter(labels))} have. '
        'Give the labels of every split, or of none.'
      )
    if len(split) != len(labels[name]):
      raise InputError(
        f'The {name} images and labels differ in number: {len(split):,} images, '
        f'{len(labels[name]):,} labels.'
      )
  return classes.numbered(labels)


def _places(path: Path) -> dict[str, tuple[Path, str]]:
  """For each name, the file that holds the array, and its name in there."""
  if path.is_dir():
    found = sorted(file for file in path.iterdir() if _is_numpy(file))
    names = {file: numpy_files.names(file) for file in found}
    if len(found) > 1:
      if archives := [file.name for file in found if len(names[file]) > 1]:
        raise InputError(
          f'{printable(path)} holds {len(found)} files, and {printable(archives[0])} has several '
          'arrays. Name the file that you mean with --config.data.dir.'
        )
      return {file.stem: (file, names[file][0]) for file in found}
    if not found:
      raise InputError(f'{printable(path)} holds no .npz and no .npy file.')
    path = found[0]
  if not path.exists():
    raise InputError(f'{printable(path)} cannot be found, expected a .npz or .npy file.')
  if not _is_numpy(path):
    raise InputError(f'{printable(path)} is no .npz and no .npy file. Its arrays are {NAMES}.')
  names = numpy_files.names(path)
  return {'images' if len(names) == 1 else name: (path, name) for name in names}


def _is_numpy(file: Path) -> bool:
  is_hidden = file.name.startswith('.')
  return not is_hidden and file.suffix.lower() in numpy_files.SUFFIXES and file.is_file()
