"""CIFAR-10 as its authors publish it: in Python batches, which are pickles, or binary ones."""

import math
import pickletools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvae_jax.data.readers import files, tfds
from cvae_jax.data.readers.sources import DATASETS, Source, Split, in_order_of_content
from cvae_jax.runtime.errors import InputError

CLASS_NAMES = (
  'airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'
)  # fmt: skip
DOWNLOAD_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
FOLDERS = ('', 'cifar-10-batches-py', 'cifar-10-batches-bin')  # as the archives unpack
RAW_FILES = 'the python or binary batches (cifar-10-batches-py/ or cifar-10-batches-bin/)'
TRAIN_BATCHES = tuple(f'data_batch_{number}' for number in range(1, 6))
NUM_PIXELS = 3 * 32 * 32

MAX_BYTES = 1 << 26  # of one batch; the originals have 31 million
MAX_OPCODES = 1_000_000  # of one pickle; the originals have 30,000

ARRAY, DTYPE = 'numpy.ndarray', 'numpy.dtype'
RECONSTRUCT = tuple(f'numpy.{core}.multiarray._reconstruct' for core in ('core', '_core'))
NUM_OPERANDS = {  # of operations of a pickle; None: all since the last mark
  **dict.fromkeys(('TUPLE', 'APPENDS', 'SETITEMS')),
  **dict.fromkeys(('TUPLE1', 'APPEND', 'BUILD'), 1),
  **dict.fromkeys(('TUPLE2', 'SETITEM', 'STACK_GLOBAL', 'REDUCE'), 2),
  'TUPLE3': 3,
}


@DATASETS.register('cifar10', mirrored=True)
def source(data) -> Source:
  """CIFAR-10: 50,000 training and 10,000 test images, RGB 32×32."""

  def read_raw(paths):
    return {split: read_split(batches) for split, batches in paths.items()}

  splits = tfds.load(data, find, read_raw, RAW_FILES, DOWNLOAD_URL)
  return Source(in_order_of_content(splits), CLASS_NAMES, is_mixed=True)


def find(folder: Path) -> dict[str, list[Path]] | None:
  """The five batches of 'train' and the one of 'test', Python or binary, or None.

  They are looked for in `folder`, `folder/cifar10`, and in the folders that the archives unpack to.

  Raises:
    InputError: some of the six are missing.
  """
  folders = [place / name for place in (folder, folder / 'cifar10') for name in FOLDERS]
  python = (*TRAIN_BATCHES, 'test_batch')
  paths = files.find_all(folders, python, [f'{name}.bin' for name in python])
  return paths and {'train': paths[:-1], 'test': paths[-1:]}


def read_split(paths: Sequence[Path]) -> Split:
  """Reads batches one after the other; runs nothing that a Python batch holds (see `_unpickle`).

  Args:
    paths: the batches; those that end in `.bin` are binary.

  Returns:
    Images [N, 32, 32, 3] uint8 and labels [N] int32.

  Raises:
    InputError: a batch is broken or empty, or its images and labels differ in number.
  """
  batches = [_read_binary(path) if path.suffix == '.bin' else _read_python(path) for path in paths]
  rows, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
  images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  return Split(np.ascontiguousarray(images), labels)


def _read_binary(path: Path):
  """Rows [N, 3072] and labels [N]: each image is a label byte and 3,072 pixel bytes."""
  content = files.read_bytes(path, MAX_BYTES)
  if not content or len(content) % (1 + NUM_PIXELS):
    raise InputError(
      f'{path} has {len(content):,} bytes, expected a multiple of {1 + NUM_PIXELS:,}: a label '
      'and an image each. Fetch it again.'
    )
  table = np.frombuffer(content, np.uint8).reshape(-1, 1 + NUM_PIXELS)
  return table[:, 1:], table[:, 0].astype(np.int32)


def _read_python(path: Path):
  """Rows [N, 3072] and labels [N] of a pickled dict."""
  content = files.read_bytes(path, MAX_BYTES)
  try:
    batch = _unpickle(content)
    if not isinstance(batch, dict) or not {b'data', b'labels'} <= batch.keys():
      raise ValueError("it is no dict of 'data' and 'labels'")
    rows, labels = _rows(batch[b'data']), batch[b'labels']
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
      raise ValueError("its 'labels' are no list of integers")
    if len(labels) != len(rows):
      raise ValueError(f'images and labels differ in number: {len(rows):,} and {len(labels):,}')
    return rows, np.array(labels, np.int32)
  except Exception as error:  # Random bytes raise many kinds.
    reason = str(error)[:200] or type(error).__name__
    raise InputError(f'{path} is no batch of CIFAR-10: {reason}. Fetch it again.') from error


class _Built:
  """An object that a pickle builds with one of NumPy's constructors: the call, then its state."""

  def __init__(self, constructor: str, arguments: tuple):
    self.constructor, self.arguments, self.state = constructor, arguments, None


