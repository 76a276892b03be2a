"""Reading no more than a file may have."""

import pytest

from cvae_jax.data.readers.files import read_bytes
from cvae_jax.runtime.errors import InputError


def test_a_file_of_up_to_the_limit_is_read_whole(tmp_path):
  path = tmp_path / 'file'
  path.write_bytes(b'12345')
  assert read_bytes(path, 5) == b'12345'
  with pytest.raises(InputError, match='file has more than 4 bytes'):
    read_bytes(path, 4)


def test_an_endless_file_ends():
  with pytest.raises(InputError, match='has more than 1,000 bytes'):
    read_bytes('/dev/zero', 1000)


def test_what_cannot_be_read_is_named(tmp_path):
  with pytest.raises(InputError, match='cannot be read: Is a directory'):
    read_bytes(tmp_path, 5)
