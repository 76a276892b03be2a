"""Where files are looked for, and how much of one is read."""

import pytest

from cvae_jax.data.readers import files
from cvae_jax.runtime.errors import InputError
from made_data import config_of


def test_the_data_folder_is_the_config_s_or_the_environment_s(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'default'))
  assert files.data_folder(config_of('mnist', '').data) == tmp_path / 'default'
  assert files.data_folder(config_of('mnist', tmp_path).data) == tmp_path
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'data\.dir=.*file'):
    files.data_folder(config_of('mnist', tmp_path / 'file').data)


def test_the_first_folder_with_all_files_counts(tmp_path):
  folders = [tmp_path / name for name in 'abc']

  def find():
    return files.find_all(folders, ('one', 'two'), spellings=lambda name: (name, f'{name}.gz'))

  assert find() is None
  folders[1].mkdir()
  (folders[1] / 'two').touch()
  with pytest.raises(InputError, match=rf'{folders[1]} .*one.*one\.gz'):
    find()
  folders[2].mkdir()
  for name in ('one', 'one.gz', 'two.gz'):
    (folders[2] / name).touch()
  assert find() == [folders[2] / 'one', folders[2] / 'two.gz']


def test_a_file_of_up_to_the_limit_is_read_whole(tmp_path):
  path = tmp_path / 'file'
  path.write_bytes(b'12345')
  assert files.read_bytes(path, 5) == b'12345'
  with pytest.raises(InputError, match=r'file .* 4 bytes'):
    files.read_bytes(path, 4)


def test_reading_an_endless_file_ends():
  with pytest.raises(InputError, match=r'/dev/zero .* 1,000 bytes'):
    files.read_bytes('/dev/zero', 1000)


def test_what_cannot_be_read_is_named(tmp_path):
  with pytest.raises(InputError, match=f'{tmp_path} .*Is a directory'):
    files.read_bytes(tmp_path, 5)
