"""An evaluation: its numbers, arrays and pictures, and the files that hold them."""

import contextlib
import dataclasses
import functools
import html
import json
import operator
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cvae_jax
from cvae_jax.evaluation import GROUPS, IWAE_SAMPLES, pictures
from cvae_jax.evaluation.intervals import Interval
from cvae_jax.evaluation.pictures import Make, Picture
from cvae_jax.inference.bounds import Density
from cvae_jax.inference.model import Model
from cvae_jax.plots import html as page_lib
from cvae_jax.plots import tables
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import InputError

COLUMNS = ('group', 'metric', 'value', 'low', 'high', 'unit', 'protocol', 'warning')
ROW = (
  '<tr><td>{}</td><td class="number">{}</td><td class="number">{}</td><td>{}</td>'
  '<td class="protocol">{}</td></tr>'
)
WARNING = ' <strong>Warning: {}.</strong>'
ADVICE = (
  'Make it writable, copy the run elsewhere or, for shipped weights, begin in another folder.'
)


@dataclasses.dataclass(frozen=True)
class Metric:
  """One number; `value` is None if it was not measured, and `protocol` then gives the reason."""

  group: str
  name: str
  value: float | None
  unit: str
  protocol: str
  low: float | None = None  # of the 95 % interval over images
  high: float | None = None
  warning: str = ''  # why the number says little


