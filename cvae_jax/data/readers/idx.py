"""IDX files of any names and any number of classes: EMNIST, KMNIST, QMNIST, your own."""

from pathlib import Path

import numpy as np

from cvae_jax.data.readers import arrays, files, idx_format, roles
from cvae_jax.data.readers.sources import DATASETS, Source
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable


@DATASETS.register('idx', own_test_split=False)
def source(data) -> Source:
  """The IDX files in `data.dir`; a class is named by its number in the file."""
  if not data.dir:
    raise InputError(
      "data.name='idx' needs a folder of IDX files: name it with --config.data.dir=DIR, which "
      'holds images and labels, or those of train and of test.'
    )
  path = paths.from_user(data.dir)
  found = find(path)
  given = {role: idx_format.read_any(file) for role, file in found.items()}
  for role, array in given.items():
    if role.kind == 'labels' and array.ndim == 2:  # of QMNIST: the class, and who wrote the digit
      given[role] = np.ascontiguousarray(array[:, 0])
  return arrays.source_of_roles(path, given, data)


def find(path: Path) -> dict[roles.Role, Path]:
  """The files in a folder by what their names say: train or test (t10k), images or labels.

  Args:
    path: a folder; or the beginning of the names in one: 'gzip/emnist-letters' for the files
      gzip/emnist-letters-*, where a folder holds several data sets.

  Raises:
    InputError: training images are missing, or there are several of a kind.
  """
  folder, prefix = (path, '') if path.is_dir() else (path.parent, path.name)
  if not folder.is_dir():
    raise InputError(f'{printable(folder)} cannot be found, expected a folder of IDX files.')
  # Kaggle's archives have each file in a folder of its name.
  inner = (place / place.name for place in folder.iterdir())
  places = [place for place in (*folder.iterdir(), *inner) if place.is_file()]
  found = {}
  for place in sorted(places, key=lambda place: (_plain_name(place), place.suffix == '.gz')):
    is_meant = place.name.startswith(prefix) and not files.is_left_by_system(place.name)
    if is_meant and ('idx' in _plain_name(place) or idx_format.is_idx(place)):
      found.setdefault(_plain_name(place), place)  # not compressed, where there are both
  if not found:
    state = 'holds no IDX file' if path.is_dir() else 'cannot be found, nor files that begin so'
    raise InputError(f'{printable(path)} {state}: train-images-idx3-ubyte.gz, ...')
  advice = (
    'Name the beginning of the right ones, --config.data.dir=DIR/emnist-letters, or move the '
    'others away.'
  )
  assigned = roles.assign(found, printable(path), advice)
  return {role: found[name] for role, name in assigned.items()}


def _plain_name(path: Path) -> str:
  """A name without compression, and with the dots of mirrors as its authors wrote it."""
  return path.name.lower().removesuffix('.gz').replace('.', '-')
