"""Placement on devices, compiler options, and memory and cache settings."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from conftest import ROOT
from cvae_jax.models import architectures
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import InputError


def test_a_batch_that_cannot_be_split_is_refused(monkeypatch):
  monkeypatch.setattr(jax, 'devices', lambda: [object()] * 4)
  for batch_size, nearest in ((30, 28), (3, 4)):
    with pytest.raises(
      InputError, match=rf'batch_size={batch_size}\b.*4 devices.*batch_size={nearest}\b'
    ):
      devices.mesh(batch_size)


def test_a_dispatch_is_one_step_on_a_cpu_and_many_elsewhere(monkeypatch):
  assert devices.chunk_steps() == 1
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert devices.chunk_steps() > 100


def test_options_unknown_to_this_xla_are_left_out(monkeypatch):
  (known,) = architectures.compiler_options('resnet').items()
  assert devices._known(known) == dict([known])
  assert devices._known(('xla_cpu_option_of_no_version', 'yes')) == {}
  assert devices._known((known[0], 'a value of no version')) == {}
  assert architectures.compiler_options('mlp') == {}
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert architectures.compiler_options('resnet') == {}


def has_huge_pages():
  setting = Path('/sys/kernel/mm/transparent_hugepage/enabled')
  return setting.is_file() and '[always]' in setting.read_text()


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs the GNU C library')
@pytest.mark.skipif(has_huge_pages(), reason='memory comes in huge pages')
def test_freed_memory_is_kept_for_the_next_computation():
  def page_faults(first):
    done = subprocess.run(
      [sys.executable, '-c', first + COUNT_PAGES],
      capture_output=True,
      text=True,
      check=True,
      cwd=ROOT,
    )
    return int(done.stdout)

  assert page_faults('') > 10_000  # 144 MB, in pages of 4 KB
  first = 'from cvae_jax.runtime import devices; devices.keep_freed_memory()'
  assert page_faults(first) < 1000


def test_with_an_accelerator_memory_settings_stay(monkeypatch):
  monkeypatch.setattr(devices.ctypes, 'CDLL', lambda _: pytest.fail('changed'))
  before = jax.config.jax_platforms
  try:
    jax.config.update('jax_platforms', 'cuda')
    devices.keep_freed_memory()
    jax.config.update('jax_platforms', None)
    monkeypatch.setattr(devices, 'entry_points', lambda group: ['cuda'])
    devices.keep_freed_memory()
  finally:
    jax.config.update('jax_platforms', before)


COUNT_PAGES = """
import resource
import jax, jax.numpy as jnp

spread = jax.jit(lambda x: jnp.sin(x @ x.T) @ x)
matrix = jnp.ones((6000, 64))
faults = []
for _ in range(8):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  jax.block_until_ready(spread(matrix))
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def test_programs_are_kept_in_the_users_cache_unless_jax_has_another(monkeypatch):
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


COMPILES = """
import warnings
import jax
from cvae_jax.runtime import devices
devices.use_compilation_cache()
jax.jit(lambda x: x * 3 + 1)(2.0).block_until_ready()
warnings.warn('of others')
"""


def test_a_damaged_program_in_the_cache_is_replaced(tmp_path):
  environment = os.environ | {
    'XDG_CACHE_HOME': str(tmp_path),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)

  def run():
    done = subprocess.run(
      [sys.executable, '-c', COMPILES],
      cwd=ROOT,
      env=environment,
      capture_output=True,
      text=True,
      check=True,
    )
    assert re.search('of others', done.stderr)
    assert 'cache' not in done.stderr
    return {path: path.stat().st_size for path in (tmp_path / 'cvae_jax').glob('*-cache')}

  whole = run()
  assert whole
  for number, path in enumerate(whole):  # as a full disk leaves them
    path.write_bytes(path.read_bytes()[: 100 * (number % 2)])
  again = run()
  assert again.keys() == whole.keys()
  assert min(again.values()) > 100


# Prints the terms of 20 steps, and of a validation, on the first 8, 4, 2 and 1 of the devices.
RUNS = """
import json, jax
from cvae_jax.runtime import devices
from cvae_jax.training import program
from tiny import DENSE, tiny_config

visible, runs, start = jax.devices(), {}, None
for count in (8, 4, 2, 1):
  jax.devices = lambda: visible[:count]
  prog = program.build(tiny_config(num_epochs=7, **DENSE))
  assert prog.mesh.size == count
  start = start or jax.device_get(prog.fresh_state())  # once: it is slow
  state, runs[count] = devices.place(start, devices.replicated(prog.mesh)), []
  for begin, end, data in prog.chunks((step, step + 1) for step in range(20)):
    assert len(data[0].devices()) == count
    state, terms = prog.chunk(state, data, num_steps=1)
    runs[count] += [float(value[0]) for value in terms.values()]
  if count in (1, 8):
    images, labels = prog.validation.images, prog.validation.labels
    key = jax.random.key(0)
    runs[count] += prog.evaluate(state.eval_variables, images, labels, key).values()
print(json.dumps(runs))
"""


@pytest.mark.slow
def test_1_2_4_or_8_devices_train_the_same_run():
  done = subprocess.run(
    [sys.executable, '-c', RUNS],
    env=os.environ
    | {
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0',
      'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
    },
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  runs = json.loads(done.stdout)
  assert [len(run) for run in runs.values()] == [123, 120, 120, 123]
  for run in runs.values():
    np.testing.assert_allclose(run, runs['1'][: len(run)], rtol=1e-4)


def test_one_process_has_all_columns_and_copies_the_whole():
  mesh = devices.mesh(8)
  np.testing.assert_array_equal(devices.own_columns(devices.split_batch(mesh), 8), np.arange(8))
  tree = {'device': jax.numpy.arange(3), 'host': np.arange(3)}
  placed = devices.place(tree, devices.replicated(mesh))
  assert placed['host'].sharding == devices.replicated(mesh)
  copy = devices.own_copy(placed | {'host': tree['host']})
  assert copy['host'] is tree['host']
  np.testing.assert_array_equal(copy['device'], [0, 1, 2])