@dataclasses.dataclass
class Evaluation:
  """What was measured of a model on a split."""

  model: Model
  split: str
  num_images: int
  num_in_split: int  # the evaluated images are the first of these
  iwae_samples: int  # K
  asked: tuple[str, ...] = GROUPS
  unfinished: list[str] = dataclasses.field(default_factory=list)  # of those, what is to come
  metrics: list[Metric] = dataclasses.field(default_factory=list)
  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  pictures: dict[str, Picture] = dataclasses.field(default_factory=dict)
  undrawn: dict[str, Make] = dataclasses.field(default_factory=dict)
  density: Density | None = None  # the prior of its bounds, if not the one that it was trained with

  @property
  def name(self) -> str:
    """Stem of its files: the split, and how it differs from the usual evaluation."""
    first = '' if self.num_images == self.num_in_split else f'-first{self.num_images}'
    is_usual = self.iwae_samples == IWAE_SAMPLES or 'iwae' not in self.asked
    samples = '' if is_usual else f'-iwae{self.iwae_samples}'
    only = '' if self.asked == GROUPS else f'-only-{"-".join(self.asked)}'
    flow = self.model.prior.flow
    prior = '' if self.density or not flow else '-model_prior'
    settings = flow.suffix if flow else ''
    return f'{self.split}{first}{samples}{prior}{settings}{only}{self.model.suffix}'

  @property
  def groups(self) -> dict[str, list[Metric]]:
    """The metrics by group."""
    return self.groups_from(0)

  def groups_from(self, first: int) -> dict[str, list[Metric]]:
    """The metrics from a position on, by group."""
    groups: dict[str, list[Metric]] = {}
    for metric in self.metrics[first:]:
      groups.setdefault(metric.group, []).append(metric)
    return groups

  def group(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """The functions `add` and `miss` for one group of metrics."""
    return functools.partial(self.add, name), functools.partial(self.miss, name)

  def add(
    self,
    group: str,
    name: str,
    value,
    protocol: str,
    unit: str = '',
    undefined: str = '',
    warning: str = '',
  ) -> None:
    """Adds a number or an `Interval`; if it is not finite, the reason `undefined` instead."""
    mean, low, high = value if isinstance(value, Interval) else (value, np.nan, np.nan)
    if not np.isfinite(mean):
      self.miss(group, name, reason=undefined or f'{mean}, of {self.num_images} images')
      return
    low, high = (float(x) if np.isfinite(x) else None for x in (low, high))
    self.metrics.append(Metric(group, name, float(mean), unit, protocol, low, high, warning))

  def miss(self, group: str, *names: str, reason: str) -> None:
    """Notes that metrics were not measured."""
    self.metrics += (Metric(group, name, None, '', f'not measured: {reason}') for name in names)

  def draw(self, name: str, make: Make) -> None:
    """Adds a picture to those to be drawn."""
    self.undrawn[name] = make

  def draw_all(self) -> None:
    """Draws what has been added; see `pictures.draw`."""
    for name, make in self.undrawn.items():
      if picture := pictures.draw(name, make):
        self.pictures[name] = picture
    self.undrawn.clear()


def write(evaluation: Evaluation) -> Path:
  """Writes `evaluation/<name>.json`, `.csv`, then figures and `.html`; returns the HTML file.

  Raises:
    InputError: the folder cannot be written.
  """
  folder = evaluation.model.folder / 'evaluation'
  page = folder / f'{evaluation.name}.html'
  with paths.writing(folder, ADVICE):
    paths.write(page.with_suffix('.json'), json.dumps(_plain(evaluation), indent=1) + '\n')
    fields = operator.attrgetter('group', 'name', *COLUMNS[2:])
    paths.write(page.with_suffix('.csv'), tables.as_csv(COLUMNS, map(fields, evaluation.metrics)))
    for name, picture in evaluation.pictures.items():
      if picture.png is not None:
        paths.write(folder / evaluation.name / f'{name}.png', picture.png)
    paths.write(page, _html(evaluation))
  return page


def write_unless_finished(evaluation: Evaluation) -> None:
  """Writes an unfinished evaluation, unless a finished one of the same weights is there.

  Where the folder cannot be written any more, one line says so: the rest is measured all the same.
  """
  path = evaluation.model.folder / 'evaluation' / f'{evaluation.name}.json'
  with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
    content = json.loads(path.read_text('utf-8'))
    if 'unfinished' in content:
      is_finished = not content['unfinished']
    else:  # of an earlier version
      is_finished = content['metrics']['likelihood']['iwae']['value'] is not None
    if is_finished and content['step'] == evaluation.model.step:
      return
  try:
    write(evaluation)
  except InputError as error:
    progress.log(str(error))


def check_writable(model: Model) -> None:
  """Raises InputError if `write` would."""
  folder = model.folder / 'evaluation'
  with paths.writing(folder, ADVICE):
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def table(evaluation: Evaluation) -> str:
  """The metrics as lines of text, group by group, with protocols and warnings as footnotes."""
  protocols = dict.fromkeys(m.protocol for m in evaluation.metrics if m.value is not None)
  warnings = dict.fromkeys(m.warning for m in evaluation.metrics if m.warning)
  notes = {text: f'[{number}]' for number, text in enumerate(protocols, start=1)}
  notes |= {text: f'[!{number}]' for number, text in enumerate(warnings, start=1)}
  body = (lines(group, metrics, notes) for group, metrics in evaluation.groups.items())
  return '\n'.join([*body, '', *(f'{mark} {text}' for text, mark in notes.items())])


def lines(group: str, metrics: Sequence[Metric], notes: Mapping[str, str] | None = None) -> str:
  """A group as lines of text.

  Args:
    group: its name.
    metrics: of the group.
    notes: marks of protocols and warnings; None writes out warnings, and no protocols.
  """
  text = [group]
  for metric in metrics:
    if metric.value is None:
      text.append(f'  {metric.name:<36} {metric.protocol}')
      continue
    if notes is None:
      marks = [f'! {metric.warning}'] if metric.warning else []
    else:
      marks = [notes[note] for note in (metric.protocol, metric.warning) if note]
    text.append(
      f'  {metric.name:<36} {number(metric.value):>10}  {interval(metric):<22} '
      f'{metric.unit:<10} {" ".join(marks)}'.rstrip()
    )
  return '\n'.join(text)


def summary(evaluation: Evaluation) -> str:
  """What was evaluated, in one line."""
  model = evaluation.model
  averaged = 'moving average of the weights' if model.config.ema_decay else 'weights'
  return (
    f'{model.folder}, {averaged} at step {model.step}, on the {evaluation.split} split of '
    f'{model.config.data.name}: {evaluation.num_images:,} images'
  )


def number(value: float) -> str:
  """A value with about four significant digits."""
  if value == int(value) and abs(value) < 1e6:
    return str(int(value))
  if abs(value) >= 10:
    return f'{value:.2f}'
  return f'{value:.4f}' if abs(value) >= 0.01 else f'{value:.3g}'


def interval(metric: Metric) -> str:
  """The 95 % interval as text; empty if there is none."""
  return '' if metric.low is None else f'{number(metric.low)} to {number(metric.high)}'


def _plain(evaluation: Evaluation) -> dict[str, Any]:
  """The content of the JSON file."""
  model = evaluation.model
  metrics: dict[str, dict[str, Any]] = {}
  for metric in evaluation.metrics:
    fields = dataclasses.asdict(metric)
    metrics.setdefault(fields.pop('group'), {})[fields.pop('name')] = fields
  return {
    'cvae_jax': cvae_jax.__version__,
    'model': str(model.folder),
    'config': model.config.name,
    'step': model.step,
    'weights': 'moving average' if model.config.ema_decay else 'not averaged',
    'data': model.config.data.name,
    'split': evaluation.split,
    'num_images': evaluation.num_images,
    'asked': list(evaluation.asked),
    'unfinished': evaluation.unfinished,
    'metrics': metrics,
    'arrays': {name: array.tolist() for name, array in evaluation.arrays.items()},
  }


def _html(evaluation: Evaluation) -> str:
  rows = []
  for group, metrics in evaluation.groups.items():
    rows.append(f'<tr class="group"><th colspan="5">{html.escape(group)}</th></tr>')
    for metric in metrics:
      value = '–' if metric.value is None else number(metric.value)
      cells = map(html.escape, (metric.name, value, interval(metric), metric.unit))
      warning = WARNING.format(html.escape(metric.warning)) if metric.warning else ''
      rows.append(ROW.format(*cells, html.escape(metric.protocol) + warning))
  body = (
    '<table>\n<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>unit</th>'
    '<th>protocol</th></tr></thead><tbody>\n' + '\n'.join(rows) + '\n</tbody>\n</table>'
  )
  texts = [summary(evaluation)]
  if evaluation.unfinished:
    texts.append(f'The evaluation is not finished: {", ".join(evaluation.unfinished)}.')
  shown = (picture.element for picture in evaluation.pictures.values())
  title = f'{evaluation.model.config.name}: {evaluation.split} split'
  return page_lib.page(title, [*map(page_lib.paragraph, texts), body, *shown])
