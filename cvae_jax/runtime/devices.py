"""How work lies on the devices at hand, and how many steps one dispatch takes there."""

import ctypes
import functools
import importlib.util
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder

# One dispatch of an accelerator runs up to this many steps: enough to hide the host, few enough to
# stop within seconds.
ACCELERATOR_CHUNK_STEPS = 512


def mesh(batch_size: int) -> Mesh:
  """All devices along one axis, 'data', over which a batch is split.

  Raises:
    InputError: `batch_size` cannot be split evenly.
  """
  devices = jax.devices()
  if batch_size % len(devices):
    lower = batch_size // len(devices) * len(devices)
    nearest = lower or len(devices)
    raise InputError(
      f'batch_size={batch_size} cannot be split evenly over {len(devices)} devices. '
      f'Choose a multiple of {len(devices)}, e.g. --config.batch_size={nearest}.'
    )
  return Mesh(np.array(devices), ('data',))


def replicated(mesh: Mesh) -> NamedSharding:
  """The same whole array on every device: weights, optimizer state, a data set."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """The first axis split over the devices: a batch."""
  return NamedSharding(mesh, PartitionSpec('data'))


def place(tree: Any, sharding: NamedSharding) -> Any:
  """Lays arrays that every process has whole out over the devices of all of them.

  Args:
    tree: arrays, the same in every process; what spans the processes already stays as it is.
    sharding: how each of them lies.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def put(leaf):
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
      return leaf
    host = np.asarray(leaf)
    # device_put would send each array around, for all processes to compare it with their own.
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

  return jax.tree.map(put, tree)


def own_copy(tree: Any) -> Any:
  """Replicated arrays as this process alone has them, on the first of its devices.

  What is computed from them needs no other process. Host arrays stay as they are.
  """
  return jax.tree.map(
    lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree
  )


def own_columns(sharding: NamedSharding, size: int) -> np.ndarray:
  """Which of `size` columns, split as `sharding` splits the last axis, lie in this process.

  Returns:
    [columns] int, in order.
  """
  indices = sharding.addressable_devices_indices_map((size,)).values()
  return np.unique(np.concatenate([np.arange(size)[index] for index in indices]))


def chunk_steps() -> int:
  """How many steps one dispatch may take here.

  XLA's CPU backend runs a convolution inside a loop some 50 times slower than outside, and there a
  dispatch costs nothing beside a step, so a CPU takes one.
  """
  return 1 if jax.default_backend() == 'cpu' else ACCELERATOR_CHUNK_STEPS


def free_bytes() -> int | None:
  """Memory left on the fullest device, or None where the backend does not tell, as a CPU's."""
  statistics = _memory_stats()
  return statistics and min(entry['bytes_limit'] - entry['bytes_in_use'] for entry in statistics)


def limit_bytes() -> int | None:
  """Memory of the smallest device, free or not, or None as for `free_bytes`."""
  statistics = _memory_stats()
  return statistics and min(entry['bytes_limit'] for entry in statistics)


def _memory_stats() -> list[dict[str, int]] | None:
  statistics = [device.memory_stats() for device in jax.local_devices()]
  return statistics if all(statistics) else None


def compile_fold(
  body: Callable[[Any, Any, Any], Any], options: dict[str, str]
) -> Callable[[Any, Any, Any], Any]:
  """Compiles a loop `carry = body(constants, carry, batch)` in the way that suits the backend.

  One program with the loop inside on an accelerator; one dispatch for each batch on a CPU, for the
  reason that `chunk_steps` gives.

  Args:
    body: one step of the loop.
    options: from `compiler_options`.

  Returns:
    run(constants, carry, batches), where `batches` is a pytree of arrays with one leading axis.
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
    cpu_options: what an architecture wants on a CPU; left out where this XLA does not know them.
    deterministic: a GPU leaves out operations whose threads add up in any order, and chooses its
      kernels without timing them. A CPU and a TPU have none of either.
  """
  if deterministic and jax.default_backend() == 'gpu':
    return {'xla_gpu_deterministic_ops': 'true'}
  return _known(*cpu_options.items()) if jax.default_backend() == 'cpu' and cpu_options else {}


@functools.cache
def _known(*options: tuple[str, str]) -> dict[str, str]:
  """These options, or none where this version of XLA does not know them: they are experimental."""
  try:
    jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return dict(options)


# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
  """Lets this process keep the host memory it frees, for the next step to use again.

  XLA's CPU backend takes all memory of a step anew each time. With the GNU C library that is given
  back to the system after each step, and a quarter of the step is spent on taking it again, page by
  page. To be called before JAX computes anything. Other C libraries are left as they are, and so is
  a process that has an accelerator to compute on.
  """
  if _has_accelerator():
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return
  mallopt(_MMAP_MAX, 0)
  mallopt(_TRIM_THRESHOLD, -1)  # never
  mallopt(_ARENA_MAX, 1)  # the other arenas give back whatever is larger than 64 MB


def _has_accelerator() -> bool:
  """Whether JAX will find one, as far as can be told before it looks."""
  if platforms := jax.config.jax_platforms:
    return platforms != 'cpu'
  return bool(importlib.util.find_spec('libtpu') or entry_points(group='jax_plugins'))


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder, unless JAX is told of another place."""
  # What cannot be read, or not be kept, is compiled anew, which needs no words.
  warnings.filterwarnings('ignore', message='Error (reading|writing) persistent compilation cache')
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(cache_folder()))
