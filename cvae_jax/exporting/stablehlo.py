"""StableHLO: encoder, decoder and prior for JAX alone, without the code of this package."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from jax import export

from cvae_jax.exporting import checking, description, folders, functions
from cvae_jax.exporting.checking import Arrays
from cvae_jax.exporting.functions import Function
from cvae_jax.inference.model import Model
from cvae_jax.runtime.errors import InputError

METADATA = 'metadata.json'
NAMES = ('encoder.stablehlo', 'decoder.stablehlo', 'prior.stablehlo', METADATA)
PLATFORMS = ('cpu', 'cuda', 'tpu')
# https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees
GUARANTEE = (
  f'jax.export guarantees that releases of JAX load these files which are up to 6 months newer '
  f'than jax {jax.__version__}, or up to 3 weeks older; what counts is when they were released.'
)
# A process that knows JAX and NumPy alone. Arrays are named <function>/<batch>/<number>.
LOADED = """
import pathlib, sys
import jax, numpy as np
folder, given, results = map(pathlib.Path, sys.argv[1:])
inputs, outputs = dict(np.load(given)), {}
for call in sorted({name.rpartition('/')[0] for name in inputs}):
  data = (folder / f"{call.partition('/')[0]}.stablehlo").read_bytes()
  arrays = [inputs[name] for name in sorted(inputs) if name.startswith(f'{call}/')]
  for number, array in enumerate(jax.export.deserialize(bytearray(data)).call(*arrays)):
    outputs[f'{call}/{number}'] = array
np.savez(results, **outputs)
"""


def write(model: Model, output: Path, data_dir: str | None = None) -> None:
  """Writes a folder of `jax.export` artifacts, each loaded in a process of its own.

  Args:
    model: the model.
    output: the folder.
    data_dir: not used.

  Raises:
    InputError: an operation cannot be exported for a batch of any size, results differ from JAX's,
      or the folder cannot be written.
  """
  exported = functions.functions_of(model)
  with folders.whole(output, NAMES) as folder:
    for function in exported:
      (folder / f'{function.name}.stablehlo').write_bytes(_serialized(function))
    own = functions.functions_of(model, functions.network_of(model))
    expected = checking.cases(model, own)
    loaded = _in_a_fresh_process(folder, expected)
    for function in exported:
      run = iter(loaded[function.name])
      difference = checking.largest_difference(
        function, expected[function.name], lambda _, run=run: next(run)
      )
      path = folder / f'{function.name}.stablehlo'
      print(f'{path.name}: {checking.text(path.stat().st_size, difference)}')
    described = description.describe(model) | {
      'functions': {each.name: description.arguments(each) for each in exported},
      'jax': jax.__version__,
      'platforms': list(PLATFORMS),
      'loads': GUARANTEE,
    }
    text = json.dumps(described, indent=2, ensure_ascii=False) + '\n'
    (folder / METADATA).write_text(text, encoding='utf-8')
  if not model.has_prior:
    print('No prior.stablehlo: the latents of a denoising autoencoder have no distribution.')
  print(GUARANTEE)


def _serialized(function: Function) -> bytes:
  (batch,) = export.symbolic_shape('N')
  inputs = [jax.ShapeDtypeStruct((batch, *each.shape), each.dtype) for each in function.inputs]
  try:
    return bytes(export.export(jax.jit(function.call), platforms=PLATFORMS)(*inputs).serialize())
  except Exception as error:  # whatever a network of the user's raises for a batch of any size
    first = (str(error).strip().splitlines() or ['no reason given'])[0]
    raise InputError(
      f'The {function.name} cannot be exported for batches of any size: '
      f'{type(error).__name__}: {first[:200].rstrip(".")}. Choose another format.'
    ) from error


def _in_a_fresh_process(folder: Path, expected: dict[str, list]) -> dict[str, list[Arrays]]:
  """What the files in a folder give, by the function, for the batches of `checking.cases`."""
  with tempfile.TemporaryDirectory() as temporary:
    given, results = Path(temporary, 'given.npz'), Path(temporary, 'results.npz')
    named = {
      f'{name}/{batch}/{number}': array
      for name, batches in expected.items()
      for batch, (inputs, _) in enumerate(batches)
      for number, array in enumerate(inputs)
    }
    np.savez(given, **named)
    done = subprocess.run(
      [sys.executable, '-c', LOADED, folder, given, results],
      # On the CPU: a second process finds no memory on an accelerator.
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      last = (done.stderr.strip().splitlines() or ['no reason given'])[-1]
      raise InputError(f'The files cannot be loaded in a process of their own: {last[:200]}')
    with np.load(results) as file:
      found = dict(file)
  return {
    name: [
      [found[key] for key in sorted(found) if key.startswith(f'{name}/{batch}/')]
      for batch in range(len(batches))
    ]
    for name, batches in expected.items()
  }
