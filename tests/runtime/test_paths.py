"""Paths typed by users, atomic writes, and the cache folder."""

import pwd
from pathlib import Path

import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder, from_user, whole, writing


@pytest.mark.parametrize('text', ['x' * 300, '~nobody_of_this_name/x'])
def test_an_impossible_path_is_named(text):
  with pytest.raises(InputError, match=text[:20]):
    from_user(text)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'new' / 'x.txt'
  with whole(path) as temporary:
    temporary.write_text('first')
    assert not path.exists()
  with pytest.raises(ZeroDivisionError), whole(path) as temporary:  # noqa: PT012
    temporary.write_text('half of the sec')
    1 / 0  # noqa: B018
  assert [(entry.name, entry.read_text()) for entry in path.parent.iterdir()] == [
    ('x.txt', 'first')
  ]


def test_the_cache_is_in_the_home_folder_unless_another_is_set(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
  assert cache_folder() == Path('/elsewhere/cvae_jax')
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/home/me')
  assert cache_folder() == Path('/home/me/.cache/cvae_jax')

  def unknown(_):
    raise KeyError

  monkeypatch.delenv('HOME')
  monkeypatch.setattr(pwd, 'getpwuid', unknown)
  with pytest.raises(InputError, match='XDG_CACHE_HOME'):
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
