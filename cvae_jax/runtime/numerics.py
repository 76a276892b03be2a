"""Settings of JAX that numbers depend on, and that the environment may change."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from cvae_jax.runtime.errors import InputError

# With other values the same seed gives other pictures.
OF_SAMPLES = {
  'jax_enable_x64': False,
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
}
# And a resumed run would mix two kinds of numbers. (`keys` names the kind of keys itself.)
PINNED = OF_SAMPLES | {
  'jax_numpy_dtype_promotion': 'standard',
  'jax_default_matmul_precision': None,
}


def pin() -> None:
  """Sets them for this process, whatever the environment says (JAX_ENABLE_X64=1, ...)."""
  for name, value in PINNED.items():
    jax.config.update(name, value)


def check(settings: Mapping[str, Any] = MappingProxyType(PINNED)) -> None:
  """Raises InputError where a setting has another value."""
  for name, value in settings.items():
    if (given := getattr(jax.config, name)) != value:
      raise InputError(
        f'{name} is {given!r} in this process, expected {value!r}: a seed would give other '
        f'numbers. Call jax.config.update({name!r}, {value!r}) first.'
      )
