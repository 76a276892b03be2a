"""CIFAR-10 as its authors publish it: python batches, which are pickles, or binary ones."""

import math
import pickletools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvae_jax.data.readers.files import read_bytes
from cvae_jax.runtime.errors import InputError

TRAIN_BATCHES = tuple(f'data_batch_{number}' for number in range(1, 6))
FORMS = {'cifar-10-batches-py': '', 'cifar-10-batches-bin': '.bin'}  # folder: suffix of its files
NUM_PIXELS = 3 * 32 * 32

MAX_BYTES = 1 << 26  # of one batch; the originals have 31 million
MAX_OPCODES = 1_000_000  # of one pickle; the originals have 30,000

ARRAY, DTYPE = 'numpy.ndarray', 'numpy.dtype'
RECONSTRUCT = tuple(f'numpy.{core}.multiarray._reconstruct' for core in ('core', '_core'))


def find(folder: Path) -> dict[str, list[Path]] | None:
  """The five batches of 'train' and the one of 'test', python or binary, or None where none is.

  They are looked for in `folder` and in the folders that the published archives unpack to.

  Raises:
    InputError: some of the six are there and some are not.
  """
  incomplete = None
  for place in (folder, *(folder / name for name in FORMS)):
    for suffix in FORMS.values():
      train = [place / f'{name}{suffix}' for name in TRAIN_BATCHES]
      test = [place / f'test_batch{suffix}']
      missing = [path.name for path in train + test if not path.is_file()]
      if not missing:
        return {'train': train, 'test': test}
      if len(missing) < 6 and not incomplete:
        incomplete = InputError(
          f'{place} holds some of the six CIFAR-10 batches, but not {", ".join(missing)}. '
          'Put all six there.'
        )
  if incomplete:
    raise incomplete
  return None


