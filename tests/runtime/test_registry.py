"""Implementations by name."""

import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.registry import Registry


@pytest.fixture
def registry():
  registry = Registry('shape')

  def check(config):
    if config != 'fits':
      raise InputError('round does not fit')

  registry.register('round', check, sides=0)(int)
  registry.register('square', sides=4)(float)
  return registry


def test_names_values_and_traits(registry):
  assert list(registry) == ['round', 'square']
  assert 'round' in registry
  assert 'flat' not in registry
  assert registry['square'] is float
  assert registry.trait('square', 'sides') == 4
  assert registry.trait('square', 'colour', 'red') == 'red'


def test_a_name_registered_again_is_replaced(registry):
  registry.register('square')(str)
  assert registry['square'] is str
  assert registry.trait('square', 'sides') is None


@pytest.mark.parametrize('name', ['squar', '', None, 3, ['round']])
def test_an_unknown_name_is_named_with_the_choices(registry, name):
  with pytest.raises(InputError) as raised:
    registry[name]
  for expected in (f'shape={name!r}', 'round, square', '--import'):
    assert expected in str(raised.value)


def test_threads_wait_until_all_are_registered(tmp_path, monkeypatch):
  package = tmp_path / 'slowly'
  package.mkdir()
  (package / '__init__.py').write_text('')
  (package / 'module.py').write_text(
    'import time\ntime.sleep(0.2)\nfrom test_registry import SLOWLY\nSLOWLY.register("a")(1)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  slowly = Registry('field', 'slowly')
  monkeypatch.setitem(sys.modules, 'test_registry', types.SimpleNamespace(SLOWLY=slowly))
  with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(lambda _: list(slowly), range(4))) == [['a']] * 4


def test_a_check_is_of_the_rest_of_the_config(registry):
  registry.check('fits', 'round')
  registry.check('anything', 'square')
  with pytest.raises(InputError, match='round'):
    registry.check('other', 'round')
