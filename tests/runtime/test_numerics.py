"""Settings of JAX that numbers depend on."""

import jax
import numpy as np
import pytest

import cvae_jax
from cvae_jax.runtime import keys, numerics
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop
from tiny import tiny_config

ELSEWHERE = {
  'jax_enable_x64': True,
  'jax_threefry_partitionable': False,
  'jax_numpy_dtype_promotion': 'strict',
}


@pytest.fixture(params=ELSEWHERE)
def changed(request):
  """Changes one setting for the test; gives its name."""
  before = getattr(jax.config, request.param)
  jax.config.update(request.param, ELSEWHERE[request.param])
  yield request.param
  jax.config.update(request.param, before)


def test_settings_that_differ_are_pinned_or_named(changed, tmp_path):
  with pytest.raises(InputError, match=changed):
    loop.train(tiny_config(), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  numerics.pin()
  numerics.check()
  assert getattr(jax.config, changed) == numerics.PINNED[changed]


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('jax_enable_x64', True),
    ('jax_threefry_partitionable', False),
    ('jax_random_seed_offset', 3),
  ],
)
def test_a_model_is_loaded_where_its_samples_are_those_of_a_command(name, value):
  before = getattr(jax.config, name)
  jax.config.update(name, value)
  try:
    with pytest.raises(InputError, match=name):
      cvae_jax.load('mnist')
  finally:
    jax.config.update(name, before)


def test_keys_and_samples_do_not_depend_on_the_type_of_numbers_or_keys(monkeypatch):
  model = cvae_jax.load('mnist')
  expected = model.draw_latents([3, 1], seed=5)
  with jax.enable_x64(True):
    np.testing.assert_array_equal(model.draw_latents([3, 1], seed=5), expected)
  with jax.default_prng_impl('rbg'):
    assert keys.stream(0, 'x').dtype == keys.of_run(0).dtype
    np.testing.assert_array_equal(model.draw_latents([3, 1], seed=5), expected)
