"""ONNX: encoder, decoder and prior for onnxruntime and everything else that reads it."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from cvae_jax.exporting import checking, description, folders, functions
from cvae_jax.exporting.functions import Function
from cvae_jax.inference.model import Model
from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError

OPSET = 18  # of ONNX 1.13, December 2022: not only the newest runtimes read it
NAMES = ('encoder.onnx', 'decoder.onnx', 'prior.onnx')
LIBRARIES = ('jax2onnx', 'onnx', 'onnxruntime')


def write(model: Model, output: Path, data_dir: str | None = None) -> None:
  """Writes a folder of ONNX files, each checked in onnxruntime.

  Args:
    model: the model.
    output: the folder.
    data_dir: not used.

  Raises:
    InputError: a library is missing, an operation cannot be converted, results differ from JAX's,
      or the folder cannot be written.
  """
  if not libraries.installed(*LIBRARIES):
    raise InputError(
      f'ONNX files need {", ".join(LIBRARIES)}: install them with `make export-tools`.'
    )
  described = description.describe(model)
  with folders.whole(output, NAMES) as folder:
    own = functions.functions_of(model, functions.network_of(model))
    expected = checking.cases(model, own)
    for function in functions.functions_of(model):
      content = _converted(function, described)
      run = _session(function, content)
      difference = checking.largest_difference(function, expected[function.name], run)
      (folder / f'{function.name}.onnx').write_bytes(content)
      print(f'{function.name}.onnx: {checking.text(len(content), difference)}')
  if not model.has_prior:
    print('No prior.onnx: the latents of a denoising autoencoder have no distribution.')


def _converted(function: Function, described: Mapping[str, Any]) -> bytes:
  """The function as a model of ONNX."""
  import onnx  # late, as jax2onnx: a second
  from jax2onnx import to_onnx

  inputs = [jax.ShapeDtypeStruct(('N', *each.shape), each.dtype) for each in function.inputs]
  try:
    # jax2onnx promotes ranks, e.g. of the bias of a convolution.
    with _quiet(), jax.numpy_rank_promotion('allow'):
      converted = to_onnx(
        function.call,
        inputs,
        model_name=function.name,
        opset=OPSET,
        input_names=[each.name for each in function.inputs],
        output_names=[each.name for each in function.outputs],
      )
  except Exception as error:  # whatever jax2onnx raises for an operation that it lacks
    raise InputError(
      f'The {function.name} cannot be converted to ONNX: {_reason(error)} Choose another format.'
    ) from error
  converted.ir_version = onnx.helper.find_min_ir_version_for(converted.opset_import)
  notes = dict(described) | {'function': function.name} | description.arguments(function)
  onnx.helper.set_model_props(converted, {key: _text(value) for key, value in notes.items()})
  onnx.checker.check_model(converted)
  return converted.SerializeToString()


def _text(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _reason(error: Exception) -> str:
  if match := re.search(r"primitive '([^']+)'", str(error)):
    return f'jax2onnx does not know the operation {match[1]!r}.'
  first = (str(error).strip().splitlines() or ['no reason given'])[0]
  return f'{type(error).__name__}: {first[:150].rstrip(".")}.'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without the log of jax2onnx, which has a traceback for each library that is not installed."""
  level = logging.root.manager.disable
  logging.disable(logging.ERROR)
  try:
    yield
  finally:
    logging.disable(level)


def _session(function: Function, content: bytes):
  """The function in onnxruntime, from arrays in the order of its inputs."""
  import onnxruntime

  session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
  names = [each.name for each in function.inputs]
  return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))
