"""Binarized MNIST in both its formats, made here, whole and broken, and the real one."""

import contextlib
import io
import struct
import zipfile

import numpy as np
import pytest

from conftest import DATA
from cvae_jax import config as config_lib
from cvae_jax.data.datasets import load
from cvae_jax.data.readers import binarized_mnist
from cvae_jax.runtime.errors import InputError
from made_data import config_of

SIZES = {'train': 5, 'validation': 2, 'test': 3}
BITS = {
  split: np.random.RandomState(size).randint(0, 2, (size, 784), np.uint8)
  for split, size in SIZES.items()
}
PACKED = {split: np.packbits(bits, axis=1) for split, bits in BITS.items()}


def amat(bits, separator=' ', end='\n'):
  return ''.join(separator.join(map(str, row)) + end for row in bits.tolist()).encode()


def write_amat(folder, **layout):
  folder.mkdir(exist_ok=True)
  for split, name in binarized_mnist.AMAT_FILES.items():
    (folder / name).write_bytes(amat(BITS[split], **layout))


def write_npz(folder, validation='valid', **changes):
  folder.mkdir(exist_ok=True)
  arrays = {'train': PACKED['train'], validation: PACKED['validation'], 'test': PACKED['test']}
  arrays.update(changes)
  arrays = {name: array for name, array in arrays.items() if array is not None}
  np.savez_compressed(folder / 'binarized_mnist.npz', **arrays)


def read(folder):
  return binarized_mnist.read(binarized_mnist.find(folder))


def check(splits):
  assert list(splits) == ['train', 'validation', 'test']
  for split, images in splits.items():
    assert (images.shape, images.dtype) == ((SIZES[split], 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(images, 255 * BITS[split].reshape(-1, 28, 28, 1))


@pytest.mark.parametrize(
  'layout',
  [{}, {'end': ' \n'}, {'end': '\r\n'}, {'separator': '\t'}, {'separator': '   '}],
  ids=str,
)
def test_amat_files_with_any_blanks(tmp_path, layout):
  write_amat(tmp_path, **layout)
  check(read(tmp_path))


@pytest.mark.parametrize(
  'change', [lambda b: b[:-1], lambda b: b + b'\n', lambda b: b'  ' + b], ids=range(3)
)
def test_amat_files_with_other_beginnings_and_ends(tmp_path, change):
  write_amat(tmp_path)
  path = tmp_path / 'binarized_mnist_train.amat'
  path.write_bytes(change(path.read_bytes()))
  check(read(tmp_path))


@pytest.mark.parametrize('validation', ['valid', 'validation'])
def test_packed_arrays_are_read(tmp_path, validation):
  write_npz(tmp_path, validation)
  check(read(tmp_path))


@pytest.mark.parametrize('inside', ['.', 'binarized_mnist'])
def test_where_the_files_are_found(tmp_path, inside):
  assert binarized_mnist.find(tmp_path) is None
  assert binarized_mnist.find(tmp_path / 'nowhere') is None
  write_npz(tmp_path / inside)
  assert binarized_mnist.find(tmp_path) == [tmp_path / inside / 'binarized_mnist.npz']
  write_amat(tmp_path / inside)
  assert binarized_mnist.find(tmp_path) == [
    tmp_path / inside / f'binarized_mnist_{split}.amat' for split in ('train', 'valid', 'test')
  ]


def test_some_of_the_files_are_an_error_unless_all_are_elsewhere(tmp_path):
  write_amat(tmp_path)
  (tmp_path / 'binarized_mnist_valid.amat').unlink()
  with pytest.raises(InputError, match=f'{tmp_path} .*binarized_mnist_valid.amat'):
    binarized_mnist.find(tmp_path)
  write_npz(tmp_path / 'binarized_mnist')
  check(read(tmp_path))


LINE = amat(BITS['test'][:1])
BAD_AMAT = {
  'nothing': (b'', '784 values'),
  'blanks': (b' \n\n', 'line 1 has 0 values'),
  'a value too few': (LINE + LINE[2:], 'line 2 has 783 values'),
  'a value too many': (LINE + b'1 ' + LINE, 'line 2 has 785 values'),
  'a value in the wrong line': (LINE[2:] + b'1 ' + LINE, 'line 1 has 783 values'),
  'lines joined': (LINE[:-1] + b' ' + LINE, 'line 1 has 1,568 values'),
  'a value for a line break': (LINE[:-1] + b' 0 ' + LINE, 'line 1 has 1,569 values'),
  'a blank line between': (LINE + b'\n' + LINE, 'line 2 has 0 values'),
  'a 2': (LINE + b'2' + LINE[1:], "line 2 holds b'2'"),
  'a minus': (LINE + b'-' + LINE[1:], "line 2 holds b'-'"),
  'a null byte': (b'\x00' + LINE[1:], r"line 1 holds b'\\x00'"),
  'a fraction': (b'0.' + LINE[1:], 'line 1 has 785 values'),
  'no blank between': (LINE + LINE[:1] + LINE[2:3] + b' ' + LINE[3:], 'line 2 .*blank'),
  'truncated': ((LINE + LINE)[:-301], 'line 2 has 634 values'),
  'another file': (b'PK\x03\x04' * 1000, 'line 1 has'),
  'a picture': (np.random.RandomState(0).bytes(7850), 'line 1 has'),
}


@pytest.mark.parametrize(('content', 'message'), BAD_AMAT.values(), ids=BAD_AMAT)
def test_broken_amat_files_are_named(tmp_path, content, message):
  write_amat(tmp_path)
  path = tmp_path / 'binarized_mnist_valid.amat'
  path.write_bytes(content)
  with pytest.raises(InputError, match=message) as error:
    read(tmp_path)
  assert str(path) in str(error.value)


def npy(shape, content=b'', descr='|u1'):
  header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
  return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + content


def archive(**members):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as file:
    for name, content in members.items():
      file.writestr(name + '.npy', content)
  return buffer.getvalue()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'test': None}, "'test'"),
    ({'valid': None}, "'valid' or 'validation'"),
    ({'train': BITS['train']}, r"'train' is uint8 \(5, 784\), expected uint8 \(images, 98\)"),
    ({'train': PACKED['train'].astype(np.int16)}, r"'train' is int16 \(5, 98\)"),
    ({'train': PACKED['train'].ravel()}, r"'train' is uint8 \(490,\)"),
    ({'train': np.uint8(3)}, r"'train' is uint8 \(\)"),
    ({'train': PACKED['train'][:0]}, r"'train' is uint8 \(0, 98\)"),
    ({'train': np.array([{}])}, 'allow_pickle=False'),
  ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
  write_npz(tmp_path, **changes)
  with pytest.raises(InputError, match=message) as error:
    read(tmp_path)
  assert str(tmp_path / 'binarized_mnist.npz') in str(error.value)


