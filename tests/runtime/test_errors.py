"""Helpers for error messages."""

import errno
import os

import pytest

from cvae_jax.runtime import errors
from cvae_jax.runtime.errors import InputError, did_you_mean


def test_the_nearest_choice_is_suggested():
  assert did_you_mean('cylical', ['linear', 'cyclical']) == " Did you mean 'cyclical'?"


def test_nothing_is_suggested_where_nothing_is_near():
  assert did_you_mean('xyz', ['linear', 'cyclical']) == ''
  assert did_you_mean('12', ['13', '120']) == ''


def test_the_reason_is_the_systems_if_there_is_one():
  full = os.strerror(errno.ENOSPC)
  assert errors.reason(OSError(errno.ENOSPC, full, '/x')) == full
  assert errors.reason(RuntimeError(f'orbax: {full} [/x]\nmore')) == full
  assert errors.reason(KeyError('a\nb')) == "KeyError: 'a\\nb'"


@pytest.mark.parametrize('value', [True, 1.0, '1', 0, 11])
def test_integers_are_checked_by_name_and_range(value):
  errors.check_integer('k', 10, 1, 10)
  with pytest.raises(InputError, match=rf'k={value!r} .*1.*10'):
    errors.check_integer('k', value, 1, 10)
