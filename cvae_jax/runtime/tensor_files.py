"""Weights as files that anyone may read: safetensors, which hold numbers and no code.

A few trained models ship with the package, each a folder like that of a run: `config.json`,
`weights.safetensors`, `prior.safetensors` and, for people, a card. `python -m tools.ship_weights`
makes them.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

SHIPPED = Path(__file__).parents[1] / 'shipped'
CLASSIFIERS = SHIPPED / 'classifiers'
FILE_NAME = 'weights.safetensors'
SEPARATOR = '/'


def available() -> tuple[str, ...]:
  """The names that `cvae_jax.load` takes, besides paths."""
  return tuple(sorted(path.parent.name for path in SHIPPED.glob(f'*/{FILE_NAME}')))


def save(path: Path, variables: dict[str, Any], **notes) -> None:
  """Writes a nested dict of arrays, whole or not at all.

  Args:
    path: the file; its folder is created.
    variables: as linen has them.
    **notes: what else is to be known of them; `step`, how many they were trained for.
  """
  arrays = _flat(variables)
  metadata = {name: str(note) for name, note in notes.items()} | {'blake2b': _digest(arrays)}
  with paths.whole(path) as temporary:
    # Not `save_file`, whose files nobody but their owner may read.
    temporary.write_bytes(safetensors_numpy.save(arrays, metadata=metadata))


def digest(variables: dict[str, Any]) -> str:
  """Tells weights from others: of their names and their numbers."""
  return _digest(_flat(variables))


def _flat(variables: dict[str, Any]) -> dict[str, np.ndarray]:
  flat = traverse_util.flatten_dict(jax.device_get(variables), sep=SEPARATOR)
  return {name: np.ascontiguousarray(array) for name, array in flat.items()}


def _digest(arrays: dict[str, np.ndarray]) -> str:
  digest = hashlib.blake2b(digest_size=16)
  for name in sorted(arrays):
    digest.update(name.encode())
    digest.update(arrays[name])
  return digest.hexdigest()


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads what `save` wrote, whatever it is: arrays by their joined names, and the notes.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      notes = file.metadata() or {}
      flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if notes.get('blake2b') != _digest(flat):
      raise ValueError('its numbers are not those that were written')
  except (OSError, ValueError, safetensors.SafetensorError) as error:
    raise InputError(
      f'{path} cannot be read as weights: {" ".join(str(error).split())[:100]}.'
    ) from error
  return flat, notes


def read(path: Path, like: dict[str, Any]) -> tuple[dict[str, Any], int]:
  """Reads what `save` wrote.

  Args:
    path: the file.
    like: variables of the same structure and shapes, arrays or `jax.ShapeDtypeStruct`.

  Returns:
    The variables as NumPy arrays, and the step they are from.

  Raises:
    InputError: the file is missing, damaged, or holds another model's weights.
  """
  flat, notes = read_arrays(path)
  expected = traverse_util.flatten_dict(like, sep=SEPARATOR)
  given = {name: (array.shape, array.dtype) for name, array in flat.items()}
  if given != {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()}:
    raise InputError(f'{path} holds the weights of another model.')
  return traverse_util.unflatten_dict(flat, sep=SEPARATOR), int(notes.get('step', 0))
