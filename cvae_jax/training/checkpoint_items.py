"""The items of one checkpoint, checked against their hashes, and its config.

Files may be damaged or malicious: nothing in them is used before it is checked.
"""

import asyncio
import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.runtime import devices, processes, tensor_files
from cvae_jax.runtime.errors import InputError, reason
from cvae_jax.training.state import TrainState

# Weights hardly compress: an item that claims to be more than this many times its files' size, plus
# some bytes, was not written by training.
MAX_RATIO = 100
MAX_EXCESS_BYTES = 1 << 26
MANIFEST = 'manifest.ocdbt'  # of an item: names its arrays, in which of its files each lies


def items(state: TrainState) -> dict[str, Any]:
  """The items that hold a state, by their names."""
  items = {'model': state.variables, 'optimizer': state.opt_state}
  return items if state.ema is None else items | {'ema': state.ema}


def digest(item) -> str:
  """A hash of names and values, as this process has them."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(devices.own_copy(item)))
  return tensor_files.digest(
    {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
  )


def metrics(manager: ocp.CheckpointManager, step: int) -> dict[str, float] | None:
  """The validation metrics of a checkpoint; None if it has none."""
  digests = _digests(manager, step)
  try:
    metrics = manager.metrics(step)
  except ValueError as error:
    raise _unreadable(manager, step, error) from error
  _check_digest(manager, step, digests, 'metrics', metrics)
  return metrics


def check(manager: ocp.CheckpointManager, step: int, config: ConfigDict) -> None:
  """Raises InputError if a checkpoint lacks an item, or is of another step or config."""
  _check_complete(manager, step)
  _check_step(manager, step)
  _check_config(manager, step, config)


def _check_complete(manager, step) -> None:
  """Raises InputError if a checkpoint lacks an item that was written into it."""
  folder = checkpoint_folder(manager, step)
  try:
    written = set(json.loads((folder / '_CHECKPOINT_METADATA').read_text())['item_handlers'])
  except (OSError, ValueError, KeyError, TypeError):  # there may be hashes to go by
    written = set()
  written |= set(_digests(manager, step)) - {'metrics', 'step'}
  if missing := sorted(name for name in written if not (folder / name).is_dir()):
    error = ValueError(f'it has lost {", ".join(missing)}')
    raise _unreadable(manager, step, error) from error


def _check_step(manager, step) -> None:
  """Raises InputError if the folder of a checkpoint was copied or renamed to another step."""
  written = _digests(manager, step).get('step', str(step))  # an early version did not write it
  if written != str(step):
    error = ValueError(f'it is the checkpoint of step {written}, renamed')
    raise _unreadable(manager, step, error) from error


def _check_config(manager, step, config: ConfigDict) -> None:
  """Raises InputError if a checkpoint was written with another config than its run has now."""
  if (content := _json(manager, step, 'config')) is None:
    return
  try:
    different = config_lib.differences(config_lib.from_plain(content), config)
  except Exception as error:
    raise _unreadable(manager, step, error) from error
  # Where no schedule depends on their number, epochs may have been added since.
  listed = '; '.join(str(each) for each in different if each.field != 'num_epochs')
  if listed:
    folder = checkpoint_folder(manager, step).resolve()
    cause = ValueError(f'it was written with another config: {listed}')
    raise InputError(
      f'{folder} was written with another config than {folder.parents[1]} has: {listed} '
      f'(in {config_lib.FILE_NAME}). Bring back the one it was written with.'
    ) from cause


def read_back(manager: ocp.CheckpointManager, step: int, items: dict[str, Any]) -> None:
  """Reads a checkpoint onto the host, item by item, to see that it can be read.

  Args:
    manager: of a run's checkpoints.
    step: which of them.
    items: what was written; only structure, shapes and types are used.

  Raises:
    InputError: an item cannot be read, or is not what was written.
  """
  check_files(manager, step, items)
  for name, item in items.items():
    like = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), item)
    read_items(manager, step, {name: like})


def check_files(manager: ocp.CheckpointManager, step: int, items: Iterable[str]) -> None:
  """Raises InputError if a checkpoint lacks an item, or what says where its arrays are."""
  _check_complete(manager, step)
  for name in items:
    if not (checkpoint_folder(manager, step) / name / MANIFEST).is_file():
      error = ValueError(f'{name} has no {MANIFEST}')
      raise _unreadable(manager, step, error) from error


def read_items(manager: ocp.CheckpointManager, step: int, items: dict[str, Any]) -> dict[str, Any]:
  """Items of a checkpoint by their names.

  Args:
    manager: of a run's checkpoints.
    step: which of them.
    items: name -> a pytree of the same structure, shapes and placement; None accepts any.

  Raises:
    InputError: one cannot be read, or is not what was written.
  """
  abstract = jax.tree.map(
    lambda leaf: leaf if isinstance(leaf, np.ndarray) else ocp.utils.to_shape_dtype_struct(leaf),
    items,
  )
  args = ocp.args.Composite(
    **{name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
  )
  digests = _digests(manager, step)
  try:
    for item in items:
      _merge_pieces(checkpoint_folder(manager, step) / item)
      _check_size(manager, step, item)
    restored = dict(manager.restore(step, args=args).items())
  except Exception as error:  # Orbax and TensorStore share no base class of errors.
    if processes.is_of_connection(error) or isinstance(error, MemoryError):
      raise
    raise _unreadable(manager, step, error) from error
  for name, item in restored.items():
    _check_digest(manager, step, digests, name, item)
  return restored


def _merge_pieces(folder: Path) -> None:
  """Completes an item that was written under a path in which Orbax found no pieces to merge."""
  if (folder / MANIFEST).exists() or not any(folder.glob('ocdbt.process_*')):
    return
  context = tensorstore.Context({'cache_pool#ocdbt': {}})  # the name that Orbax gives its pool
  merge = ocp.type_handlers.merge_ocdbt_per_process_files(
    epath.Path(folder), context, use_zarr3=False
  )
  with ThreadPoolExecutor(1) as pool:  # a notebook's thread has an event loop already
    pool.submit(asyncio.run, merge).result()


def _check_size(manager, step, item: str) -> None:
  """Raises ValueError if an item would take far more memory than its files."""
  folder = checkpoint_folder(manager, step) / item
  on_disk = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
  leaves = jax.tree.leaves(ocp.StandardCheckpointHandler().metadata(folder))
  promised = sum(leaf.dtype.itemsize * _largest(leaf) for leaf in leaves)
  if promised > MAX_RATIO * on_disk + MAX_EXCESS_BYTES:
    raise ValueError(
      f'{item!r} would take {promised:,} bytes of memory, and its files have {on_disk:,}'
    )


def _largest(leaf) -> int:
  chunk = leaf.storage.chunk_shape if leaf.storage else None
  return max(math.prod(leaf.shape), math.prod(chunk or ()))


def checkpoint_folder(manager: ocp.CheckpointManager, step: int) -> Path:
  """The folder of a checkpoint."""
  return Path(manager.directory) / str(step)


def _digests(manager, step) -> dict[str, str]:
  """The hashes that were saved with a checkpoint; {} in one of an early version."""
  return _json(manager, step, 'digests') or {}


def _json(manager, step, item: str) -> dict[str, Any] | None:
  """A JSON item of a checkpoint; None if it has none."""
  if not (checkpoint_folder(manager, step) / item).is_dir():
    return None
  try:
    args = ocp.args.Composite(**{item: ocp.args.JsonRestore()})
    return dict(manager.restore(step, args=args)[item])
  except Exception as error:
    raise _unreadable(manager, step, error) from error


def _check_digest(manager, step, digests, name, item) -> None:
  if digests and digests.get(name) != digest(item):
    error = ValueError(f'{name} is not what was written')
    raise _unreadable(manager, step, error) from error


def _unreadable(manager, step, error: Exception) -> InputError:
  return InputError(
    f'Checkpoint {checkpoint_folder(manager, step).resolve()} cannot be read: it is damaged, or of '
    f'another model than config.json describes ({reason(error)}). Name another one.'
  )