class _Global(str):
  """The name of one of NumPy's objects."""


def _rows(data) -> np.ndarray:
  """The pickled array, uint8 [N, 3072]."""
  if not isinstance(data, _Built) or data.constructor == DTYPE or not data.state:
    raise ValueError("its 'data' is no NumPy array")
  _, shape, dtype, is_fortran, content = data.state
  if not isinstance(dtype, _Built) or dtype.arguments[0] not in ('u1', b'u1'):
    raise ValueError("its 'data' is not of dtype uint8")
  if len(shape) > 8 or not all(type(size) is int for size in shape):
    raise ValueError("its 'data' has no shape of integers")
  if len(shape) != 2 or shape[0] < 1 or shape[1] != NUM_PIXELS:
    raise ValueError(f"its 'data' has shape {shape}, expected (images, {NUM_PIXELS})")
  if not isinstance(content, bytes) or len(content) != math.prod(shape):
    raise ValueError(f"its 'data' has not the {math.prod(shape):,} bytes of shape {shape}")
  return np.frombuffer(content, np.uint8).reshape(shape, order='F' if is_fortran else 'C')


def _unpickle(content: bytes):
  """Reads a pickle of dicts, lists, strings, integers and NumPy arrays without running anything.

  pickle itself imports and calls what a file names; even without that, a short file can make it
  claim all memory or crash. So this function carries out the few operations that a batch needs:
  none calls anything, and none builds more than the file has bytes for. NumPy's objects stay as
  `_Built`.

  Raises:
    ValueError: another operation, or another object than NumPy's arrays and dtypes. Content that
      is no pickle can raise any exception.
  """
  stack, stacks_below, memo = [], [], {}

  def pop(count):
    nonlocal stack
    if count is None:
      popped, stack = stack, stacks_below.pop()
      return popped
    return [stack.pop() for _ in range(count)][::-1]

  for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
    if count >= MAX_OPCODES:
      raise ValueError(f'it has more than {MAX_OPCODES:,} operations')
    operands = pop(NUM_OPERANDS.get(opcode.name, 0))
    match opcode.name:
      case 'PROTO' | 'FRAME' | 'STOP':
        pass
      case 'BININT' | 'BININT1' | 'BININT2' | 'LONG1':
        stack.append(argument)
      case 'BINBYTES' | 'SHORT_BINBYTES' | 'BINUNICODE' | 'SHORT_BINUNICODE':
        stack.append(argument)
      case 'BINSTRING' | 'SHORT_BINSTRING':  # the str of Python 2, its bytes
        stack.append(argument.encode('latin-1'))
      case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
        stack.append({'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}[opcode.name])
      case 'EMPTY_LIST' | 'EMPTY_DICT' | 'EMPTY_TUPLE':
        stack.append({'EMPTY_LIST': [], 'EMPTY_DICT': {}, 'EMPTY_TUPLE': ()}[opcode.name])
      case 'BINPUT' | 'LONG_BINPUT' | 'MEMOIZE':
        memo[len(memo) if argument is None else argument] = stack[-1]
      case 'BINGET' | 'LONG_BINGET':
        stack.append(memo[argument])
      case 'MARK':
        stacks_below.append(stack)
        stack = []
      case 'TUPLE' | 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
        stack.append(tuple(operands))
      case 'APPEND' | 'APPENDS':
        _expect(list, stack[-1]).extend(operands)
      case 'SETITEM' | 'SETITEMS':
        for key, value in zip(operands[::2], operands[1::2], strict=True):
          # A tuple could be a key too, and a short file can build one whose hash takes for ever.
          if not isinstance(key, str | bytes):
            raise ValueError('it has a dict whose keys are no strings')
          _expect(dict, stack[-1])[key.encode() if isinstance(key, str) else key] = value
      case 'GLOBAL' | 'STACK_GLOBAL':
        name = argument.replace(' ', '.') if argument else '.'.join(operands)
        if name not in (ARRAY, DTYPE, *RECONSTRUCT):
          raise ValueError(f'it names {name[:80]!r}, which no batch needs')
        stack.append(_Global(name))
      case 'REDUCE':
        constructor, arguments = operands
        if _expect(_Global, constructor) == ARRAY:
          raise ValueError('it builds an array by another call than NumPy does')
        stack.append(_Built(constructor, _expect(tuple, arguments)))
      case 'BUILD':
        _expect(_Built, stack[-1]).state = _expect(tuple, *operands)
      case name:
        raise ValueError(f'it has the operation {name}, which no batch needs')
  (value,) = stack
  return value


def _expect(kind, value):
  if not isinstance(value, kind):
    raise ValueError(f'it has a {type(value).__name__}, expected a {kind.__name__}')
  return value
