"""Writes a trained model as one HTML file."""

import base64
import html
import json
from pathlib import Path

import cvae_jax
from cvae_jax.exporting.page import facts, functions, payload
from cvae_jax.inference.model import Model
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

ASSETS = Path(__file__).parent / 'assets'


def write(model: Model, output: Path, data_dir: str | None = None) -> None:
  """Writes a page that draws, reads and shows with a model, without a server or a connection.

  Args:
    model: a generative one, of images with 1 or 3 channels.
    output: the file.
    data_dir: folder of its data; None is that of the training. Without data the page has samples.

  Raises:
    InputError: a page cannot hold the model, or the file cannot be written.
  """
  model.prior.check_exists()
  if (channels := model.image_shape[-1]) not in (1, 3):
    raise InputError(
      f'A page shows images of 1 or 3 channels, and those of this model have {channels}. Export it '
      'with --format=onnx.'
    )
  programs = functions.functions_of(model)
  with paths.writing(output, 'Name another --output.'):
    page = build(payload.pack(programs, facts.info(model, data_dir)), model.folder.absolute().name)
    paths.write(output, page)
  print(f'{output.stat().st_size / 1e6:.2f} MB')


def build(packed: bytes, name: str) -> str:
  """The text of a page.

  Args:
    packed: by `payload.pack`.
    name: of the model.
  """
  read = lambda name: (ASSETS / name).read_text('utf-8')  # noqa: E731
  modules = {
    path.stem: f'data:text/javascript;base64,{_base64(path.read_bytes())}'
    for path in sorted(ASSETS.glob('*.js'))
    if path.name != 'engine.js'
  }
  parts = {
    '__TITLE__': html.escape(f'{name} · cvae_jax {cvae_jax.__version__}'),
    '/*__CSS__*/': read('page.css'),
    '__ENGINE__': read('engine.js'),
    '__IMPORTMAP__': json.dumps({'imports': modules}),
    '__MODEL__': _base64(packed),
  }
  page = read('index.html')
  for place, text in parts.items():
    page = page.replace(place, text)
  return page


def _base64(data: bytes) -> str:
  return base64.b64encode(data).decode('ascii')
