"""Functions of JAX as lists of calls of the page's kernels (`assets/kernels.c`).

A function is traced with one example, and each operation of its jaxpr becomes one or a few calls.
What depends on weights alone is computed here, once. A reshape costs nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from cvae_jax.exporting.page.programs import Buffer, Call, Pointer, Program, Value
from cvae_jax.exporting.page.rules import RULES, broadcast, contiguous, move_arguments
from cvae_jax.runtime.errors import InputError

_CALLS = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')  # parameters with a function that is called as it is
_INLINED = {
  'jit', 'pjit', 'closed_call', 'core_call', 'custom_jvp_call', 'custom_vjp_call', 'remat',
  'checkpoint', 'remat2', 'custom_vjp_call_jaxpr',
}  # fmt: skip


def lower(function: Callable, *examples: jax.ShapeDtypeStruct | np.ndarray) -> Program:
  """The program of a function of arrays, for arguments like `examples`.

  Raises:
    InputError: the function has an operation without a kernel; the message names it.
  """
  closed = jax.make_jaxpr(function)(*examples)
  builder = _Builder()
  inputs = [builder.new(example.shape) for example in examples]
  outputs = builder.run(closed.jaxpr, closed.consts, inputs)
  outputs = [builder.full(builder.value(output)) for output in outputs]
  needed = {value.buffer for value in outputs}
  calls = []
  for call in reversed(builder.calls):
    if call.writes in needed:
      needed.update(call.reads)
      calls.append(call)
  return Program(calls[::-1], [value.buffer for value in inputs], outputs)


class _Builder:
  """Collects the calls of one program. An array is a `Value`, or NumPy's if it is constant."""

  def __init__(self):
    self.calls: list[Call] = []

  def run(self, jaxpr, consts, inputs) -> list[Any]:
    known = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    known |= zip(jaxpr.invars, inputs, strict=True)
    for equation in jaxpr.eqns:
      arguments = [
        np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]
        for atom in equation.invars
      ]
      results = self._apply(equation, arguments)
      known |= zip(equation.outvars, results, strict=True)
    return [
      np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]
      for atom in jaxpr.outvars
    ]

  def _apply(self, equation, arguments) -> Sequence[Any]:
    name, parameters = equation.primitive.name, equation.params
    if name in _INLINED:
      inner = next(parameters[key] for key in _CALLS if key in parameters)
      if isinstance(inner, core.ClosedJaxpr):
        return self.run(inner.jaxpr, inner.consts, arguments)
      return self.run(inner, (), arguments)
    if not any(isinstance(argument, Value) for argument in arguments):
      with jax.ensure_compile_time_eval():
        results = equation.primitive.bind(*arguments, **parameters)
      results = results if equation.primitive.multiple_results else [results]
      return [np.asarray(result) for result in results]
    if name not in RULES:
      raise InputError(
        f'The model computes with the operation {name!r}, which the page cannot: it knows those of '
        'the networks and priors that ship. Export with --format=stablehlo.'
      )
    output = equation.outvars[0].aval
    result = RULES[name](self, [*map(self.value, arguments)], output, parameters)
    return result if isinstance(result, list) else [result]

  def value(self, array: Any) -> Value:
    """A value, also of a constant."""
    if isinstance(array, Value):
      return array
    array = np.asarray(array)
    stored = np.float32(array).ravel()
    if stored.size and (stored == stored[0]).all():
      stored = stored[:1]
    return Value(Buffer(stored.size, np.ascontiguousarray(stored)), array.shape, stored.size)

  def new(self, shape: Sequence[int]) -> Value:
    """A new value, to be written."""
    size = math.prod(shape)
    return Value(Buffer(size), tuple(shape), size)

  def call(self, kernel: str, arguments, reads: Sequence[Value], into: Value, in_place=False):
    """Adds a call."""
    buffers = tuple(value.buffer for value in reads)
    self.calls.append(Call(kernel, tuple(arguments), buffers, into.buffer, in_place))

  def map(self, kernel: str, value: Value) -> Value:
    """A kernel of one value."""
    result = Value(Buffer(value.stored), value.shape, value.stored)
    arguments = Pointer(value.buffer), Pointer(result.buffer), value.stored
    self.call(kernel, arguments, [value], result, in_place=True)
    return result

  def map2(self, kernel: str, first: Value, second: Value, shape: Sequence[int]) -> Value:
    """A kernel of two values, scalars or of as many axes as `shape`, of the same size or of 1."""
    first, second = (
      value if value.size == 1 else broadcast(self, value, shape, range(len(shape)))
      for value in (first, second)
    )
    stored = max(first.stored, second.stored)
    result = Value(Buffer(stored), tuple(shape), stored)
    operands = Pointer(first.buffer), first.stored, Pointer(second.buffer), second.stored
    arguments = *operands, Pointer(result.buffer), stored
    self.call(kernel, arguments, [first, second], result, in_place=True)
    return result

  def full(self, value: Value) -> Value:
    """The value with all its numbers stored."""
    if value.stored == value.size:
      return value
    result = self.new(value.shape)
    repeats = value.size // value.stored
    self.move(value, result, (repeats, value.stored), (0, 1), (value.stored, 1))
    return result

  def move(self, source: Value, target: Value, shape, from_strides, to_strides, begins=(0, 0)):
    """target[Σ i t] = source[Σ i s], with the axes of `shape` merged where they can be."""
    axes = [axis for axis in zip(shape, from_strides, to_strides, strict=True) if axis[0] != 1]
    merged = []
    for size, step_from, step_to in axes:
      if merged and merged[-1][1:] == (size * step_from, size * step_to):
        size *= merged.pop()[0]
      merged.append((size, step_from, step_to))
    pointers = Pointer(source.buffer, begins[0]), Pointer(target.buffer, begins[1])
    self.call('move', (*pointers, *move_arguments(merged)), [source], target)

  def arranged(self, value: Value, permutation: Sequence[int]) -> Value:
    """The value with its axes permuted."""
    value = self.full(value)
    shape = [value.shape[axis] for axis in permutation]
    if [axis for axis in permutation if value.shape[axis] > 1] == [
      axis for axis in range(len(shape)) if value.shape[axis] > 1
    ]:
      return value._replace(shape=tuple(shape))
    strides = contiguous(value.shape)
    result = self.new(shape)
    self.move(value, result, shape, [strides[axis] for axis in permutation], contiguous(shape))
    return result
