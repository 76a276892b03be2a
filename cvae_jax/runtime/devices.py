"""Placement of arrays on devices, steps per dispatch, and compiler and memory settings."""

import contextlib
import ctypes
import functools
import importlib.util
import re
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder

# Enough steps per dispatch to hide the host's work, few enough to stop within seconds.
ACCELERATOR_CHUNK_STEPS = 512


def mesh(batch_size: int) -> Mesh:
  """All devices along one axis, 'data'; batches are split over it.

  Raises:
    InputError: `batch_size` cannot be split evenly.
  """
  devices = jax.devices()
  if batch_size % len(devices):
    nearest = batch_size // len(devices) * len(devices) or len(devices)
    raise InputError(
      f'batch_size={batch_size} cannot be split evenly over {len(devices)} devices. '
      f'Choose a multiple of {len(devices)}, e.g. --config.batch_size={nearest}.'
    )
  return Mesh(np.array(devices), ('data',))


def replicated(mesh: Mesh) -> NamedSharding:
  """A whole copy on every device: for weights, optimizer state, a dataset."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """The first axis split over the devices: for a batch."""
  return NamedSharding(mesh, PartitionSpec('data'))


def place(tree: Any, sharding: NamedSharding) -> Any:
  """Places arrays, whole and the same in every process, on the devices of all processes.

  Arrays that span processes already stay as they are.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def put(leaf):
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
      return leaf
    host = np.asarray(leaf)
    # device_put would send each array to all processes, to compare it with theirs.
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

  return jax.tree.map(put, tree)


def own_copy(tree: Any) -> Any:
  """Replicated arrays as single-device arrays, on the first device of this process.

  Computations with them need no other process. Host arrays stay as they are.
  """
  return jax.tree.map(
    lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree
  )


def own_columns(sharding: NamedSharding, size: int) -> np.ndarray:
  """The columns of this process, [columns] int in order, if `sharding` splits `size` columns."""
  indices = sharding.addressable_devices_indices_map((size,)).values()
  return np.unique(np.concatenate([np.arange(size)[index] for index in indices]))


def chunk_steps() -> int:
  """The largest number of steps per dispatch on this backend.

  1 on a CPU: XLA's CPU backend runs a convolution about 50 times slower inside a loop, and a
  dispatch costs little there.
  """
  return 1 if jax.default_backend() == 'cpu' else ACCELERATOR_CHUNK_STEPS


def free_bytes() -> int | None:
  """Free memory of the fullest device; None if the backend does not report it (CPU)."""
  statistics = [device.memory_stats() for device in jax.local_devices()]
  if not all(statistics):
    return None
  return min(entry['bytes_limit'] - entry['bytes_in_use'] for entry in statistics)


def limit_bytes() -> int | None:
  """Total memory of the smallest device; None if the backend does not report it (CPU)."""
  statistics = [device.memory_stats() for device in jax.local_devices()]
  return min(entry['bytes_limit'] for entry in statistics) if all(statistics) else None


def compile_fold(
  body: Callable[[Any, Any, Any], Any], options: dict[str, str]
) -> Callable[[Any, Any, Any], Any]:
  """Compiles a loop `carry = body(constants, carry, batch)`.

  One program with the loop inside on an accelerator; one dispatch per batch on a CPU, for the
  reason given in `chunk_steps`.

  Args:
    body: one step of the loop.
    options: from `compiler_options`.

  Returns:
    run(constants, carry, batches); the arrays of `batches` have a leading axis, the loop's.
  """
  if chunk_steps() > 1:
    return jax.jit(
      lambda constants, carry, batches: jax.lax.scan(
        lambda carry, batch: (body(constants, carry, batch), None), carry, batches
      )[0],
      compiler_options=options,
    )
  step = jax.jit(body, compiler_options=options)

  def run(constants, carry, batches):
    for row in range(len(jax.tree.leaves(batches)[0])):
      carry = step(constants, carry, jax.tree.map(lambda leaf, row=row: leaf[row], batches))
    return carry

  return run


def compiler_options(cpu_options: dict[str, str], deterministic: bool = False) -> dict[str, str]:
  """XLA's options, for `jax.jit`.

  Args:
    cpu_options: options of an architecture on a CPU; left out if this version of XLA lacks them.
    deterministic: on a GPU, avoid operations that sum in varying order and choose kernels without
      timing them. CPUs and TPUs are deterministic anyway.
  """
  backend = jax.default_backend()
  if backend == 'gpu' and deterministic:
    return {'xla_gpu_deterministic_ops': 'True'}
  return _known(*cpu_options.items()) if backend == 'cpu' and cpu_options else {}


@functools.cache
def _known(*options: tuple[str, str]) -> dict[str, str]:
  """The options, or none if this version of XLA lacks one: they are experimental."""
  try:
    jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return dict(options)


# From <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
  """Makes this process keep freed host memory for the next step; call it before JAX computes.

  XLA's CPU backend allocates a step's memory anew each time. The GNU C library returns it to the
  system after each step, and getting it back page by page takes a quarter of the step. Does nothing
  with another C library or with an accelerator.
  """
  plugins = importlib.util.find_spec('libtpu') or entry_points(group='jax_plugins')
  # A guess, as asking JAX would start its backends.
  platforms = jax.config.jax_platforms or ('an accelerator' if plugins else 'cpu')
  if platforms == 'cpu' and (mallopt := getattr(ctypes.CDLL(None), 'mallopt', None)):
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)  # never
    mallopt(_ARENA_MAX, 1)  # other arenas return blocks of more than 64 MB


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder, unless JAX has another one configured.

  Programs that cannot be read or kept are compiled again, without a warning.
  """
  warnings.filterwarnings('ignore', message='Error writing persistent compilation cache')
  if jax.config.jax_compilation_cache_dir is None:
    folder = cache_folder()
    jax.config.update('jax_compilation_cache_dir', str(folder))
    _drop_unreadable_programs(folder)
  else:
    warnings.filterwarnings('ignore', message='Error reading persistent compilation cache')


def _drop_unreadable_programs(folder: Path) -> None:
  """From now on deletes cached programs that JAX cannot read: it would never replace them.

  A full disk or a killed process leaves them. Deletes all programs of the same name, as JAX's
  warning gives no more.
  """
  message = 'Error reading persistent compilation cache entry for '
  warnings.filterwarnings('always', message=message)
  show = warnings.showwarning

  def showwarning(warning, *rest, **options):
    if not str(warning).startswith(message):
      show(warning, *rest, **options)
    elif name := re.match(r"'([\w.-]+)'", str(warning).removeprefix(message)):
      for path in folder.glob(f'{name[1]}-*'):
        with contextlib.suppress(OSError):
          path.unlink()

  warnings.showwarning = showwarning
