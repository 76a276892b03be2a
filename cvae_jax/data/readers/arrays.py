"""Arrays, in memory or in NumPy's files, become a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax.data.readers import array_images, array_labels, classes, numpy_files, roles
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
  advice = 'Rename one, or save the arrays that you mean in a file of their own.'
  found = roles.assign(places, printable(path), advice)
  if others := [name for name in places if name not in found.values()]:
    print(f'Passed over in {printable(path)}: {", ".join(map(printable, others[:10]))}.')
  return source_of_roles(
    path, {role: numpy_files.read(*places[name]) for role, name in found.items()}, data
  )


def source_of_roles(path: Path, arrays: Mapping[Role, np.ndarray], data) -> Source:
  """`source_of` the arrays in these roles; errors name `path`."""
  splits = dict.fromkeys(roles.SPLITS.values())
  given = {
    split: tuple(arrays.get(Role(split, kind)) for kind in ('images', 'labels')) for split in splits
  }
  if alone := [split for split, (images, labels) in given.items() if images is None is not labels]:
    raise InputError(f'{printable(path)} holds {alone[0]} labels, but no {alone[0]} images.')
  present = {split: pair for split, pair in given.items() if pair[0] is not None}
  try:
    return source_of(present, data.bit_depth)
  except InputError as error:
    raise InputError(f'{printable(path)}: {error}') from error


def source_of(splits: Mapping[str, tuple[Any, Any | None]], bit_depth: int = 0) -> Source:
  """A data set of arrays; a run does not depend on the order of their rows.

  Large uint8 images that are mapped from a file stay there.

  Args:
    splits: images and labels of 'train', and of 'validation' and 'test' if there are such. Images
      as in `array_images.images_of`, of one shape in all splits. Labels as in
      `array_labels.labels_of`, or None in every split: then there are no classes.
    bit_depth: bits of integer images that are wider than a byte; 0: their values are bytes.

  Raises:
    InputError: the arrays cannot be used, or do not fit each other.
  """
  images = {
    name: array_images.images_of(given, f'{name} images', bit_depth)
    for name, (given, _) in splits.items()
  }
  labels = {
    name: array_labels.labels_of(given, f'{name} labels')
    for name, (_, given) in splits.items()
    if given is not None
  }
  if labels and (without := [name for name in splits if name not in labels]):
    raise InputError(
      f'The {without[0]} images have no labels, but those of {next(iter(labels))} have. '
      'Give the labels of every split, or of none.'
    )
  shape = images['train'].shape[1:]
  for name, split in images.items():
    if split.shape[1:] != shape:
      raise InputError(
        f'The {name} images are of shape {list(split.shape[1:])}, the train images of '
        f'{list(shape)}: expected height, width and channels to be the same.'
      )
    if labels and len(split) != len(labels[name]):
      raise InputError(
        f'The {name} images and labels differ in number: {len(split):,} images, '
        f'{len(labels[name]):,} labels.'
      )
  names = ()
  if labels:
    labels, names = classes.numbered(labels)
  else:
    labels = {name: np.zeros(len(split), np.int32) for name, split in images.items()}
  source = {name: Split(images[name], labels[name]) for name in splits}
  return Source(in_order_of_content(source), names, is_mixed=True)


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
