"""Writes a model in a format, by the format's name."""

import importlib
from pathlib import Path

from cvae_jax import exporting
from cvae_jax.inference.model import Model


def write(model: Model, kind: str, output: Path | None = None, data_dir: str | None = None) -> Path:
  """Writes a model in one format; returns the file or folder.

  Args:
    model: a trained one.
    kind: one of `exporting.FORMATS`.
    output: what to write; None is in `export/` of the model's folder.
    data_dir: of the data that a page shows, if it is not that of the training.

  Raises:
    InputError: the format cannot hold this model, a library is missing, or `output` cannot be
      written.
  """
  output = default_output(model, kind) if output is None else output
  # Late: some need libraries that training does not.
  module = importlib.import_module(f'{exporting.__name__}.{exporting.FORMATS[kind]}')
  module.write(model, output, data_dir)
  return output


def default_output(model: Model, kind: str) -> Path:
  """`export/mnist.html` in the model's folder, or `export/onnx` and the like."""
  if kind == 'html':
    name = f'{model.folder.absolute().name}{model.suffix}.html'
  else:
    name = f'{kind}{model.suffix}'
  return model.folder / 'export' / name
