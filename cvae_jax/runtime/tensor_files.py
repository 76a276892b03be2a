"""Arrays in safetensors files, which hold numbers and no code, with a digest that shows damage."""

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

SEPARATOR = '/'


def save(path: Path, variables: dict[str, Any], **notes) -> None:
  """Writes a nested dict of arrays, whole or not at all.

  Args:
    path: the file; its folder is created.
    variables: arrays in nested dicts, e.g. a network's variables.
    **notes: metadata, stored as text, e.g. `step`, the step of the weights.
  """
  arrays = _flat(variables)
  metadata = {name: str(note) for name, note in notes.items()} | {'blake2b': digest(arrays)}
  with paths.whole(path) as temporary:
    # Not `save_file`, which makes files that only their owner can read.
    temporary.write_bytes(safetensors_numpy.save(arrays, metadata=metadata))


def digest(variables: dict[str, Any]) -> str:
  """A hash of arrays, nested or flat, and their names, in hexadecimal."""
  digest = hashlib.blake2b(digest_size=16)
  for name, array in sorted(_flat(variables).items()):
    digest.update(name.encode())
    digest.update(array)
  return digest.hexdigest()


def _flat(variables: dict[str, Any]) -> dict[str, np.ndarray]:
  flat = traverse_util.flatten_dict(jax.device_get(variables), sep=SEPARATOR)
  return {name: np.asarray(array, order='C') for name, array in flat.items()}


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads what `save` wrote, of any structure.

  Returns:
    Arrays by their names, joined with `SEPARATOR`, and the notes.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      notes = file.metadata() or {}
      flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if notes.get('blake2b') != digest(flat):
      raise ValueError('its content does not match its digest')
  except (OSError, ValueError, safetensors.SafetensorError) as error:
    raise InputError(
      f'{path} is missing or damaged: {" ".join(str(error).split())[:100]}.'
    ) from error
  return flat, notes


def read(path: Path, like: dict[str, Any]) -> tuple[dict[str, Any], int]:
  """Reads what `save` wrote, if it has the structure of `like`.

  Args:
    path: the file.
    like: nested dicts of arrays or `jax.ShapeDtypeStruct`.

  Returns:
    The variables as NumPy arrays, and their step (0 without such a note).

  Raises:
    InputError: the file is missing or damaged, or its arrays differ from `like` in names, shapes or
      dtypes.
  """
  flat, notes = read_arrays(path)
  expected = traverse_util.flatten_dict(like, sep=SEPARATOR)
  given = {name: (array.shape, array.dtype) for name, array in flat.items()}
  if given != {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()}:
    raise InputError(f'{path} holds the weights of another model.')
  return traverse_util.unflatten_dict(flat, sep=SEPARATOR), int(notes.get('step', 0))
