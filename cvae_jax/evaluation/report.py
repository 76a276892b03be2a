"""An evaluation: its numbers, arrays and pictures, and the files that hold them."""

import contextlib
import dataclasses
import functools
import html
import json
import operator
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cvae_jax
from cvae_jax.evaluation import IWAE_SAMPLES
from cvae_jax.evaluation.intervals import Interval
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures, tables
from cvae_jax.plots import html as page_lib
from cvae_jax.plots.style import Figure
from cvae_jax.runtime import paths

COLUMNS = ('group', 'metric', 'value', 'low', 'high', 'unit', 'protocol')
ROW = (
  '<tr><td>{}</td><td class="number">{}</td><td class="number">{}</td><td>{}</td>'
  '<td class="protocol">{}</td></tr>'
)
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


@dataclasses.dataclass
class Evaluation:
  """What was measured of a model on a split."""

  model: Model
  split: str
  num_images: int
  num_in_split: int  # the evaluated images are the first of these
  iwae_samples: int  # K
  metrics: list[Metric] = dataclasses.field(default_factory=list)
  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  pictures: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)  # title, PNG

  @property
  def name(self) -> str:
    """Stem of its files: the split, and how it differs from the usual evaluation."""
    first = '' if self.num_images == self.num_in_split else f'-first{self.num_images}'
    samples = '' if self.iwae_samples == IWAE_SAMPLES else f'-iwae{self.iwae_samples}'
    return f'{self.split}{first}{samples}{self.model.suffix}'

  @property
  def groups(self) -> dict[str, list[Metric]]:
    """The metrics by group."""
    groups: dict[str, list[Metric]] = {}
    for metric in self.metrics:
      groups.setdefault(metric.group, []).append(metric)
    return groups

  def group(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """The functions `add` and `miss` for one group of metrics."""
    return functools.partial(self.add, name), functools.partial(self.miss, name)

  def add(
    self, group: str, name: str, value, protocol: str, unit: str = '', undefined: str = ''
  ) -> None:
    """Adds a number or an `Interval`; if it is not finite, the reason `undefined` instead."""
    mean, low, high = value if isinstance(value, Interval) else (value, np.nan, np.nan)
    if not np.isfinite(mean):
      self.miss(group, name, reason=undefined or f'{mean}, of {self.num_images} images')
      return
    low, high = (float(x) if np.isfinite(x) else None for x in (low, high))
    self.metrics.append(Metric(group, name, float(mean), unit, protocol, low, high))

  def miss(self, group: str, *names: str, reason: str) -> None:
    """Notes that metrics were not measured."""
    self.metrics += (Metric(group, name, None, '', f'not measured: {reason}') for name in names)

  def draw(self, name: str, title: str, figure: Figure) -> None:
    """Adds a figure, as the content of a PNG file."""
    self.pictures[name] = title, figures.to_png(figure)


def write(evaluation: Evaluation) -> Path:
  """Writes `evaluation/<name>.json`, `.csv`, `.html` and figures; returns the HTML file.

  Raises:
    InputError: the folder cannot be written.
  """
  folder = evaluation.model.folder / 'evaluation'
  page = folder / f'{evaluation.name}.html'
  with paths.writing(folder, ADVICE):
    for name, (_, picture) in evaluation.pictures.items():
      paths.write(folder / evaluation.name / f'{name}.png', picture)
    paths.write(page.with_suffix('.json'), json.dumps(_plain(evaluation), indent=1) + '\n')
    fields = operator.attrgetter('group', 'name', *COLUMNS[2:])
    paths.write(page.with_suffix('.csv'), tables.as_csv(COLUMNS, map(fields, evaluation.metrics)))
    paths.write(page, _html(evaluation))
  return page


def write_unless_finished(evaluation: Evaluation) -> None:
  """Writes an unfinished evaluation, unless a finished one of the same weights is there."""
  path = evaluation.model.folder / 'evaluation' / f'{evaluation.name}.json'
  with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
    content = json.loads(path.read_text('utf-8'))
    is_finished = content['metrics']['likelihood']['iwae']['value'] is not None
    if is_finished and content['step'] == evaluation.model.step:
      return
  write(evaluation)


def check_writable(model: Model) -> None:
  """Raises InputError if `write` would."""
  folder = model.folder / 'evaluation'
  with paths.writing(folder, ADVICE):
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def table(evaluation: Evaluation) -> str:
  """The metrics as lines of text, group by group, with their protocols as footnotes."""
  lines, protocols = [], []
  for group, metrics in evaluation.groups.items():
    lines.append(group)
    for metric in metrics:
      if metric.value is None:
        lines.append(f'  {metric.name:<36} {metric.protocol}')
        continue
      if metric.protocol not in protocols:
        protocols.append(metric.protocol)
      lines.append(
        f'  {metric.name:<36} {number(metric.value):>10}  {interval(metric):<22} '
        f'{metric.unit:<10} [{protocols.index(metric.protocol) + 1}]'
      )
  lines += ['', *(f'[{count}] {text}' for count, text in enumerate(protocols, start=1))]
  return '\n'.join(lines)


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
    'metrics': metrics,
    'arrays': {name: array.tolist() for name, array in evaluation.arrays.items()},
  }


def _html(evaluation: Evaluation) -> str:
  rows = []
  for group, metrics in evaluation.groups.items():
    rows.append(f'<tr class="group"><th colspan="5">{html.escape(group)}</th></tr>')
    for metric in metrics:
      value = '–' if metric.value is None else number(metric.value)
      cells = metric.name, value, interval(metric), metric.unit, metric.protocol
      rows.append(ROW.format(*map(html.escape, cells)))
  body = (
    '<table>\n<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>unit</th>'
    '<th>protocol</th></tr></thead><tbody>\n' + '\n'.join(rows) + '\n</tbody>\n</table>'
  )
  shown = [page_lib.picture(title, picture) for title, picture in evaluation.pictures.values()]
  title = f'{evaluation.model.config.name}: {evaluation.split} split'
  return page_lib.page(title, [page_lib.paragraph(summary(evaluation)), body, *shown])
