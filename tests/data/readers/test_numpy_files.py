"""NumPy's files: read as NumPy does, large arrays in place, damaged ones refused."""

import zipfile

import numpy as np
import pytest

from cvae_jax.data.readers import file_rows, numpy_files
from cvae_jax.runtime.errors import InputError

ARRAYS = {
  'images': np.random.RandomState(0).randint(0, 256, (30, 9, 7), np.uint8),
  'labels': np.arange(30)[:, None],
  'names': np.array(['a', 'bc'] * 15),
  'floats': np.asfortranarray(np.random.RandomState(1).rand(30, 5)),
}


def write(folder):
  paths = {'npz': folder / 'a.npz', 'compressed': folder / 'b.npz'}
  np.savez(paths['npz'], **ARRAYS)
  np.savez_compressed(paths['compressed'], **ARRAYS)
  return paths


@pytest.mark.parametrize('in_place', [False, True])
@pytest.mark.parametrize('form', ['npz', 'compressed', 'npy'])
def test_arrays_are_read(tmp_path, monkeypatch, form, in_place):
  if in_place:
    monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  paths = write(tmp_path)
  for name, array in ARRAYS.items():
    path = paths.get(form, tmp_path / f'{name}.npy')
    if form == 'npy':
      np.save(path, array)
    assert name in numpy_files.names(path)
    assert numpy_files.shape_of(path, name) == array.shape
    read = numpy_files.read(path, name)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    assert isinstance(read, np.memmap) is (in_place and form != 'compressed')
    if name == 'images' and isinstance(read, np.memmap):
      assert isinstance(file_rows.in_file(read), file_rows.FileRows)
      np.testing.assert_array_equal(file_rows.in_file(read)[[4, 2]], array[[4, 2]])


def test_python_objects_are_never_unpickled(tmp_path):
  objects = np.array([{'a': 1}, None], object)
  np.savez(tmp_path / 'a.npz', images=objects)
  np.save(tmp_path / 'b.npy', objects)
  for path in (tmp_path / 'a.npz', tmp_path / 'b.npy'):
    with pytest.raises(InputError, match=f'{path}.*never unpickled'):
      numpy_files.read(path, numpy_files.names(path)[0])


def cut(content):
  return content[: len(content) // 2]


def flip(content):
  middle = content.index(ARRAYS['images'][5].tobytes())
  return content[:middle] + bytes(9) + content[middle + 9 :]


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (cut, 'cut off'),
    (flip, r"'images'.*CRC"),
    (lambda _: b'', 'no .npz'),
    (lambda _: b'<html>', 'no .npz'),
  ],
)
def test_a_damaged_archive_is_named(tmp_path, damage, message):
  path = write(tmp_path)['npz']
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match=f'{path}.*{message}'):
    [numpy_files.read(path, name) for name in numpy_files.names(path)]


@pytest.mark.parametrize('form', ['npz', 'compressed'])
def test_the_checksum_of_an_archive_is_compared(tmp_path, form):
  path = write(tmp_path)[form]
  with zipfile.ZipFile(path) as archive:
    checksum = archive.getinfo('images.npy').CRC.to_bytes(4, 'little')
  path.write_bytes(path.read_bytes().replace(checksum, bytes(4)))
  with pytest.raises(InputError, match=r"'images'.*CRC"):
    numpy_files.read(path, 'images')


def test_an_archive_without_arrays_is_named(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
    archive.writestr('readme.txt', 'x')
  with pytest.raises(InputError, match=r'a\.npz.*no array'):
    numpy_files.names(tmp_path / 'a.npz')
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
    archive.writestr('images.npy', b'PNG')
  with pytest.raises(InputError, match=r"a\.npz, array 'images'"):
    numpy_files.read(tmp_path / 'a.npz', 'images')


@pytest.mark.parametrize('damage', [cut, lambda b: b + b'x', lambda _: b'', lambda _: b'PNG!' * 9])
@pytest.mark.parametrize('in_place', [False, True])
def test_a_damaged_array_is_named(tmp_path, monkeypatch, damage, in_place):
  if in_place:
    monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  path = tmp_path / 'images.npy'
  np.save(path, ARRAYS['images'])
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match=r'images\.npy cannot be read'):
    numpy_files.read(path, 'images')


def test_a_false_header_claims_no_memory(tmp_path):
  path = tmp_path / 'images.npy'
  np.save(path, ARRAYS['images'])
  path.write_bytes(path.read_bytes().replace(b'(30, 9, 7)', b'(30000000, 90000, 7)'[:20], 1))
  with pytest.raises(InputError, match=r'images\.npy cannot be read'):
    numpy_files.read(path, 'images')
