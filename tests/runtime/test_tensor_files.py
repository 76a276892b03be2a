"""Arrays as files."""

import jax
import numpy as np
import pytest

from cvae_jax.runtime import tensor_files
from cvae_jax.runtime.errors import InputError

VARIABLES = {
  'params': {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3), 'bias': np.zeros(3)},
  'batch_stats': {'count': np.int32(7)},
}


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'new' / 'w.safetensors'
  tensor_files.save(path, VARIABLES, step=7, name='x')
  return path


def test_what_is_saved_is_read(path):
  restored, step = tensor_files.read(path, VARIABLES)
  assert step == 7
  jax.tree.map(np.testing.assert_array_equal, restored, VARIABLES)
  assert [entry.name for entry in path.parent.iterdir()] == ['w.safetensors']
  assert path.stat().st_mode & 0o044 == 0o044  # others may read it, as umask allows
  arrays, notes = tensor_files.read_arrays(path)
  assert set(arrays) == {'params/kernel', 'params/bias', 'batch_stats/count'}
  assert (notes['step'], notes['name']) == ('7', 'x')


@pytest.mark.parametrize('damage', [lambda b: b'', lambda b: b[:100], lambda b: b'\xff' * len(b)])
def test_a_damaged_file_is_named(path, damage):
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match=str(path)):
    tensor_files.read(path, VARIABLES)


def test_one_changed_bit_is_noticed(path):
  content = bytearray(path.read_bytes())
  content[-50] ^= 1
  path.write_bytes(content)
  with pytest.raises(InputError, match=f'{path}.*digest'):
    tensor_files.read(path, VARIABLES)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=str(tmp_path / 'none')):
    tensor_files.read(tmp_path / 'none', VARIABLES)


@pytest.mark.parametrize(
  'bias', [np.zeros(4), np.zeros(3, np.float32), jax.ShapeDtypeStruct((1, 3), np.float64)]
)
def test_arrays_of_other_shapes_or_dtypes_are_refused(path, bias):
  like = VARIABLES | {'params': VARIABLES['params'] | {'bias': bias}}
  with pytest.raises(InputError, match=f'{path}.*another model'):
    tensor_files.read(path, like)


def test_a_digest_is_of_names_and_numbers():
  digest = tensor_files.digest(VARIABLES)
  assert digest == tensor_files.digest(dict(reversed(VARIABLES.items())))
  changed = [{'a': VARIABLES}, VARIABLES | {'batch_stats': {'count': np.int32(8)}}]
  assert digest not in map(tensor_files.digest, changed)
