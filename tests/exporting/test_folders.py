"""Folders of exports: whole or not at all, and never in the place of something else."""

import pytest

from cvae_jax.exporting import folders
from cvae_jax.runtime.errors import InputError

NAMES = ('a.bin', 'b.bin')


def everything(folder):
  return sorted(path.relative_to(folder) for path in folder.rglob('*'))


def fill(output, text, names=NAMES):
  with folders.whole(output, NAMES) as folder:
    for name in names:
      (folder / name).write_text(text)


def test_an_earlier_export_is_replaced_with_all_its_files(tmp_path):
  output = tmp_path / 'new' / 'folder'
  fill(output, 'one')
  fill(output, 'two', ['a.bin'])
  assert [path.name for path in output.iterdir()] == ['a.bin']
  assert (output / 'a.bin').read_text() == 'two'
  assert [path.name for path in output.parent.iterdir()] == ['folder']


@pytest.mark.parametrize('has_earlier', [True, False])
def test_a_failure_leaves_everything_as_it_was(tmp_path, has_earlier):
  output = tmp_path / 'new' / 'folder'
  if has_earlier:
    fill(output, 'one')
  before = everything(tmp_path)
  with pytest.raises(InputError, match='folder: No such file'):
    fill(output, 'two', ['a.bin', 'no such folder/no such name'])
  assert everything(tmp_path) == before
  assert not has_earlier or (output / 'a.bin').read_text() == 'one'


def test_other_files_are_not_replaced(tmp_path):
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'thesis.tex').touch()
  (tmp_path / 'file').touch()
  for output, named in (('mine', r'thesis\.tex'), ('file', 'is a file'), ('file/in', 'file')):
    with pytest.raises(InputError, match=named):
      fill(tmp_path / output, 'one')
  assert [str(path) for path in everything(tmp_path)] == ['file', 'mine', 'mine/thesis.tex']
