"""The bytes in a page: programs, their constants, the kernels, and what the page shows.

A payload is gzip of MAGIC, the length of the header (uint32, little-endian), the header (JSON) and
the arrays, one after another, each at a multiple of 4 bytes. `assets/engine.js` reads it.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax.exporting.page import programs
from cvae_jax.exporting.page.functions import Function
from cvae_jax.exporting.page.lowering import lower
from cvae_jax.exporting.page.programs import Pointer, Program

MAGIC = b'cvae'
KERNELS = Path(__file__).parent / 'assets' / 'kernels.wasm'
MIN_ROUNDED = 512  # numbers; smaller constants are stored as float32
# Weights are whole multiples of their largest magnitude / 2^(BITS − 1). With 22 bits the bounds of
# the shipped mnist change by less than 0.001 nats; float16 changes them by 0.3.
BITS = 22


def pack(functions: Mapping[str, Function], info: Mapping[str, Any]) -> bytes:
  """The payload of a page.

  Args:
    functions: what it computes.
    info: what it shows: values of JSON and, at any depth, NumPy arrays.
  """
  lowered = {
    name: lower(function.call, *function.inputs.values()) for name, function in functions.items()
  }
  constants = programs.constants(list(lowered.values()))
  memory = programs.place(list(lowered.values()), constants)
  arrays = _Arrays()
  rounded = [buffer for buffer in constants if buffer.size >= MIN_ROUNDED]
  exact = [buffer for buffer in constants if buffer.size < MIN_ROUNDED]
  planes, scales = _rounded([buffer.constant for buffer in rounded])
  header = {
    'memory': memory,
    'bits': BITS,
    'kernels': arrays.add(np.frombuffer(KERNELS.read_bytes(), np.uint8)),
    'rounded': {
      'planes': arrays.add(planes),
      'places': [
        [buffer.address, buffer.size, scale] for buffer, scale in zip(rounded, scales, strict=True)
      ],
    },
    'exact': {
      'values': arrays.add(_joined([buffer.constant for buffer in exact])),
      'places': [[buffer.address, buffer.size] for buffer in exact],
    },
    'programs': {
      name: _program(program, tuple(functions[name].inputs)) for name, program in lowered.items()
    },
    'info': _stored(info, arrays),
  }
  text = json.dumps(header, separators=(',', ':'), allow_nan=False).encode()
  text += b' ' * (-len(text) % 4)
  parts = [MAGIC, np.uint32(len(text)).tobytes(), text, *arrays.parts]
  return gzip.compress(b''.join(parts), 9, mtime=0)


def _program(program: Program, names: tuple[str, ...]) -> dict[str, Any]:
  calls = [[call.kernel, *map(_argument, call.arguments)] for call in program.calls]
  inputs = zip(names, program.inputs, strict=True)
  return {
    'inputs': {name: [buffer.address, buffer.size] for name, buffer in inputs},
    'outputs': [[value.buffer.address, value.size] for value in program.outputs],
    'calls': calls,
  }


def _argument(value: Any) -> int | float:
  if isinstance(value, Pointer):
    return value.address
  return value if isinstance(value, float) else int(value)


def _rounded(constants: list[np.ndarray]) -> tuple[np.ndarray, list[float]]:
  """Constants as whole numbers of 24 bits in three planes of bytes, uint8 [3, N], and their units.

  Bytes of one significance compress better together.
  """
  scales = [float(np.abs(values).max()) / 2 ** (BITS - 1) for values in constants]
  whole = [np.rint(values / scale) for values, scale in zip(constants, scales, strict=True)]
  shifted = _joined(whole).astype(np.int64) + (1 << BITS)
  planes = np.stack([shifted >> shift & 0xFF for shift in (0, 8, 16)]).astype(np.uint8)
  return planes, scales


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
  return np.concatenate([np.zeros(0, np.float32), *arrays])


class _Arrays:
  """Arrays one after another, each known by its type, begin in bytes and shape."""

  def __init__(self):
    self.parts: list[bytes] = []
    self._end = 0

  def add(self, array: np.ndarray) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    data = array.tobytes()
    data += b'\0' * (-len(data) % 4)
    begin, self._end = self._end, self._end + len(data)
    self.parts.append(data)
    return {'array': array.dtype.name, 'begin': begin, 'size': array.size}


def _stored(value: Any, arrays: _Arrays) -> Any:
  """JSON, with references in place of arrays."""
  if isinstance(value, np.ndarray):
    return arrays.add(value)
  if isinstance(value, Mapping):
    return {name: _stored(item, arrays) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_stored(item, arrays) for item in value]
  return value
