"""The modes of sample.py: from its flags to a `Drawing`, and the name of its file."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.data.datasets import Dataset
from cvae_jax.inference import drawings, latent_prior, sweeps
from cvae_jax.inference import inputs as inputs_lib
from cvae_jax.inference.conditions import Conditions
from cvae_jax.inference.drawings import Drawing
from cvae_jax.inference.inputs import Found, Inputs
from cvae_jax.inference.model import Model
from cvae_jax.inference.sweeps import Asked, Range
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
  condition: list[str] | None = None  # column=value, or column=first:last:steps
  images: list[str] | None = None  # picture files, or folders of them
  indices: list[str] | None = None  # row numbers of a split
  split: str | None = None
  data_dir: str | None = None
  num_images: int | None = None
  num_draws: int | None = None
  noise: float | None = None
  mask: str | None = None  # a picture file
  interpolation: str | None = None
  dims: list[str] | None = None
  temperature: float | None = None
  seed: int | None = None
  draw: bool | None = None
  prior: str | None = None  # see `LatentPrior`
  guidance: float | None = None  # of a second stage
  steps: int | None = None  # likewise
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


_CONDITIONS = ('label', 'condition')
_IMAGES = ('images', 'indices', 'split', 'data_dir', *_CONDITIONS)
_NOISE = ('temperature', 'seed')
_FLOW = ('guidance', 'steps')
_PRIOR = ('prior', *_FLOW)
# By mode, and whether it starts from images: functions of (model, `Inputs`), else of a model alone,
# with keyword arguments for the other flags; see `draw`.
DRAWERS = {
  ('prior', False): Drawer(
    drawings.samples, (*_CONDITIONS, 'num_images', 'draw', *_PRIOR, *_NOISE)
  ),
  ('posterior', True): Drawer(drawings.variations, (*_IMAGES, 'num_draws', *_NOISE)),
  ('vary', True): Drawer(drawings.noised, (*_IMAGES, 'noise', 'num_draws', *_FLOW, *_NOISE)),
  ('inpaint', True): Drawer(drawings.inpaint, (*_IMAGES, 'mask', 'num_draws', *_FLOW, 'seed')),
  ('reconstruct', True): Drawer(drawings.reconstructions, _IMAGES),
  ('interpolate', True): Drawer(drawings.interpolate_images, (*_IMAGES, 'interpolation', 'steps')),
  ('interpolate', False): Drawer(
    drawings.interpolate_conditions, (*_CONDITIONS, 'num_images', *_PRIOR, *_NOISE), (2,)
  ),
  ('traverse', True): Drawer(drawings.traverse_image, (*_IMAGES, *_PRIOR), (1,)),
  ('traverse', False): Drawer(drawings.traverse, (*_CONDITIONS, *_PRIOR), (0, 1)),
  ('arithmetic', True): Drawer(drawings.arithmetic, _IMAGES, (3,)),
  ('arithmetic', False): Drawer(
    drawings.class_arithmetic, (*_CONDITIONS, 'split', 'data_dir'), (3,)
  ),
  ('manifold', False): Drawer(drawings.manifold, (*_CONDITIONS, 'dims', *_PRIOR), (0, 1)),
  ('style', True): Drawer(drawings.restyle, (*_IMAGES, 'steps')),
  ('style', False): Drawer(drawings.styles, ('num_images', 'prior', 'steps', *_NOISE)),
  ('sweep', False): Drawer(sweeps.sweep, (*_CONDITIONS, 'num_images', *_PRIOR, *_NOISE)),
  ('edit', True): Drawer(sweeps.edit, (*_IMAGES, 'steps')),
}
ANIMATED = ('interpolate', 'traverse', 'sweep', 'edit')
OF_FLOW = ('vary', 'inpaint')  # modes of a second stage
BY_RANGES = ('sweep', 'edit')  # modes whose --condition may have ranges


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
  for flag in ('label', 'condition', 'images', 'indices', 'dims'):
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
    if flag in _FLOW and request.prior not in (None, 'flow_matching'):
      raise InputError(
        f'--{flag} is of a second stage, not of --prior={request.prior}: leave it out.'
      )
  if mode == 'inpaint' and request.mask is None:
    raise InputError('--mode=inpaint needs --mask PATH, a picture: its white pixels are filled.')
  if not request.has_images:
    _check_count(request, len(request.label or ()))
  if request.temperature is not None:
    latent_prior.check_temperature(request.temperature)
  if request.format == 'gif' and mode not in ANIMATED:
    raise InputError(f'--format=gif animates {", ".join(ANIMATED)}, not {mode}.')


def draw(model: Model, request: Request) -> Drawing:
  """Draws what a checked request asks for.

  Raises:
    InputError: the model cannot do that, or there are no such images.
  """
  drawer = DRAWERS[request.mode, request.has_images]
  model = model.with_flow(request.guidance, request.steps)
  flags = {*_IMAGES, *_CONDITIONS, 'guidance', 'steps'}
  options = {flag: value for flag, value in request.given.items() if flag not in flags}
  if request.dims is not None:
    options['dims'] = _integers('dims', request.dims)
  if request.mode in OF_FLOW:
    model.prior.check_flow(f'draws --mode={request.mode}')
  if request.mask is not None:
    options['mask'] = inputs_lib.read_mask(
      model, paths.from_user(request.mask), _files(request.images or ())
    )
  if request.format == 'png' and not {'num_images', 'num_draws'}.isdisjoint(drawer.flags):
    options['max_pixels'] = drawings.MAX_PIXELS
  labels = None if request.label is None else _labels(model, request.label)
  asked = sweeps.parse(model, request.condition or ())
  if asked.ranges and request.mode not in BY_RANGES:
    raise InputError(
      f'--condition has a range, which is for --mode={" and ".join(BY_RANGES)}: give one value.'
    )
  is_edit = request.mode == 'edit'  # its condition is not that of the images
  if labels is not None and not is_edit:
    _check_one_class(model, asked)
  if request.has_images:
    inputs = _inputs(model, request, labels, {} if is_edit else asked.fixed)
    _check_count(request, len(inputs.images))
    return drawer.draw(model, inputs, **(options | ({'asked': asked} if is_edit else {})))
  if 'split' in drawer.flags:
    options['dataset'] = _split(model, request)
  if request.mode == 'sweep':
    return drawer.draw(model, _with_labels(model, asked, labels), **options)
  if request.mode == 'prior':
    return drawer.draw(model, labels, asked.fixed, **options)
  if 'label' in drawer.flags and (labels or asked.fixed):
    options['conditions'] = _of_labels(model, labels, asked.fixed)
  return drawer.draw(model, **options)


def _check_one_class(model: Model, asked: Asked) -> None:
  name = model.conditioning.class_column.name
  if asked.has(model.conditioning.class_number, name):
    raise InputError(f'--label and --condition both give {name!r}: leave one out.')


def _with_labels(model: Model, asked: Asked, labels: list[int] | None) -> Asked:
  """One label is the value of the class; several are its range."""
  if labels is None:
    return asked
  if len(labels) == 1:
    name = model.conditioning.class_column.name
    return asked._replace(fixed={name: model.class_names[labels[0]], **asked.fixed})
  along = Range(model.conditioning.class_number, np.array(labels, np.float32))
  return asked._replace(ranges=(along, *asked.ranges))


def _of_labels(model: Model, labels: list[int] | None, fixed: dict[str, str]) -> Conditions:
  """A row for each label; they differ in nothing else."""
  if labels is None:
    return model.conditions(None, fixed, 1)
  row = model.conditions(labels[:1], fixed, 1)
  return row.repeat(len(labels)).replaced(model.conditioning.class_number, labels)


def file_name(request: Request, model: Model) -> str:
  """The default name of the file: the mode, flags that differ from their defaults, and the step.

  The step is that of a checkpoint which was asked for.
  """
  flags = DRAWERS[request.mode, request.has_images].flags
  parts = [] if request.mode == 'prior' else [request.mode]
  if request.label is not None:
    parts.append('-'.join(request.label))
  elif request.mode == 'prior' and request.condition is None:
    parts.append('all')
  if request.condition is not None:
    parts.append('-'.join(request.condition))
  if request.indices:
    parts.append('i' + '-'.join(request.indices))
  if request.images:
    # Files in several folders may have the same name.
    files = [Path(path) for path in request.images]
    parts += [path.stem for path in files[:3]]
    parts.append(paths.digest(*(str(path.resolve()) for path in files)))
  if request.mask:
    parts += ['mask', Path(request.mask).stem, paths.digest(str(Path(request.mask).resolve()))]
  if request.split:
    parts.append(request.split)
  if 'seed' in flags:
    parts.append(f'seed{request.seed or 0}')
  letters = {
    'num_images': 'n',
    'num_draws': 'draws',
    'temperature': 't',
    'guidance': 'g',
    'noise': 'noise',
    'steps': 'steps',
  }
  for name, letter in letters.items():
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


def _inputs(
  model: Model, request: Request, labels: list[int] | None, fixed: dict[str, str]
) -> Inputs:
  """The images to start from; one label is that of all of them."""
  given: dict[str, Any] = dict(fixed)
  if labels is not None:  # by their names: a number might be the name of another
    names = [model.class_names[label] for label in labels]
    given[model.conditioning.class_column.name] = names if len(names) > 1 else names[0]
  if not request.indices:
    return _pictures(model, request, given, labels)
  rows = _integers('indices', request.indices)
  _check_labels(labels, len(rows))
  inputs = inputs_lib.from_dataset(model, _split(model, request), rows)
  conditions = inputs.conditions
  for number, values in model.conditioning.values(given).items():
    conditions = conditions.replaced(number, values)
  return inputs._replace(conditions=conditions)


def _check_labels(labels: list[int] | None, count: int) -> None:
  if labels is not None and len(labels) not in (1, count):
    raise InputError(f'{len(labels)} classes are named for {count} images: give one, or {count}.')


def _files(given: Sequence[str]) -> list[Path]:
  """Picture files, and those in folders."""
  files: list[Path] = []
  for path in map(paths.from_user, given):
    files += inputs_lib.find_pictures(path) if path.is_dir() else [path]
  if len(files) > MAX_IMAGES:
    raise InputError(f'{len(files):,} pictures are too many: expected at most {MAX_IMAGES:,}.')
  return files


def _pictures(model: Model, request: Request, known: dict[str, Any], labels) -> Inputs:
  """Picture files with their known conditions; others are read, see `inputs.find_conditions`."""
  files = _files(request.images)
  _check_labels(labels, len(files))
  images, _ = inputs_lib.read_pictures(model, files, skip_broken=False)
  if _leaves_unknown(model, request):
    conditions = inputs_lib.given_conditions(model, files, known)
    texts = conditions.named_texts()
  else:
    found = inputs_lib.find_conditions(model, images, files, known)
    conditions, texts = found.conditions, _origins(model, found, files, known)
  if model.conditional and len(known) < len(model.columns):
    for path, text in zip(files, texts, strict=True):
      print(f'{paths.printable(path.name)}: {text}')
  names = tuple(paths.printable(path.stem)[:SHOWN_NAME] for path in files)
  return Inputs(images.astype(np.float32) / 255, conditions, names)


def _leaves_unknown(model: Model, request: Request) -> bool:
  """Whether conditions that are not given stay unknown, as nothing of the image says them.

  It has a hole, or only the flow knows conditions.
  """
  needs_flow = request.mode == 'vary' or request.interpolation == 'spherical'
  return request.mode == 'inpaint' or (
    model.prior.flow is not None and needs_flow and not model.reads_conditions
  )


def _origins(model: Model, found: Found, files: list[Path], known: dict[str, Any]) -> list[str]:
  """What was found of each picture, in words."""
  number, lines = model.conditioning.class_number, []
  for row, path in enumerate(files):
    texts = [
      f'{column.name} {column.text(found.conditions.table[row, place])}'
      for place, column in enumerate(model.columns)
      if column.name not in known and place != number
    ]
    if number is not None and model.conditioning.class_column.name not in known:
      texts.insert(0, _origin_of_class(model, found, row, path))
    lines.append(', '.join(texts))
  return lines


def _origin_of_class(model: Model, found: Found, row: int, path: Path) -> str:
  label = int(found.conditions.labels[row])
  if label < 0:
    return f'{model.conditioning.class_column.name} unknown'
  if found.from_folder[row]:
    return f'{model.class_text(label)}, from its folder {inputs_lib.folder_name(path)}'
  return f'taken for {model.class_text(label)} (p = {found.probabilities[row]:.2f})'


def _split(model: Model, request: Request) -> Dataset:
  return getattr(model.data(request.data_dir), request.split or 'test')


def _integers(flag: str, texts: list[str]) -> list[int]:
  for text in texts:
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text) < 10):
      raise InputError(f'--{flag}={",".join(texts)} are not numbers like 0,1,2.')
  return [int(text) for text in texts]
