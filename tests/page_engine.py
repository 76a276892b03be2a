"""Runs the programs of a page as its worker does, with the same kernels, outside of a browser."""

import gzip
import json

import numpy as np
import wasmtime


class Engine:
  """The model of a payload; see `cvae_jax.exporting.page.payload`."""

  def __init__(self, payload: bytes):
    data = gzip.decompress(payload)
    assert data[:4] == b'cvae'
    length = int.from_bytes(data[4:8], 'little')
    self.header, self._arrays = json.loads(data[8 : 8 + length]), data[8 + length :]
    self._store = wasmtime.Store()
    module = wasmtime.Module(self._store.engine, self._array(self.header['kernels']).tobytes())
    self._kernels = wasmtime.Instance(self._store, module, []).exports(self._store)
    assert self._kernels['__heap_base'].value(self._store) <= 1 << 17
    memory = self._kernels['memory']
    memory.grow(self._store, max(0, -(-self.header['memory'] // 65536) - memory.size(self._store)))
    self._memory = memory
    self._fill()

  def _array(self, at: dict) -> np.ndarray:
    return np.frombuffer(self._arrays, at['array'], at['size'], at['begin'])

  def _fill(self) -> None:
    planes = self._array(self.header['rounded']['planes']).reshape(3, -1).astype(np.int64)
    whole = (planes * [[1], [1 << 8], [1 << 16]]).sum(axis=0) - (1 << self.header['bits'])
    for address, size, unit in self.header['rounded']['places']:
      self._write(address, whole[:size] * unit)
      whole = whole[size:]
    exact = self._array(self.header['exact']['values'])
    for address, size in self.header['exact']['places']:
      self._write(address, exact[:size])
      exact = exact[size:]

  def _write(self, address: int, values: np.ndarray) -> None:
    self._memory.write(self._store, np.float32(values).tobytes(), address)

  def run(self, name: str, **inputs) -> list[np.ndarray]:
    program = self.header['programs'][name]
    for key, (address, size) in program['inputs'].items():
      values = np.ravel(inputs[key])
      assert values.size == size
      self._write(address, values)
    for kernel, *values in program['calls']:
      if kernel == 'gather':
        source, target, *rest = values
        places = zip(rest[15::3], rest[16::3], rest[17::3], strict=True)
        offset = sum(self._kernels['place'](self._store, *place) for place in places)
        kernel, values = 'move', [source + 4 * offset, target, *rest[:15]]
      self._kernels[kernel](self._store, *values)
    read = lambda address, size: self._memory.read(self._store, address, address + 4 * size)  # noqa: E731
    return [np.frombuffer(read(*output), np.float32) for output in program['outputs']]
