"""Stateless randomness: every key is a function of the run's seed, a named stream and a counter."""

import zlib

import jax
from jax import Array

from cvae_jax.runtime.errors import check_integer


def stream(seed: int, name: str) -> Array:
  """The key of one named stream of a run; fold the step or epoch into it.

  Names keep streams apart: a new consumer of randomness takes a new name and changes no other.

  Args:
    seed: the run's seed, 0 to 2**32 - 1.
    name: what the randomness is for, e.g. 'order' or 'posterior'.
  """
  return named(jax.random.key(seed), name)


def named(key: Array, name: str) -> Array:
  """The key of one named stream below `key`."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def of_user(seed: int, name: str) -> Array:
  """The stream `name` of a seed that a person gave.

  Raises:
    InputError: it is no seed.
  """
  check_integer('seed', seed, 0, 2**32 - 1)
  return stream(seed, name)


def per_example(key: Array, indices: Array) -> Array:
  """One key per example, so that its noise does not depend on the batch it comes in.

  Args:
    key: one key.
    indices: [B] positions of the examples in their set.

  Returns:
    [B] keys.
  """
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
