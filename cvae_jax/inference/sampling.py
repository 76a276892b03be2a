"""The modes of sample.py: from its flags to a `Drawing`, and the name of its file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.inference import drawings, latent_prior
from cvae_jax.inference import inputs as inputs_lib
from cvae_jax.inference.drawings import Drawing
from cvae_jax.inference.inputs import Inputs
from cvae_jax.inference.model import Model
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

FORMATS = ('png', 'npz', 'gif')
MAX_IMAGES = 1_000  # to start from
SHOWN_NAME = 24  # characters of a picture's name
MAX_NAME = 112  # characters of a file name


class Request(NamedTuple):
  """The flags of sample.py; None is a flag that was not given."""

  mode: str = 'prior'
  label: list[str] | None = None  # names or numbers of classes
  images: list[str] | None = None  # picture files, or folders of them
  indices: list[str] | None = None  # row numbers of a split
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
  def given(self) -> dict[str, Any]:
    """The flags that were given, besides the mode and the format."""
    flags = self._asdict().items()
    given = {name: value for name, value in flags if value is not None and value is not False}
    return {name: value for name, value in given.items() if name not in ('mode', 'format')}

  @property
  def has_images(self) -> bool:
    """Whether it names images to start from."""
    return bool(self.images or self.indices)


class Drawer(NamedTuple):
  """A function that draws, and what it takes."""

  draw: Callable[..., Drawing]
  flags: tuple[str, ...]  # besides those of the model and the file
  counts: tuple[int, ...] = ()  # possible numbers of images, or of labels; () is any


_IMAGES = ('images', 'indices', 'split', 'data_dir', 'label')
_NOISE = ('temperature', 'seed')
# By mode, and whether it starts from images: functions of (model, `Inputs`), else of a model alone,
# with keyword arguments for the other flags; see `draw`.
DRAWERS = {
  ('prior', False): Drawer(drawings.samples, ('label', 'num_images', 'draw', 'prior', *_NOISE)),
  ('posterior', True): Drawer(drawings.variations, (*_IMAGES, 'num_draws', *_NOISE)),
  ('reconstruct', True): Drawer(drawings.reconstructions, _IMAGES),
  ('interpolate', True): Drawer(drawings.interpolate_images, (*_IMAGES, 'interpolation')),
  ('interpolate', False): Drawer(
    drawings.interpolate_classes, ('label', 'num_images', 'prior', *_NOISE), (2,)
  ),
  ('traverse', True): Drawer(drawings.traverse_image, (*_IMAGES, 'prior'), (1,)),
  ('traverse', False): Drawer(drawings.traverse, ('label', 'prior'), (0, 1)),
  ('arithmetic', True): Drawer(drawings.arithmetic, _IMAGES, (3,)),
  ('arithmetic', False): Drawer(drawings.class_arithmetic, ('label', 'split', 'data_dir'), (3,)),
  ('manifold', False): Drawer(drawings.manifold, ('label', 'dims', 'prior'), (0, 1)),
  ('style', True): Drawer(drawings.restyle, _IMAGES),
  ('style', False): Drawer(drawings.styles, ('num_images', 'prior', *_NOISE)),
}
ANIMATED = ('interpolate', 'traverse')


def format_of(given: str | None, output: Path | None) -> str:
  """The format of --format or of the suffix of --output; png without either.

  Raises:
    InputError: they differ, or --output has no such suffix.
  """
  suffix = '' if output is None else output.suffix.lower().removeprefix('.')
  if output is not None and suffix not in FORMATS:
    raise InputError(f'--output={output} does not end in .{given or "png"}.')
  if given and suffix and given != suffix:
    raise InputError(f'--output={output} does not end in .{given}, as --format={given} needs.')
  return given or suffix or 'png'


def check(request: Request) -> None:
  """Raises InputError for a combination of flags that has no meaning."""
  mode, given = request.mode, request.given
  for flag in given:
    takers = list(dict.fromkeys(name for (name, _), x in DRAWERS.items() if flag in x.flags))
    if mode not in takers:
      raise InputError(f'--{flag} has no meaning in --mode={mode}: it is for {", ".join(takers)}.')
  for flag in ('label', 'images', 'indices', 'dims'):
    if flag in given and not all(text.strip() for text in given[flag] or ['']):
      raise InputError(f'--{flag} is empty, or has an empty item.')
  if request.images and request.indices:
    raise InputError('--images and --indices both name images to start from: give one of them.')
  drawer = DRAWERS.get((mode, request.has_images))
  if drawer is None:
    raise InputError(
      f'--mode={mode} needs images to start from: --images PATH..., or --indices 0,1,2 of the '
      "run's dataset."
    )
  for flag in given:
    if flag not in drawer.flags or (request.images and flag in ('split', 'data_dir')):
      source = next((f'with --{x}' for x in ('images', 'indices') if x in given), 'without images')
      raise InputError(f'--{flag} has no meaning in --mode={mode} {source}: leave it out.')
  if not request.has_images:
    _check_count(request, len(request.label or ()))
  if request.temperature is not None:
    latent_prior.check_temperature(request.temperature)
  if request.format == 'gif' and mode not in ANIMATED:
    raise InputError(f'--format=gif animates {" and ".join(ANIMATED)}, not {mode}.')


def draw(model: Model, request: Request) -> Drawing:
  """Draws what a checked request asks for.

  Raises:
    InputError: the model cannot do that, or there are no such images.
  """
  drawer = DRAWERS[request.mode, request.has_images]
  options = {flag: value for flag, value in request.given.items() if flag not in _IMAGES}
  if request.dims is not None:
    options['dims'] = _integers('dims', request.dims)
  if request.format == 'png' and not {'num_images', 'num_draws'}.isdisjoint(drawer.flags):
    options['max_pixels'] = drawings.MAX_PIXELS
  labels = None if request.label is None else _labels(model, request.label)
  if request.has_images:
    inputs = _inputs(model, request, labels)
    _check_count(request, len(inputs.images))
    return drawer.draw(model, inputs, **options)
  if 'label' in drawer.flags:
    options['labels'] = labels
  if 'split' in drawer.flags:
    options['dataset'] = _split(model, request)
  return drawer.draw(model, **options)


def file_name(request: Request, model: Model) -> str:
  """The default name of the file: the mode, flags that differ from their defaults, and the step.

  The step is that of a checkpoint which was asked for.
  """
  flags = DRAWERS[request.mode, request.has_images].flags
  parts = [] if request.mode == 'prior' else [request.mode]
  if request.label is not None:
    parts.append('-'.join(request.label))
  elif request.mode == 'prior':
    parts.append('all')
  if request.indices:
    parts.append('i' + '-'.join(request.indices))
  if request.images:
    # Files in several folders may have the same name.
    files = [Path(path) for path in request.images]
    parts += [path.stem for path in files[:3]]
    parts.append(paths.digest(*(str(path.resolve()) for path in files)))
  if request.split:
    parts.append(request.split)
  if 'seed' in flags:
    parts.append(f'seed{request.seed or 0}')
  for name, letter in (('num_images', 'n'), ('num_draws', 'draws'), ('temperature', 't')):
    value = getattr(request, name)
    if value is not None and (name, value) != ('temperature', 1):
      parts.append(f'{letter}{value:g}')
  if request.interpolation not in (None, 'linear'):
    parts.append(request.interpolation)
  if request.dims:
    parts.append('z' + '-'.join(request.dims))
  if 'prior' in flags:
    parts.append(f'{model.prior.choose(request.prior)}_prior')
  if request.draw:
    parts.append('draw')
  name = re.sub(r'[^\w.+-]+', '_', '-'.join(parts) + model.suffix)
  if len(name) > MAX_NAME:
    name = f'{name[:MAX_NAME]}-{paths.digest(name)}'
  return f'{name}.{request.format}'


def _check_count(request: Request, count: int) -> None:
  """Raises InputError unless the mode can start from so many images, or labels."""
  expected = DRAWERS[request.mode, request.has_images].counts
  if expected and count not in expected:
    kind = 'images' if request.has_images else 'classes'
    raise InputError(
      f'--mode={request.mode} cannot start from {count} {kind}: expected '
      f'{" or ".join(map(str, expected))}. Name images with --images A B or --indices 0,1, and '
      'classes with --label 3,8.'
    )


def _labels(model: Model, texts: list[str]) -> list[int]:
  """The classes of a list that was split at commas, which names of classes may hold too."""
  labels, first = [], 0
  while first < len(texts):
    names = {end: ','.join(texts[first:end]) for end in range(len(texts), first + 1, -1)}
    end = next((end for end, name in names.items() if name in model.class_names), first + 1)
    labels.append(model.label(names.get(end, texts[first])))
    first = end
  return labels


def _inputs(model: Model, request: Request, labels: list[int] | None) -> Inputs:
  """The images to start from; one label is that of all of them."""
  if request.indices:
    rows = _integers('indices', request.indices)
    inputs = inputs_lib.from_dataset(model, _split(model, request), rows)
  else:
    inputs = _pictures(model, request.images, labels is None)
  if labels is None:
    return inputs
  count = len(inputs.images)
  if len(labels) not in (1, count):
    raise InputError(f'{len(labels)} classes are named for {count} images: give one, or {count}.')
  return inputs._replace(labels=np.resize(np.array(labels, np.int32), count))


def _pictures(model: Model, given: list[str], find_labels: bool) -> Inputs:
  """Picture files; their classes, if asked for, are those of their folders or found."""
  files: list[Path] = []
  for path in map(paths.from_user, given):
    files += inputs_lib.find_pictures(path) if path.is_dir() else [path]
  if len(files) > MAX_IMAGES:
    raise InputError(f'{len(files):,} pictures are too many: expected at most {MAX_IMAGES:,}.')
  images, _ = inputs_lib.read_pictures(model, files, skip_broken=False)
  found = inputs_lib.find_labels(model, images, files) if find_labels else None
  if found is not None:
    for path, label, is_given, probability in zip(files, *found, strict=True):
      origin = f'taken for {model.class_text(label)} (p = {probability:.2f})'
      if is_given:
        origin = f'{model.class_text(label)}, from its folder {inputs_lib.folder_name(path)}'
      print(f'{paths.printable(path.name)}: {origin}')
  names = tuple(paths.printable(path.stem)[:SHOWN_NAME] for path in files)
  return Inputs(images.astype(np.float32) / 255, None if found is None else found.labels, names)


def _split(model: Model, request: Request) -> Dataset:
  return getattr(model.data(request.data_dir), request.split or 'test')


def _integers(flag: str, texts: list[str]) -> list[int]:
  for text in texts:
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text) < 10):
      raise InputError(f'--{flag}={",".join(texts)} are not numbers like 0,1,2.')
  return [int(text) for text in texts]
