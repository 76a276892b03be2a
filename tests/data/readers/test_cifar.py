"""Batches of CIFAR-10: made here as Python 2 pickled them, hostile ones, and a real one."""

import hashlib
import pickle
import random
import runpy
import struct
import sys

import numpy as np
import pytest

from cvae_jax.data.datasets import load
from cvae_jax.data.readers import cifar
from cvae_jax.runtime.errors import InputError
from made_data import config_of, write_cifar10

ROWS = np.random.RandomState(0).randint(0, 256, (3, 3072), np.uint8)
LABELS = [9, 0, 4]
PIXELS = ROWS.tobytes()


def string(content):
  """A pickled str of Python 2."""
  if len(content) < 256:
    return b'U' + bytes([len(content)]) + content
  return b'T' + struct.pack('<i', len(content)) + content


def integer(number):
  return b'J' + struct.pack('<i', number)


def list_of(*items):
  return b'](' + b''.join(items) + b'e'


def dtype(name=b'u1'):
  state = b'(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
  return b'cnumpy\ndtype\n' + string(name) + b'K\x00K\x01\x87R' + state


def array(content=PIXELS, shape=ROWS.shape, kind=None, core='core'):
  empty = b'cnumpy.%s.multiarray\n_reconstruct\ncnumpy\nndarray\n' % core.encode()
  shape = b'(' + b''.join(integer(size) for size in shape) + b't'
  state = b'(K\x01' + shape + (kind or dtype()) + b'\x89'
  return empty + b'K\x00\x85U\x01b\x87R' + state + string(content) + b'tb'


def batch(data=None, labels=None, more=b''):
  labels = list_of(*map(integer, LABELS)) if labels is None else labels
  data = string(b'data') + (array() if data is None else data)
  return b'\x80\x02}q\x01(' + string(b'labels') + labels + data + more + b'u.'


def binary_batch():
  return b''.join(bytes([label]) + row.tobytes() for label, row in zip(LABELS, ROWS, strict=True))


def write(folder, suffix=''):
  folder.mkdir(parents=True, exist_ok=True)
  for name in (*cifar.TRAIN_BATCHES, 'test_batch'):
    (folder / f'{name}{suffix}').write_bytes(binary_batch() if suffix else batch())


def read(tmp_path, content, suffix=''):
  path = tmp_path / f'data_batch_1{suffix}'
  path.write_bytes(content)
  return cifar.read_split([path])[:2]  # images and labels


def test_batches_made_here_are_pickles():
  content = pickle.loads(batch(), encoding='bytes')
  np.testing.assert_array_equal(content[b'data'], ROWS)
  assert content[b'labels'] == LABELS


@pytest.mark.parametrize('suffix', ['', '.bin'])
def test_planes_become_the_channels_of_an_image(tmp_path, suffix):
  images, labels = read(tmp_path, binary_batch() if suffix else batch(), suffix)
  assert (images.shape, images.dtype) == ((3, 32, 32, 3), np.uint8)
  assert images.flags.c_contiguous
  for plane in range(3):
    assert images[1, 5, 7, plane] == ROWS[1, plane * 1024 + 5 * 32 + 7]
  assert (labels.tolist(), labels.dtype) == (LABELS, np.int32)


def test_python_and_binary_batches_are_read_alike(tmp_path):
  python, binary = read(tmp_path, batch()), read(tmp_path, binary_batch(), '.bin')
  for one, other in zip(python, binary, strict=True):
    np.testing.assert_array_equal(one, other)


def test_batches_follow_one_another(tmp_path):
  write(tmp_path)
  paths = cifar.find(tmp_path)['train']
  paths[1].write_bytes(batch(array(PIXELS[3072:6144], (1, 3072)), list_of(integer(7))))
  images, labels, _ = cifar.read_split(paths)
  assert labels.tolist() == LABELS + [7] + LABELS * 3
  np.testing.assert_array_equal(images[3], images[1])


