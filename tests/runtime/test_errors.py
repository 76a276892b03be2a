"""Suggestions."""

from cvae_jax.runtime.errors import did_you_mean


def test_the_nearest_choice_is_suggested():
  assert did_you_mean('cylical', ['linear', 'cyclical']) == " Did you mean 'cyclical'?"


def test_nothing_is_suggested_where_nothing_is_near():
  assert did_you_mean('xyz', ['linear', 'cyclical']) == ''
