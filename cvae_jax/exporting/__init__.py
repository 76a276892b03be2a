"""Trained models as files for other programs; each format has a module with a function `write`."""

import importlib
from pathlib import Path

from cvae_jax.inference.model import Model
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

# Modules of this room, imported late: some need libraries that training does not.
MODULES = {'html': 'page.html', 'onnx': 'onnx_files', 'stablehlo': 'stablehlo', 'hub': 'hub'}


def write(model: Model, kind: str, output: Path | None = None, data_dir: str | None = None) -> Path:
  """Writes a model in one format; returns the file or folder.

  Args:
    model: a trained one.
    kind: 'html', 'onnx', 'stablehlo' or 'hub'.
    output: what to write; None is in `export/` of the model's folder.
    data_dir: of the data that a page shows, if it is not that of the training.

  Raises:
    InputError: the format cannot hold this model, a library is missing, or `output` cannot be
      written.
  """
  if model.prior.flow is not None:
    first = paths.quoted(model.folder / 'first_stage')
    where = f', with --workdir={first}' if (model.folder / 'first_stage').is_dir() else ''
    raise InputError(
      f'{model.folder} is a second stage, which no format holds yet: export its first stage{where}.'
    )
  output = default_output(model, kind) if output is None else output
  importlib.import_module(f'{__name__}.{MODULES[kind]}').write(model, output, data_dir)
  return output


def default_output(model: Model, kind: str) -> Path:
  """`export/mnist.html` in the model's folder, or `export/onnx` and the like."""
  name = (
    f'{model.folder.absolute().name}{model.suffix}.html'
    if kind == 'html'
    else f'{kind}{model.suffix}'
  )
  return model.folder / 'export' / name
