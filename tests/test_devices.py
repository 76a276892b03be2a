"""Devices: splitting a batch, and the cache of compiled programs."""

import jax
import pytest

from cvae_jax import devices
from cvae_jax.errors import InputError


def test_a_batch_that_cannot_be_split_is_refused(monkeypatch):
  monkeypatch.setattr(jax, 'devices', lambda: [object()] * 4)
  for batch_size, nearest in ((30, 28), (3, 4)):
    with pytest.raises(InputError, match=rf'over 4 devices.*config.batch_size={nearest}'):
      devices.mesh(batch_size)


def test_one_dispatch_a_step_on_a_cpu_and_many_elsewhere(monkeypatch):
  assert devices.chunk_steps() == 1
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert devices.chunk_steps() > 100


def test_the_cache_lies_in_the_cache_folder_of_the_user_unless_jax_knows_another(monkeypatch):
  before = jax.config.jax_compilation_cache_dir
  try:
    devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before
    jax.config.update('jax_compilation_cache_dir', None)
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == '/somewhere/cvae_jax'
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