BAD_NPZ = {
  'nothing': b'',
  'no zip': b'PNG' * 100,
  'a bare array': npy((5, 98), bytes(490)),
  'a member that is no array': archive(train=b'text'),
  'an enormous shape': archive(train=npy((2**50, 98))),
  'a shape beyond 64 bits': archive(train=npy((2**70, 98))),
  'a large shape of little': archive(train=npy((10**8, 98), bytes(98))),
  'a negative shape': archive(train=npy((-5, 98), bytes(490))),
  'a header that is code': archive(train=npy('__import__("os").mkdir("witness")')),
}


@pytest.mark.parametrize('content', BAD_NPZ.values(), ids=BAD_NPZ)
def test_broken_archives_are_named(tmp_path, monkeypatch, content):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'binarized_mnist.npz').write_bytes(content)
  with pytest.raises(InputError, match=r'binarized_mnist.npz'):
    read(tmp_path)
  assert not (tmp_path / 'witness').exists()


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
  monkeypatch.setattr(binarized_mnist, 'MAX_BYTES', 100_000)
  members = {name: npy((300, 98), bytes(300 * 98)) for name in ('train', 'valid', 'test')}
  path = tmp_path / 'binarized_mnist.npz'
  path.write_bytes(archive(**members))
  assert [len(images) for images in read(tmp_path).values()] == [300, 300, 300]
  path.write_bytes(archive(**members, more=bytes(20_000)))
  with pytest.raises(InputError, match=r'binarized_mnist.npz .* 108,\d+ bytes'):
    read(tmp_path)


def test_damaged_archives_are_refused_or_read_whole(tmp_path):
  write_npz(tmp_path)
  path = tmp_path / 'binarized_mnist.npz'
  whole = path.read_bytes()
  for length in range(0, len(whole), 29):
    path.write_bytes(whole[:length])
    with pytest.raises(InputError, match=r'binarized_mnist\.npz'):
      read(tmp_path)
  for position in range(0, len(whole), 5):
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
    with contextlib.suppress(InputError):
      check(read(tmp_path))


@pytest.mark.parametrize('write', [write_amat, write_npz])
def test_files_too_large_are_not_read(tmp_path, monkeypatch, write):
  write(tmp_path)
  monkeypatch.setattr(binarized_mnist, 'MAX_BYTES', 1000)
  with pytest.raises(InputError, match=r'binarized_mnist.* 1,000 bytes'):
    read(tmp_path)


def test_a_folder_in_the_place_of_a_file(tmp_path):
  with pytest.raises(InputError, match=str(tmp_path)):
    binarized_mnist.read([tmp_path])


def config(folder, **changes):
  fields = {'data__image_size': 28, 'data__num_classes': 0, 'conditional': False}
  return config_of('binarized_mnist', folder, **(fields | changes))


def test_its_own_splits_are_kept_and_there_are_no_classes(tmp_path):
  write_npz(tmp_path)
  splits = load(config(tmp_path))
  assert [len(split.labels) for split in splits] == list(SIZES.values())
  assert set(np.unique(splits.train.images)) == {0, 255}
  assert splits.train.class_names == ()
  with pytest.raises(InputError, match=r"'binarized_mnist'.*--config\.conditional=False"):
    load(config(tmp_path, conditional=True))


@pytest.mark.parametrize('changes', [{'data__image_size': 32}, {'data__crop_size': 20}])
def test_images_must_stay_binary(changes):
  config_lib.check(config('', data__crop_size=28))
  (field,) = changes
  with pytest.raises(InputError, match=f'{field.replace("__", ".")}={changes[field]}.*binary'):
    config_lib.check(config('', **changes))


def test_missing_files_are_named(tmp_path):
  with pytest.raises(InputError, match=r"nowhere.*'binarized_mnist'.*binarized_mnist\.npz"):
    load(config(tmp_path / 'nowhere'))


@pytest.mark.skipif(
  not (DATA / 'binarized_mnist.npz').is_file(), reason=f'no binarized_mnist.npz in {DATA}'
)
def test_the_real_data_set():
  splits = read(DATA)
  assert [len(images) for images in splits.values()] == [50_000, 10_000, 10_000]
  for images in splits.values():
    assert set(np.unique(images)) == {0, 255}
    assert 0.12 < images.mean() / 255 < 0.14  # MNIST's mean grey is 0.13
    assert images[:, 0].mean() < 0.1 < 40 < images[:, 14].mean()  # digits stand in the middle
