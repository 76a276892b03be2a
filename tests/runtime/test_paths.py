"""Paths typed by users, atomic writes, and the cache folder."""

import itertools
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import (
  cache_folder,
  from_user,
  plain,
  printable,
  quoted,
  whole,
  write,
  writing,
)


def test_a_text_may_name_a_file_whose_name_is_no_utf8(tmp_path):
  write(tmp_path / 'a.txt', os.fsdecode(b'\xe9') + 'β')
  assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == r'\xe9β'


@pytest.mark.parametrize('name', ['a[1]', 'a\\b', 'x:y', 'a\nb', os.fsdecode(b'\xe9')])
def test_a_link_in_plain_characters_leads_to_a_folder(tmp_path, monkeypatch, name):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  folder = tmp_path / name
  folder.mkdir()
  link = plain(folder)
  assert re.fullmatch(r'[\w/-]+', str(link), re.ASCII)
  assert link.samefile(folder)
  assert plain(folder) == link != plain(tmp_path / f'{name}2')
  monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
  with pytest.raises(InputError, match='XDG_CACHE_HOME'):
    plain(folder)


def test_a_plain_folder_is_its_own_path(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert plain(Path('Läufe (1)')) == tmp_path / 'Läufe (1)'


@pytest.mark.parametrize('word', ['a b', "it's", 'β', 'a\nb', os.fsdecode(b"\xe9 '\\")])
def test_a_quoted_word_is_the_same_to_a_shell(word):
  line = f'printf %s {quoted(word)}'.encode()
  assert quoted(word).isprintable()
  assert subprocess.run([b'bash', b'-c', line], capture_output=True, check=True).stdout == (
    os.fsencode(word)
  )


@pytest.mark.parametrize('text', ['x' * 300, '~nobody_of_this_name/x'])
def test_an_impossible_path_is_named(text):
  with pytest.raises(InputError, match=text[:20]):
    from_user(text)


@pytest.mark.parametrize('text', ['gs://bucket/run', 's3://b/x', 'hf://user/model', 'FILE:///x'])
def test_an_address_is_no_folder_named_after_its_scheme(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=rf'^{re.escape(repr(text))} is an address'):
    from_user(text)
  assert from_user('a:b') == Path('a:b')


def test_a_link_that_leads_nowhere_is_named(tmp_path):
  (tmp_path / 'runs').symlink_to(tmp_path / 'scratch')
  for path in (tmp_path / 'runs', tmp_path / 'runs' / 'new'):
    with pytest.raises(InputError, match=rf'{tmp_path}/runs is a link to {tmp_path}/scratch,'):
      from_user(path)
  (tmp_path / 'scratch').mkdir()
  assert from_user(tmp_path / 'runs' / 'new') == tmp_path / 'runs' / 'new'


def test_a_current_folder_that_is_gone(tmp_path, monkeypatch):
  (tmp_path / 'here').mkdir()
  monkeypatch.chdir(tmp_path / 'here')
  (tmp_path / 'here').rmdir()
  with pytest.raises(InputError, match=r"'runs/mnist' .* deleted"):
    from_user('runs/mnist')
  assert from_user(tmp_path) == tmp_path


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


def test_the_cache_is_in_the_home_folder_unless_another_is_set(monkeypatch, capsys):
  monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
  assert cache_folder() == Path('/elsewhere/cvae_jax')
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/home/me')
  assert cache_folder() == Path('/home/me/.cache/cvae_jax')

  def unknown(_):
    raise KeyError

  monkeypatch.delenv('HOME')
  monkeypatch.setattr(pwd, 'getpwuid', unknown)  # a container's user
  temporary = cache_folder()
  assert 'XDG_CACHE_HOME' in capsys.readouterr().err
  assert (temporary.is_dir(), temporary) == (True, cache_folder())
  assert capsys.readouterr().err == ''


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  folder = tmp_path / 'file' / 'folder'
  folder.parent.touch()
  with pytest.raises(InputError) as raised, writing(folder, 'Name another --output.'):
    folder.mkdir()
  for expected in (str(folder), 'Not a directory', 'Name another --output.'):
    assert expected in str(raised.value)
  with pytest.raises(ZeroDivisionError), writing(folder):
    1 / 0  # noqa: B018


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    (b'caf\xe9', r'caf\xe9'),
    (b'caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\xb8', 'caf\xe9 \u4e2d \U0001f438'),
    (b'two\nlines\x1b[31m\x7f', r'two\x0alines\x1b[31m\x7f'),
    ('\x85\u2028\u202egnp'.encode(), r'\u0085\u2028\u202egnp'),
    (b'w\\1', r'w\1'),
    (rb'caf\xe9', r'caf\\xe9'),
  ],
)
def test_names_become_printable(tmp_path, name, expected):
  os.mkdir(os.fsencode(tmp_path) + b'/' + name)
  (path,) = tmp_path.iterdir()
  assert printable(path.name) == expected
  assert printable(path) == f'{tmp_path}/{expected}'
  printable(path.name).encode()


def test_different_names_stay_different():
  pieces = ('\\', 'x', 'u', 'e9', '\udce9', '\xe9', '\x9f', '\udc9f', '9f', '009f', '\n', '0a')
  names = {
    ''.join(name) for length in range(6) for name in itertools.product(pieces, repeat=length)
  }
  assert len({printable(name) for name in names}) == len(names)


def test_names_are_the_same_in_a_locale_without_utf8(tmp_path):
  (tmp_path / 'caf\xe9').mkdir()
  code = (
    'import os, sys; from cvae_jax.runtime.paths import printable\n'
    'print(sys.getfilesystemencoding(), *(ascii(printable(n)) for n in os.listdir(sys.argv[1])))'
  )
  ascii_only = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
  for environment in (ascii_only, {'LC_ALL': 'C.UTF-8'}):
    done = subprocess.run(
      [sys.executable, '-c', code, tmp_path],
      env=os.environ | environment,
      capture_output=True,
      text=True,
      check=True,
    )
    encoding, name = done.stdout.split()
    assert (encoding == 'utf-8') == ('C.UTF-8' in environment.values())
    assert name == ascii('caf\xe9')
