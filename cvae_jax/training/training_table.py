"""conditions.safetensors in the folder of a run: conditions of training images, to draw from."""

from pathlib import Path

import numpy as np

from cvae_jax.config import Column
from cvae_jax.data.datasets import Dataset
from cvae_jax.runtime import devices, tensor_files
from cvae_jax.runtime.errors import InputError

FILE_NAME = 'conditions.safetensors'
MAX_ROWS = 10_000


def save(folder: Path, train: Dataset) -> None:
  """Writes rows of the table of training images, if they have one, into a folder.

  They are the first of those with the fewest empty cells; training images are in random order.
  """
  if train.table is not None:
    values = devices.own_copy(train.table.values)
    order = np.argsort(np.isnan(values).sum(axis=1), kind='stable')
    tensor_files.save(folder / FILE_NAME, {'values': values[order[:MAX_ROWS]]})


def read(folder: Path, columns: tuple[Column, ...]) -> np.ndarray | None:
  """The rows that `save` wrote, float32 [rows, columns]; None where there are none.

  Raises:
    InputError: the file is damaged, or has other columns.
  """
  path = folder / FILE_NAME
  if not path.is_file():
    return None
  arrays, _ = tensor_files.read_arrays(path)
  values = arrays.get('values', np.zeros(0))
  if values.ndim != 2 or values.shape[1] != len(columns) or not len(values):
    raise InputError(f'{path} has another shape than the {len(columns)} columns of the run.')
  return values.astype(np.float32)
