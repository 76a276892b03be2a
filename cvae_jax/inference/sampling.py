"""What sample.py is asked for: a mode, what it begins with, and the file it ends in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.inference import drawings, prediction
from cvae_jax.inference import latent_prior as trained_priors
from cvae_jax.inference.drawings import Drawing, Inputs
from cvae_jax.inference.model import Model
from cvae_jax.plots import grids
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

# The flags that each mode heeds, besides those about the model and the file.
IMAGES = ('images', 'indices', 'split', 'data_dir', 'label')
DRAWN = ('temperature', 'seed')
MODES: dict[str, tuple[str, ...]] = {
  'prior': ('label', 'num_images', 'draw', 'prior', *DRAWN),
  'posterior': (*IMAGES, 'num_draws', *DRAWN),
  'reconstruct': IMAGES,
  'interpolate': (*IMAGES, 'interpolation', 'num_images', 'prior', *DRAWN),
  'traverse': (*IMAGES, 'prior'),
  'arithmetic': IMAGES,
  'manifold': ('label', 'dims', 'prior'),
  'style': (*IMAGES, 'num_images', 'prior', *DRAWN),
}
ANIMATED = ('interpolate', 'traverse')
FORMATS = ('png', 'npz', 'gif')
MAX_IMAGES = 1_000  # to begin with
CLASS_MEAN_IMAGES = 500  # of a class
SHOWN_NAME = 24  # characters of a picture's name
MAX_NAME = 112  # of a file
MAX_PIXELS = 20_000_000  # of all images of one picture


class Request(NamedTuple):
  """The flags of sample.py; None is one that was not given."""

  mode: str = 'prior'
  label: list[str] | None = None  # names or numbers of classes
  images: list[str] | None = None  # picture files, or folders of them
  indices: list[str] | None = None  # numbers in the split
  split: str | None = None
  data_dir: str | None = None
  num_images: int | None = None
  num_draws: int | None = None
  interpolation: str | None = None
  dims: list[str] | None = None
  temperature: float | None = None
  seed: int | None = None
  draw: bool | None = None
  prior: str | None = None  # 'fitted' or 'model'
  format: str = 'png'

  @property
  def options(self) -> Mapping[str, object]:
    """What was given of the flags that not every mode heeds."""
    others = {
      name: value for name, value in self._asdict().items() if name not in ('mode', 'format')
    }
    return {
      name: value for name, value in others.items() if value is not None and value is not False
    }


def format_of(given: str | None, output: Path | None) -> str:
  """The format that --format or the end of --output names; png without either.

  Raises:
    InputError: they name different ones, or --output none.
  """
  suffix = '' if output is None else output.suffix.lower().removeprefix('.')
  if output is not None and suffix not in FORMATS:
    raise InputError(f'--output={output} does not end in .{given or "png"}.')
  if given and suffix and given != suffix:
    raise InputError(f'--output={output} does not end in .{given}, as --format={given} asks.')
  return given or suffix or 'png'


def check(request: Request) -> None:
  """Raises InputError for a combination of flags that has no meaning."""
  mode = request.mode
  for flag in request.options:
    if flag not in MODES[mode]:
      heeding = ', '.join(other for other, heeded in MODES.items() if flag in heeded)
      raise InputError(f'--{flag} means nothing to --mode={mode}: it is for {heeding}.')
  for flag in ('label', 'images', 'indices', 'dims'):
    value = getattr(request, flag)
    if value is not None and not all(text.strip() for text in value or ['']):
      raise InputError(f'--{flag} is empty, or a part of it is.')
  has_images = bool(request.images or request.indices)
  if mode in ('interpolate', 'style'):
    unheeded = ('num_images', 'prior', *DRAWN) if has_images else ('interpolation',)
    for flag in set(unheeded) & set(request.options):
      state = 'with images' if has_images else 'between classes'
      raise InputError(f'--{flag} means nothing to --mode={mode} {state}: leave it out.')
  if request.images and request.indices:
    raise InputError('--images and --indices both name images to begin with: give one of them.')
  from_set = request.indices or (mode == 'arithmetic' and not request.images)
  for flag in ('split', 'data_dir'):
    if getattr(request, flag) is not None and not from_set:
      raise InputError(f'--{flag} is about images of a set: name them with --indices.')
  if request.temperature is not None:
    trained_priors.check_temperature(request.temperature)
  if request.format == 'gif' and mode not in ANIMATED:
    raise InputError(f'--format=gif animates {" and ".join(ANIMATED)}, not {mode}.')


def draw(model: Model, request: Request) -> Drawing:
  """What the request asks for.

  Raises:
    InputError: the model cannot do that, or there are no such images.
  """
  temperature = 1.0 if request.temperature is None else request.temperature
  seed = request.seed or 0
  mode = request.mode
  has_images = bool(request.images or request.indices)
  # For images the classes are read with them, one for each.
  labels = None if request.label is None else [model.label(text) for text in request.label]
  if mode == 'prior':
    return _prior(model, request, labels, temperature, seed)
  if mode == 'interpolate' and not has_images:
    if labels is None or len(labels) != 2:
      raise InputError(
        '--mode=interpolate needs images (--images A.png B.png, --indices 0,1) or two classes '
        '(--label 3,8).'
      )
    count = request.num_images or 4
    _check_size(request.format, count * drawings.NUM_STEPS, model.image_shape)
    return drawings.interpolate_classes(
      model, tuple(labels), count, temperature, seed, request.prior
    )
  if mode == 'arithmetic' and not has_images:
    return _class_arithmetic(model, request, labels)
  if mode == 'style' and not has_images:
    if labels is not None:
      raise InputError(
        '--mode=style draws all classes: leave out --label, or name images with --images or '
        '--indices.'
      )
    count = request.num_images or 10
    _check_size(request.format, count * len(model.class_names), model.image_shape)
    styles = model.draw_styles(count, temperature, seed, request.prior)
    source = model.priors.describe(request.prior, temperature)
    return drawings.style(model, styles, drawn_from=source)
  if mode == 'manifold':
    dimensions = _dimensions(request.dims)
    return drawings.manifold(model, dimensions, _one_label(model, labels), request.prior)
  if mode == 'traverse' and not has_images:
    return drawings.traverse(model, None, _one_label(model, labels), source=request.prior)

  inputs = _inputs(model, request, labels)
  if mode == 'posterior':
    count = request.num_draws or 8
    _check_size(request.format, len(inputs.images) * (count + 1), model.image_shape)
    return drawings.posterior(model, inputs, count, temperature, seed)
  if mode == 'reconstruct':
    return drawings.reconstruct(model, inputs)
  if mode == 'interpolate':
    return drawings.interpolate_images(model, inputs, request.interpolation or 'linear')
  if mode == 'style':
    return drawings.restyle(model, inputs)
  mean, _ = model.encode(inputs.images, inputs.labels)
  if mode == 'traverse':
    if len(mean) != 1:
      raise InputError(f'--mode=traverse begins with one image, not {len(mean)}.')
    label = None if inputs.labels is None else inputs.labels[0]
    return drawings.traverse(model, mean[0], label, source=request.prior)
  if len(mean) != 3:
    raise InputError(f'--mode=arithmetic is a − b + c: give three images, not {len(mean)}.')
  return drawings.arithmetic(model, inputs, mean)


def _prior(model, request, labels, temperature, seed) -> Drawing:
  if labels is None and model.conditional:
    labels = list(range(len(model.class_names)))
  count = request.num_images or (10 if labels is not None and len(labels) > 1 else 64)
  _check_size(request.format, count * len(labels or [0]), model.image_shape)
  return drawings.prior(model, labels, count, temperature, seed, bool(request.draw), request.prior)


def _check_size(form: str, count: int, shape: tuple[int, ...]) -> None:
  """Raises InputError where so many images make no picture."""
  if form == 'png' and count * shape[0] * shape[1] > MAX_PIXELS:
    raise InputError(
      f'{count:,} images of {shape[0]}×{shape[1]} are too many for one picture: draw fewer, or '
      'take --format=npz.'
    )


def _class_arithmetic(model: Model, request: Request, labels) -> Drawing:
  if request.label is None or len(request.label) != 3:
    raise InputError(
      '--mode=arithmetic is a − b + c: give three images (--images A B C, --indices 0,1,2) or the '
      'means of three classes (--label 3,8,5).'
    )
  part = _split(model, request)
  chosen = []
  for label in labels:
    rows = np.flatnonzero(part.labels == label)[:CLASS_MEAN_IMAGES]
    if not len(rows):
      raise InputError(f'The split has no image of class {model.class_names[label]}.')
    inputs = drawings.of_set(model, part, rows)
    chosen.append(model.encode(inputs.images, inputs.labels)[0].mean(axis=0))
  latents, labels = np.stack(chosen), np.array(labels, np.int32)
  names = tuple(model.class_names[label] for label in labels)
  operands = Inputs(model.decode(latents, labels), labels, names)
  return drawings.arithmetic(model, operands, latents)


def _inputs(model: Model, request: Request, labels: list[int] | None) -> Inputs:
  if not (request.images or request.indices):
    raise InputError(
      f'--mode={request.mode} needs images to begin with: --images PATH..., or --indices 0,1,2 of '
      "the model's own set."
    )
  if request.indices:
    inputs = drawings.of_set(model, _split(model, request), _integers('indices', request.indices))
  else:
    inputs = _pictures(model, request.images, found=labels is None)
  if labels is None:
    return inputs
  count = len(inputs.images)
  if len(labels) not in (1, count):
    raise InputError(f'{len(labels)} classes are named for {count} images: give one, or {count}.')
  return inputs._replace(labels=np.resize(np.array(labels, np.int32), count))


def _pictures(model: Model, given: list[str], found: bool) -> Inputs:
  """Picture files; `found` asks a conditional model for their classes."""
  files: list[Path] = []
  for text in given:
    path = paths.from_user(text)
    files += prediction.find_pictures(path) if path.is_dir() else [path]
  if len(files) > MAX_IMAGES:
    raise InputError(f'{len(files):,} pictures are more than the {MAX_IMAGES:,} that can be shown.')
  images, _ = prediction.read_pictures(model, files, skip_broken=False)
  labelled = prediction.find_labels(model, images) if found else None
  if labelled is not None:
    for path, label, share in zip(files, *labelled, strict=True):
      print(f'{path.name}: taken for {model.class_names[label]} (p = {share:.2f})')
  return Inputs(
    images.astype(np.float32) / 255,
    None if labelled is None else labelled.labels,
    tuple(path.stem[:SHOWN_NAME] for path in files),
  )


def _split(model: Model, request: Request):
  return getattr(model.data(request.data_dir), request.split or 'test')


def _one_label(model: Model, labels: list[int] | None) -> int | None:
  if labels is not None and len(labels) > 1:
    raise InputError(f'{len(labels)} classes are named, expected one.')
  if labels is None:
    return 0 if model.conditional else None
  return labels[0]


def _integers(flag: str, texts: list[str]) -> list[int]:
  for text in texts:
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text) < 10):
      raise InputError(f'--{flag}={",".join(texts)} are not numbers like 0,1,2.')
  return [int(text) for text in texts]


def _dimensions(texts: list[str] | None) -> tuple[int, int] | None:
  if texts is None:
    return None
  numbers = _integers('dims', texts)
  if len(numbers) != 2 or numbers[0] == numbers[1]:
    raise InputError(f'--dims={",".join(texts)} are not two different dimensions like 0,1.')
  return numbers[0], numbers[1]


def file_name(request: Request, model: Model) -> str:
  """What the file is called where --output does not say: the mode, and what differs from usual.

  That is a picture of the best checkpoint, where no other was asked for.
  """
  parts = [] if request.mode == 'prior' else [request.mode]
  if request.label is not None:
    parts.append('-'.join(request.label))
  elif request.mode == 'prior':
    parts.append('all')
  if request.indices:
    parts.append('i' + '-'.join(request.indices))
  if request.images:
    # Names of files in other folders may be the same.
    files = [Path(path) for path in request.images]
    parts += [*(path.stem for path in files[:3])]
    parts.append(paths.digest(*(str(path.resolve()) for path in files)))
  if request.split:
    parts.append(request.split)
  begins = bool(request.indices or request.images)
  draws = not (begins and request.mode in ('interpolate', 'style'))
  if draws and 'seed' in MODES[request.mode]:
    parts.append(f'seed{request.seed or 0}')
  short = {'num_images': 'n', 'num_draws': 'draws', 'temperature': 't'}
  for name, letter in short.items():
    value = getattr(request, name)
    if value is not None and (name, value) != ('temperature', 1):
      parts.append(f'{letter}{value:g}')
  if request.interpolation not in (None, 'linear'):
    parts.append(request.interpolation)
  if request.dims:
    parts.append('z' + '-'.join(request.dims))
  if draws and 'prior' in MODES[request.mode]:
    parts.append(f'{model.priors.choose(request.prior)}_prior')
  if request.draw:
    parts.append('draw')
  name = re.sub(r'[^\w.+-]+', '_', '-'.join(parts) + model.suffix)
  if len(name) > MAX_NAME:
    name = f'{name[:MAX_NAME]}-{paths.digest(name)}'
  return f'{name}.{request.format}'


def write(drawing: Drawing, path: Path) -> None:
  """Writes a drawing as the kind of file that `path` ends in: png, npz or gif."""
  has_names = bool(drawing.row_names or drawing.column_names)
  rows, columns = drawing.images.shape[:2]
  if path.suffix.lower() == '.npz':
    arrays = {'images': drawing.images, 'latents': drawing.latents, 'labels': drawing.labels}
    if not has_names:  # one after the other, without what fills up the last row
      is_there = ~np.isnan(drawing.images).any(axis=(2, 3, 4))
      arrays = {name: None if x is None else x[is_there] for name, x in arrays.items()}
    names = {'row_names': drawing.row_names, 'column_names': drawing.column_names}
    known = {name: value for name, value in arrays.items() if value is not None}
    with paths.whole(path) as temporary, open(temporary, 'wb') as file:
      np.savez_compressed(file, **known, **{name: np.array(x) for name, x in names.items()})
    return
  if path.suffix.lower() == '.gif':
    across = int(np.ceil(np.sqrt(rows)))
    grids.save_gif(path, [grids.grid(drawing.images[:, step], across) for step in range(columns)])
    return
  _check_size('png', rows * columns, drawing.images.shape[2:])  # of modes that take any number
  if has_names:
    from cvae_jax.plots import figures  # late: matplotlib takes its time, and one class needs none

    figure = figures.image_grid(
      drawing.images, drawing.row_names, drawing.column_names, drawing.title
    )
    figures.save({path: figure})
  else:
    blank = np.nan_to_num(drawing.images.reshape(rows * columns, *drawing.images.shape[2:]))
    grids.save_png(path, grids.grid(blank, columns))
