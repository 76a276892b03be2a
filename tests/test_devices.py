"""Devices: splitting a batch, and the cache of compiled programs."""

import platform
import subprocess
import sys

import jax
import pytest

from conftest import ROOT
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


def test_an_option_that_this_xla_does_not_know_is_left_out(monkeypatch):
  (known,) = devices.compiler_options('resnet').items()
  assert devices._known(known) == dict([known])
  assert devices._known(('xla_cpu_option_of_no_version', 'yes')) == {}
  assert devices._known((known[0], 'a value of no version')) == {}
  assert devices.compiler_options('mlp') == {}
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert devices.compiler_options('resnet') == {}


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='about the GNU C library')
def test_the_memory_of_a_computation_is_kept_for_the_next_one():
  def pages_taken(first):
    done = subprocess.run(
      [sys.executable, '-c', first + COUNT_PAGES],
      capture_output=True,
      text=True,
      check=True,
      cwd=ROOT,
    )
    return int(done.stdout)

  assert pages_taken('') > 10_000  # 144 MB, in pages of 4 KB
  assert pages_taken('from cvae_jax import devices; devices.keep_freed_memory()') < 1000


COUNT_PAGES = """
import resource
import jax, jax.numpy as jnp

spread = jax.jit(lambda x: jnp.sin(x @ x.T) @ x)
matrix = jnp.ones((6000, 64))
taken = []
for _ in range(8):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  jax.block_until_ready(spread(matrix))
  taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(taken))
"""


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