@pytest.mark.parametrize('protocol', [3, 4])
def test_batches_pickled_by_python_3(tmp_path, protocol):
  for rows in (ROWS, np.asfortranarray(ROWS)):
    content = pickle.dumps({'labels': LABELS, 'data': rows, 'note': None}, protocol)
    images, labels = read(tmp_path, content)
    np.testing.assert_array_equal(images, read(tmp_path, batch())[0])
    assert labels.tolist() == LABELS


def test_the_module_name_of_numpy_2_is_known(tmp_path):
  images, _ = read(tmp_path, batch(array(core='_core')))
  np.testing.assert_array_equal(images, read(tmp_path, batch())[0])


@pytest.mark.parametrize(
  ('inside', 'suffix'),
  [
    ('.', ''),
    ('.', '.bin'),
    ('cifar-10-batches-py', ''),
    ('cifar10/cifar-10-batches-bin', '.bin'),
  ],
)
def test_where_batches_are_found(tmp_path, inside, suffix):
  assert cifar.find(tmp_path) is None
  assert cifar.find(tmp_path / 'nowhere') is None
  write(tmp_path / inside, suffix)
  found = cifar.find(tmp_path)
  names = [f'data_batch_{number}{suffix}' for number in (1, 2, 3, 4, 5)]
  assert found['train'] == [tmp_path / inside / name for name in names]
  assert found['test'] == [tmp_path / inside / f'test_batch{suffix}']


def test_some_batches_are_an_error_unless_all_are_elsewhere(tmp_path):
  write(tmp_path)
  (tmp_path / 'data_batch_3').unlink()
  (tmp_path / 'test_batch').unlink()
  with pytest.raises(InputError, match=f'{tmp_path} .*data_batch_3, test_batch'):
    cifar.find(tmp_path)
  write(tmp_path / 'cifar-10-batches-bin', '.bin')
  assert cifar.find(tmp_path)['test'][0].parent.name == 'cifar-10-batches-bin'


def test_images_are_resized_and_labels_checked(tmp_path):
  config = config_of('cifar10', tmp_path, data__channels=3, conditional=False)
  write_cifar10(tmp_path / 'cifar10' / 'cifar-10-batches-bin', np.random.RandomState(0), (0, 3, 9))
  splits = load(config)
  assert [len(split.labels) for split in splits] == [13, 2, 3]
  assert splits.train.images.shape[1:] == (8, 8, 3)
  assert splits.train.class_names[9] == 'truck'
  write_cifar10(tmp_path / 'cifar-10-batches-bin', np.random.RandomState(0), (0, 3, 10))
  with pytest.raises(InputError, match=r"'cifar10' has a label 10, .* 0 to 9"):
    load(config)


@pytest.mark.parametrize(
  'content', [b'', binary_batch()[:-1], binary_batch() + b'x', batch()], ids=range(4)
)
def test_binary_batches_of_another_size(tmp_path, content):
  with pytest.raises(InputError, match=r'data_batch_1.bin .* bytes.* 3,073'):
    read(tmp_path, content, '.bin')


def test_files_too_large_are_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(cifar, 'MAX_BYTES', len(batch()))
  read(tmp_path, batch())
  with pytest.raises(InputError, match=r'data_batch_1 .* bytes'):
    read(tmp_path, batch() + b'x')


def test_a_folder_in_the_place_of_a_batch(tmp_path):
  with pytest.raises(InputError, match=str(tmp_path)):
    cifar.read_split([tmp_path])


