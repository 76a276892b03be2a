"""Paths as people type them, and the folder of the cache."""

import pwd
from pathlib import Path

import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder, from_user, writing


@pytest.mark.parametrize('text', ['x' * 300, '~nobody_of_this_name/x'])
def test_what_no_file_system_could_have_is_named(text):
  with pytest.raises(InputError, match='cannot be a path'):
    from_user(text)


def test_the_cache_lies_in_the_home_folder_unless_told_otherwise(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
  assert cache_folder() == Path('/elsewhere/cvae_jax')
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/home/me')
  assert cache_folder() == Path('/home/me/.cache/cvae_jax')

  def unknown(_):
    raise KeyError

  monkeypatch.delenv('HOME')
  monkeypatch.setattr(pwd, 'getpwuid', unknown)
  with pytest.raises(InputError, match='set XDG_CACHE_HOME'):
    cache_folder()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  folder = tmp_path / 'file' / 'folder'
  folder.parent.touch()
  with pytest.raises(InputError) as raised, writing(folder, 'Name another --output.'):
    folder.mkdir()
  for expected in (str(folder), 'Not a directory', 'Name another --output.'):
    assert expected in str(raised.value)
  with pytest.raises(ZeroDivisionError), writing(folder):
    1 / 0  # noqa: B018
