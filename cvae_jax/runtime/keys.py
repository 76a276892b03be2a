"""Random keys without state: each is a function of a seed, a named stream and a counter."""

import zlib

import jax
from jax import Array

from cvae_jax.runtime.errors import check_integer


def stream(seed: int, name: str) -> Array:
  """The key of one stream of a seed, 0 to 2**32 - 1; fold the step or epoch into it.

  A new use of randomness takes a new name, e.g. 'order', so that no other stream changes.
  """
  return named(of_run(seed), name)


def of_run(seed: int) -> Array:
  """The key of a seed itself; its implementation does not depend on JAX's settings."""
  return jax.random.key(seed, impl='threefry2x32')


def named(key: Array, name: str) -> Array:
  """The key of one named stream below `key`."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def of_user(seed: int, name: str) -> Array:
  """`stream`, for a seed given by a user.

  Raises:
    InputError: the seed is not an integer from 0 to 2**32 - 1.
  """
  check_integer('seed', seed, 0, 2**32 - 1)
  return stream(seed, name)


def per_example(key: Array, indices: Array) -> Array:
  """One key per example, so that its noise does not depend on its batch.

  Args:
    key: one key.
    indices: [batch] positions of the examples in the dataset.

  Returns:
    [batch] keys.
  """
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