def read_split(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
  """Images [N, 32, 32, 3] uint8 and labels [N] int32 of batches one after the other.

  Nothing that a python batch holds is ever run: see `_unpickle`.

  Args:
    paths: the batches; those that end with `.bin` are binary.

  Raises:
    InputError: a broken batch, an empty one, or as many labels as images there are not.
  """
  batches = [_read_binary(path) if path.suffix == '.bin' else _read_python(path) for path in paths]
  rows, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
  images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  return np.ascontiguousarray(images), labels


def _read_binary(path: Path):
  """Rows [N, 3072] and labels [N]: of the 3,073 bytes of an image the first is its label."""
  content = read_bytes(path, MAX_BYTES)
  if not content or len(content) % (1 + NUM_PIXELS):
    raise InputError(
      f'{path} has {len(content):,} bytes, expected some multiple of {1 + NUM_PIXELS:,}, a label '
      'and an image. Fetch it again.'
    )
  table = np.frombuffer(content, np.uint8).reshape(-1, 1 + NUM_PIXELS)
  return table[:, 1:], table[:, 0].astype(np.int32)


def _read_python(path: Path):
  """Rows [N, 3072] and labels [N] of a pickled dict."""
  content = read_bytes(path, MAX_BYTES)
  try:
    batch = _unpickle(content)
    if not isinstance(batch, dict) or not {b'data', b'labels'} <= batch.keys():
      raise ValueError("it is no dict of 'data' and 'labels'")
    rows = _rows(batch[b'data'])
    return rows, _labels(batch[b'labels'], len(rows))
  except Exception as error:  # What bytes at random can bring about is no short list.
    reason = str(error)[:200] or type(error).__name__
    raise InputError(f'{path} is no batch of CIFAR-10: {reason}. Fetch it again.') from error


class _Built:
  """What a pickle calls one of NumPy's constructors for: the call, and the state it then sets."""

  def __init__(self, constructor: str, arguments: tuple):
    self.constructor = constructor
    self.arguments = arguments
    self.state = None


class _Global(str):
  """The name of one of NumPy's objects."""


def _rows(data) -> np.ndarray:
  """The array that was pickled, uint8 [N, 3072]."""
  if not isinstance(data, _Built) or data.constructor == DTYPE or not data.state:
    raise ValueError("its 'data' is no NumPy array")
  _, shape, dtype, is_fortran, content = data.state
  if not isinstance(dtype, _Built) or dtype.arguments[0] not in ('u1', b'u1'):
    raise ValueError("its 'data' is not of dtype uint8")
  if len(shape) > 8 or not all(type(size) is int for size in shape):
    raise ValueError("its 'data' has no proper shape")
  if len(shape) != 2 or shape[0] < 1 or shape[1] != NUM_PIXELS:
    raise ValueError(f"its 'data' has shape {shape}, expected (images, {NUM_PIXELS})")
  if not isinstance(content, bytes) or len(content) != math.prod(shape):
    raise ValueError(f"its 'data' has other than the {math.prod(shape):,} bytes of shape {shape}")
  return np.frombuffer(content, np.uint8).reshape(shape, order='F' if is_fortran else 'C')


def _labels(labels, count) -> np.ndarray:
  if not isinstance(labels, list) or not all(type(label) is int for label in labels):
    raise ValueError("its 'labels' are no list of integers")
  if len(labels) != count:
    raise ValueError(f'it holds {count:,} images, but {len(labels):,} labels')
  return np.array(labels, np.int32)


def _unpickle(content: bytes):
  """What a pickle of dicts, lists, strings, integers and NumPy arrays holds.

  pickle itself would import and call what a file names, and even with that forbidden a short file
  can make it claim all memory or crash. So the few operations that a batch needs are carried out
  here: none of them calls anything, and none makes more than the file itself has bytes for.
  NumPy's objects stay as `_Built`.

  Raises:
    ValueError: any other operation, or any other object than NumPy's arrays and dtypes. What is
      no pickle at all can raise anything.
  """
  stack, stacks_below, memo = [], [], {}

  def take_since_mark():
    nonlocal stack
    taken, stack = stack, stacks_below.pop()
    return taken

  def set_items(target, keys_and_values):
    for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
      # Tuples would be keys too, and a short file can make one whose hash takes for ever.
      if not isinstance(key, str | bytes):
        raise ValueError('it has a dict whose keys are no strings')
      _expect(dict, target)[key.encode() if isinstance(key, str) else key] = value

  for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
    if count >= MAX_OPCODES:
      raise ValueError(f'it has more than {MAX_OPCODES:,} operations')
    match opcode.name:
      case 'PROTO' | 'FRAME':
        pass
      case 'STOP':
        (value,) = stack
        return value
      case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
        stack.append({'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}[opcode.name])
      case 'BININT' | 'BININT1' | 'BININT2' | 'LONG1':
        stack.append(argument)
      case 'BINBYTES' | 'SHORT_BINBYTES' | 'BINUNICODE' | 'SHORT_BINUNICODE':
        stack.append(argument)
      case 'BINSTRING' | 'SHORT_BINSTRING':  # the str of Python 2, its bytes
        stack.append(argument.encode('latin-1'))
      case 'BINPUT' | 'LONG_BINPUT':
        memo[argument] = stack[-1]
      case 'MEMOIZE':
        memo[len(memo)] = stack[-1]
      case 'BINGET' | 'LONG_BINGET':
        stack.append(memo[argument])
      case 'MARK':
        stacks_below.append(stack)
        stack = []
      case 'EMPTY_TUPLE' | 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
        size = ('EMPTY_TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3').index(opcode.name)
        items = tuple(stack.pop() for _ in range(size))
        stack.append(items[::-1])
      case 'TUPLE':
        items = tuple(take_since_mark())
        stack.append(items)
      case 'EMPTY_LIST':
        stack.append([])
      case 'APPEND':
        item = stack.pop()
        _expect(list, stack[-1]).append(item)
      case 'APPENDS':
        items = take_since_mark()
        _expect(list, stack[-1]).extend(items)
      case 'EMPTY_DICT':
        stack.append({})
      case 'SETITEM':
        value, key = stack.pop(), stack.pop()
        set_items(stack[-1], [key, value])
      case 'SETITEMS':
        items = take_since_mark()
        set_items(stack[-1], items)
      case 'GLOBAL':
        stack.append(_admitted(argument.replace(' ', '.')))
      case 'STACK_GLOBAL':
        name, module = stack.pop(), stack.pop()
        stack.append(_admitted(f'{_expect(str, module)}.{_expect(str, name)}'))
      case 'REDUCE':
        arguments, constructor = stack.pop(), stack.pop()
        if _expect(_Global, constructor) == ARRAY:
          raise ValueError('it makes an array in another way than NumPy does')
        stack.append(_Built(constructor, _expect(tuple, arguments)))
      case 'BUILD':
        state = stack.pop()
        _expect(_Built, stack[-1]).state = _expect(tuple, state)
      case name:
        raise ValueError(f'it has the operation {name}, which no batch needs')
  raise AssertionError('genops ends with STOP or raises')


def _expect(kind, value):
  if not isinstance(value, kind):
    raise ValueError(f'it has a {type(value).__name__} in the place of a {kind.__name__}')
  return value


def _admitted(name):
  if name not in (ARRAY, DTYPE, *RECONSTRUCT):
    raise ValueError(f'it names {name[:80]!r}, which no batch needs')
  return _Global(name)