TREE = b')q\x02' + b'h\x02h\x02\x86q\x02' * 100  # a tuple of 2^100 leaves
BAD_BATCHES = {
  'empty file': (b'', 'data_batch_1'),
  'no pickle': (b'PNG', 'data_batch_1'),
  'no dict': (b'\x80\x02].', "'data' and 'labels'"),
  'other dict': (b'\x80\x02}' + string(b'data') + array() + b's.', "'data' and 'labels'"),
  'no array': (batch(string(PIXELS)), "'data' .*NumPy"),
  'dtype as data': (batch(dtype()), "'data' .*NumPy"),
  'array without state': (
    batch(b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R'),
    "'data' .*NumPy",
  ),
  'short state': (batch(array()[:-2] + b'1' + b'tb'), 'POP_MARK'),
  'float array': (batch(array(bytes(8 * 3072), (1, 3072), dtype(b'f8'))), 'dtype uint8'),
  'object array': (
    batch(array(kind=dtype(b'O8')).replace(string(PIXELS), list_of(integer(1)))),
    'dtype uint8',
  ),
  'structured dtype': (batch(array(kind=dtype(b'u1,u1'))), 'dtype uint8'),
  'huge shape': (batch(array(shape=(2**31 - 1, 3072))), r'6,597,[\d,]+ bytes'),
  'huge dimensions': (batch(array(shape=(2**31 - 1,) * 3)), 'shape'),
  'negative shape': (batch(array(shape=(-3, 3072))), 'shape'),
  'other shape': (batch(array(shape=(9, 1024))), r'shape \(9, 1024\)'),
  'tree as shape': (
    batch(array().replace(integer(3072), TREE)),
    'shape',
  ),
  'short data': (batch(array(PIXELS[:-1])), '9,216 bytes'),
  'no images': (batch(array(b'', (0, 3072)), list_of()), r'shape \(0, 3072\)'),
  'list as data of an array': (
    batch(array().replace(string(PIXELS), list_of(*[integer(1)] * len(PIXELS)))),
    '9,216 bytes',
  ),
  'fewer labels': (batch(labels=list_of(integer(1))), '3 and 1'),
  'labels that are strings': (
    batch(labels=list_of(*[string(b'cat')] * 3)),
    "'labels'",
  ),
  'labels that are truths': (batch(labels=b'](\x88\x89\x88e'), "'labels'"),
  'labels that are no list': (batch(labels=integer(3)), "'labels'"),
  'huge label': (
    batch(labels=list_of(*[b'\x8a\x09' + b'\xff' * 8 + b'\x00'] * 3)),
    'too large',
  ),
}


@pytest.mark.parametrize(('content', 'message'), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_broken_batches_are_named(tmp_path, content, message):
  with pytest.raises(InputError, match=message) as error:
    read(tmp_path, content)
  assert str(tmp_path / 'data_batch_1') in str(error.value)
  assert len(str(error.value)) < 400 + len(str(tmp_path))


class Innocent:
  """A class that counts its instances."""

  made = 0

  def __init__(self):
    Innocent.made += 1


INNOCENT = b'cinnocent\nInnocent\n)R'
EVAL = b'cbuiltins\neval\n' + string(b"open('witness', 'w').close()") + b'\x85R'
HOSTILE = {
  'eval': EVAL,
  'eval by its old name': EVAL.replace(b'builtins', b'__builtin__'),
  'eval by STACK_GLOBAL': b'\x8c\x08builtins\x8c\x04eval\x93' + EVAL[15:],
  'os.system': b'cos\nsystem\n' + string(b'touch witness') + b'\x85R',
  'posix.system': b'cposix\nsystem\n' + string(b'touch witness') + b'\x85R',
  'dotted name': b'\x8c\x05numpy\x8c\x11ndarray.__class__\x93',
  'another function of NumPy': b'cnumpy.core.multiarray\nfromfile\n' + string(b'x') + b'\x85R',
  '_codecs.encode': b'c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R',
  'innocent class': INNOCENT,
  'innocent class by INST': b'(iinnocent\nInnocent\n',
  'innocent class by OBJ': b'(cinnocent\nInnocent\no',
  'innocent class by NEWOBJ': b'cinnocent\nInnocent\n)\x81',
  'array by NEWOBJ': b'cnumpy\nndarray\n' + integer(2**31 - 1) + b'\x85\x81',
  'array called with a shape': b'cnumpy\nndarray\n' + integer(2**31 - 1) + b'\x85R',
  'string called': string(b'eval') + b')R',
  'dict given a state': b'})b',
  'EXT1': b'\x82\x01',
  'EXT2': b'\x83\x01\x00',
  'EXT4': b'\x84\x01\x00\x00\x00',
  'PERSID': b'Pwitness\n',
  'BINPERSID': b'NQ',
  'buffer from elsewhere': b'\x97',
  'huge string': b'T\xff\xff\xff\x7f',
  'huge bytes': b'\x8e' + b'\xff' * 7 + b'\x7f',
  'huge bytearray': b'\x96' + b'\xff' * 7 + b'\x7f',
  'tree as a key': b'}' + TREE + b'Ns',
  'chain as a key': b'})' + b'\x85' * 50_000 + b'Ns',
  'item of nothing': b'a',
  'end of no mark': b'uu',
  'key without a value': b'',
}


@pytest.mark.parametrize('attack', HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize('place', ['alone', 'in a batch'])
def test_hostile_pickles_run_nothing(tmp_path, monkeypatch, attack, place):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, 'innocent', sys.modules[__name__])
  monkeypatch.setattr(Innocent, 'made', 0)
  content = batch(more=string(b'more') + attack) if place == 'in a batch' else attack + b'.'
  with pytest.raises(InputError, match='data_batch_1'):
    read(tmp_path, content)
  assert [path.name for path in tmp_path.iterdir()] == ['data_batch_1']
  assert Innocent.made == 0


def test_pickle_itself_would_run_them(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, 'innocent', sys.modules[__name__])
  monkeypatch.setattr(Innocent, 'made', 0)
  pickle.loads(EVAL + b'.')
  pickle.loads(INNOCENT + b'.')
  assert (tmp_path / 'witness').exists()
  assert Innocent.made == 1


@pytest.mark.parametrize(
  'excess',
  [b'Nr\xfe\xff\xff\xff', b']' * 50_000 + b'a' * 49_999],
  ids=['huge memo', 'deep lists'],
)
def test_what_would_exhaust_pickle_is_read(tmp_path, excess):
  images, _ = read(tmp_path, batch(more=string(b'more') + excess))
  np.testing.assert_array_equal(images, read(tmp_path, batch())[0])
  with pytest.raises(InputError, match="'data' and 'labels'"):
    read(tmp_path, excess + b'.')


def test_too_many_operations_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(cifar, 'MAX_OPCODES', 1000)
  read(tmp_path, batch(more=string(b'more') + list_of(*[b'N'] * 900)))
  with pytest.raises(InputError, match='1,000 operations'):
    read(tmp_path, batch(more=string(b'more') + list_of(*[b'N'] * 1000)))


def test_truncated_batches_are_refused(tmp_path):
  whole = batch(array(PIXELS[:3072], (1, 3072)), list_of(integer(1)), string(b'more') + b'N')
  read(tmp_path, whole)
  for length in (*range(300), len(whole) - 2, len(whole) - 1):
    with pytest.raises(InputError, match='data_batch_1'):
      read(tmp_path, whole[:length])


def test_damaged_batches_are_refused_or_read_whole(tmp_path):
  generator = random.Random(0)
  whole = batch(array(PIXELS[:3072], (1, 3072)), list_of(integer(1)))
  start = whole.index(PIXELS[:3072])
  refused = 0
  for _ in range(1000):
    damaged = bytearray(whole)
    for _ in range(generator.randint(1, 3)):
      damaged[generator.randrange(start)] = generator.randrange(256)
    try:
      images, labels = read(tmp_path, bytes(damaged))
      assert (images.shape, images.dtype) == ((1, 32, 32, 3), np.uint8)
      assert (labels.shape, labels.dtype) == ((1,), np.int32)
    except InputError:
      refused += 1
  assert refused > 500


def test_random_bytes_are_refused(tmp_path):
  generator = random.Random(0)
  for length in range(500):
    with pytest.raises(InputError, match='data_batch_1'):
      read(tmp_path, b'\x80\x02' * (length % 2) + generator.randbytes(length))


@pytest.mark.data('cifar10')
def test_a_real_batch_is_read(tmp_path, real_data):
  unpack = runpy.run_path(real_data / 'unpack.py')
  expected, labels, names = unpack['load']('test')
  content = unpack['batch_bytes']('testing batch 1 of 1', expected, labels, names)
  assert hashlib.md5(content).hexdigest() == '40351d587109b95175f43aff81a1287e'  # as published
  images, read_labels = read(tmp_path, content)
  np.testing.assert_array_equal(images, expected)
  np.testing.assert_array_equal(read_labels, labels)
