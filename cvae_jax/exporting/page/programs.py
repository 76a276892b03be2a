"""Programs for the page's kernels: calls, the memory they work on, and where each array lies.

All arrays are float32 and contiguous. A value that is repeated over leading axes is stored once.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

BASE = 1 << 17  # bytes; below it lies what the kernels need for themselves
ALIGNMENT = 16  # bytes


@dataclasses.dataclass(eq=False)
class Buffer:
  """A piece of memory. `address` is in bytes and known at the end; `constant` holds its values."""

  size: int  # numbers
  constant: np.ndarray | None = None
  address: int = -1


class Value(NamedTuple):
  """An array: the first numbers of a buffer, repeated where `stored` is less than its size."""

  buffer: Buffer
  shape: tuple[int, ...]
  stored: int

  @property
  def size(self) -> int:
    """How many numbers the array has."""
    return math.prod(self.shape)


class Pointer(NamedTuple):
  """A place in a buffer, `offset` numbers from its begin."""

  buffer: Buffer
  offset: int = 0

  @property
  def address(self) -> int:
    """In bytes, once the buffer has its place."""
    return self.buffer.address + 4 * self.offset


class Call(NamedTuple):
  """A call of a kernel with pointers and numbers."""

  kernel: str
  arguments: tuple[Any, ...]
  reads: tuple[Buffer, ...]
  writes: Buffer
  in_place: bool = False  # whether it may write what it reads


class Program(NamedTuple):
  """A lowered function."""

  calls: list[Call]
  inputs: list[Buffer]
  outputs: list[Value]


def constants(programs: Sequence[Program]) -> list[Buffer]:
  """The buffers with constants, equal ones made the same; in order of their first use."""
  first: dict[Any, Buffer] = {}
  for program in programs:
    for place, call in enumerate(program.calls):
      program.calls[place] = call._replace(
        arguments=tuple(_unique(argument, first) for argument in call.arguments),
        reads=tuple(_unique(buffer, first) for buffer in call.reads),
      )
    program.outputs[:] = [
      value._replace(buffer=_unique(value.buffer, first)) for value in program.outputs
    ]
  return list(first.values())


def _unique(argument, first: dict) -> Any:
  if isinstance(argument, Pointer):
    return argument._replace(buffer=_unique(argument.buffer, first))
  if not isinstance(argument, Buffer) or argument.constant is None:
    return argument
  return first.setdefault(argument.constant.tobytes(), argument)


def place(programs: Sequence[Program], constants: Sequence[Buffer]) -> int:
  """Gives every buffer its address; returns the end of the memory, in bytes.

  Constants have places of their own. The programs share the rest, one after another, and within a
  program a buffer's place is free again after its last use.
  """
  end = BASE
  for buffer in constants:
    buffer.address, end = end, end + _bytes(buffer)
  return max((_place(program, end) for program in programs), default=end)


def _place(program: Program, base: int) -> int:
  last_use = {}
  for number, call in enumerate(program.calls):
    last_use |= dict.fromkeys((*call.reads, call.writes), number)
  last_use |= dict.fromkeys((value.buffer for value in program.outputs), len(program.calls))
  heap = _Heap(base)
  for buffer in program.inputs:
    heap.take(buffer)
  for number, call in enumerate(program.calls):
    used = {buffer for buffer in (*call.reads, call.writes) if last_use[buffer] == number}
    ended = [buffer for buffer in used if buffer.constant is None]
    before = [b for b in ended if call.in_place and b.size == call.writes.size]
    for buffer in before:
      heap.free(buffer)
    if call.writes.address < 0:
      heap.take(call.writes)
    for buffer in ended:
      if buffer not in before:
        heap.free(buffer)
  return heap.end


class _Heap:
  """Places for buffers, first fit."""

  def __init__(self, base: int):
    self.end = self._base = base
    self._taken: list[tuple[int, int]] = []  # of the buffers in use, sorted

  def take(self, buffer: Buffer) -> None:
    begin, size = self._base, _bytes(buffer)
    for taken, end in self._taken:
      if begin + size <= taken:
        break
      begin = end
    buffer.address = begin
    self._taken = sorted([*self._taken, (begin, begin + size)])
    self.end = max(self.end, begin + size)

  def free(self, buffer: Buffer) -> None:
    self._taken.remove((buffer.address, buffer.address + _bytes(buffer)))


def _bytes(buffer: Buffer) -> int:
  return -(-4 * max(buffer.size, 1) // ALIGNMENT) * ALIGNMENT
