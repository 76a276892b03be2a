"""The report on a sweep: question, runs, tables, pictures, and an answer that its numbers give."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure
import numpy as np
from scipy import stats

from cvae_jax import curves, loading, page, paths, progress
from cvae_jax.data import splits
from cvae_jax.errors import reason
from cvae_jax.experiments import comparison, pictures, results
from cvae_jax.experiments.results import Row
from cvae_jax.experiments.sweep import Axis, text_of
from cvae_jax.inference import Model

FILE_NAME = 'report.html'
SIGNIFICANT = 0.05


class Finding(NamedTuple):
  """What one setting came to."""

  name: str
  values: Mapping[str, object]  # of the swept fields, but for the seed
  runs: Mapping[int, Mapping[str, float]]  # by seed: numbers of `results` and of `comparison`

  @property
  def numbers(self) -> dict[str, float]:
    """Their means over the seeds."""
    names = dict.fromkeys(name for values in self.runs.values() for name in values)
    return {name: float(np.mean(list(self.column(name).values()))) for name in names}

  def column(self, name: str) -> dict[int, float]:
    """One number of every run that has it, by seed."""
    return {seed: values[name] for seed, values in self.runs.items() if name in values}


def differ(one: Finding, other: Finding, name: str) -> bool:
  """Whether seeds can tell two settings apart by a number: a paired t-test of 5 %.

  The runs of a seed have their initial weights, batches and noise in common.
  """
  columns = one.column(name), other.column(name)
  seeds = sorted(set(columns[0]) & set(columns[1]))
  if len(seeds) < 2:
    return False
  pairs = [[column[seed] for seed in seeds] for column in columns]
  return bool(stats.ttest_rel(*pairs).pvalue < SIGNIFICANT)


def the(findings: Sequence[Finding], **values) -> Finding:
  """The one finding of a setting.

  Raises:
    KeyError: there is none, or several.
  """
  found = [
    finding
    for finding in findings
    if all(finding.values.get(field) == value for field, value in values.items())
  ]
  if len(found) != 1 or not found[0].runs:
    told = ', '.join(f'{field}={text_of(value)}' for field, value in values.items())
    raise KeyError(f'not one setting of {told}')
  return found[0]


class Experiment(NamedTuple):
  """What a config file's `get_experiment()` returns."""

  question: str
  axes: tuple[Axis, ...]
  published: str  # what others found, with the source
  answer: Callable[[Sequence[Finding]], str]  # in words, from the numbers alone
  name: Callable[[Mapping[str, object]], str] | None = None  # of a setting, from its values
  scatter: bool = False  # the latents of each setting, in two dimensions
  plane: tuple[str, str] | None = None  # two numbers, to be drawn against each other


def write(folder: Path, rows: Sequence[Row], experiment: Experiment | None) -> Path:
  """Writes `sweep.csv`, `curves.png`, `runs.png`, further pictures, and `report.html`.

  Returns:
    The HTML file; each file is written whole or not at all.

  Raises:
    InputError: the data are not there any more.
  """
  folder.mkdir(parents=True, exist_ok=True)
  results.write_csv(folder / 'sweep.csv', rows)
  settings = results.settings(rows, experiment.name if experiment else None)
  drawn: dict[str, tuple[str, matplotlib.figure.Figure]] = {}
  logs = {
    name: [row.member.workdir / 'metrics.csv' for row in several]
    for name, several in settings.items()
  }
  if figure := curves.compared(logs):
    drawn['curves'] = 'Training', figure
  header, lines = results.table(settings)
  parts = [page.table(header, lines), page.paragraph(results.protocol(rows), 'protocol')]
  parts += [
    page.paragraph(f'{row.member.name}: {row.status}') for row in rows if row.status != 'complete'
  ]
  models = _models(settings)
  findings = [
    Finding(name, _values(several[0]), {_seed(row): row.values for row in several if row.values})
    for name, several in settings.items()
  ]
  if models and _same_images(models):
    data = splits.load(_loadable(next(iter(models.values())).config))
    drawn['runs'] = 'The same images, the same noise', pictures.side_by_side(models, data.test)
    if experiment:
      findings, measured = _measured(settings, findings, data)
      parts += measured
    if experiment and experiment.scatter:
      drawn |= pictures.scatters(models, data.test)
  elif models:
    parts.append(page.paragraph('The runs have no images in common to be shown side by side.'))
  if experiment and experiment.plane:
    drawn['plane'] = 'One against the other', _plane(findings, experiment.plane)
  if experiment:
    answer = _answer(experiment, findings)
    progress.say(f'\n{experiment.question}\n{answer}')
    parts = [
      page.paragraph(experiment.question),
      page.paragraph(f'Answer: {answer}'),
      page.paragraph(f'Published: {experiment.published}'),
      *parts,
    ]
  told = ', '.join(f'{name}={text_of(value)}' for name, value in results.common(rows).items())
  parts.append(page.paragraph(f'All runs: {told}.', 'protocol'))
  parts += pictures.written(folder, drawn)
  with paths.whole(folder / FILE_NAME) as temporary:
    title = f'{rows[0].member.config.name}: {len(rows)} runs'
    temporary.write_text(page.page(title, parts), encoding='utf-8')
  return folder / FILE_NAME


def _models(settings: Mapping[str, Sequence[Row]]) -> dict[str, Model]:
  """The model of each setting's first seed that has one."""
  models = {}
  for name, several in settings.items():
    if found := [row.member.workdir for row in several if row.best_step is not None]:
      models[name] = loading.load(found[0])
  return models


def _same_images(models: Mapping[str, Model]) -> bool:
  return len({(model.image_shape, model.data_fingerprint) for model in models.values()}) == 1


def _loadable(config):
  config = config.copy_and_resolve_references()
  config.batch_size = 1
  return config


def _seed(row: Row) -> int:
  return row.member.config.seed


def _values(row: Row) -> dict[str, object]:
  return {field: value for field, value in row.member.values.items() if field != 'seed'}


def _answer(experiment: Experiment, findings: Sequence[Finding]) -> str:
  """What the experiment makes of its numbers, if they are all there."""
  try:
    return experiment.answer(findings)
  except (KeyError, IndexError, ValueError, StopIteration) as error:
    return f'none, for runs or numbers are missing ({reason(error)}).'


def _measured(settings, findings, data) -> tuple[list[Finding], list[str]]:
  """The findings with what `comparison` measures of every run, and a table of that."""
  lines, extended = [], []
  with progress.shown('measuring the runs') as advance:
    for position, (finding, several) in enumerate(zip(findings, settings.values(), strict=True)):
      found = [row for row in several if row.best_step is not None]
      measured = [comparison.of_model(loading.load(row.member.workdir), data) for row in found]
      lines.append((finding.name, *comparison.cells(measured)))
      runs = {
        _seed(row): {**row.values, **values} for row, values in zip(found, measured, strict=True)
      }
      extended.append(finding._replace(runs=runs))
      advance((position + 1) / len(findings))
  header = ('setting', *(measure.name for measure in comparison.measures().values()))
  progress.say(f'\n{results.as_text(header, lines)}')
  return extended, [
    page.table(header, lines),
    page.paragraph(comparison.protocol(data), 'protocol'),
  ]


def _plane(findings: Sequence[Finding], names: tuple[str, str]) -> matplotlib.figure.Figure:
  points = {
    finding.name: tuple(finding.numbers[name] for name in names)
    for finding in findings
    if set(names) <= set(finding.numbers)
  }
  known = comparison.measures()
  axis_names = [known[name].name if name in known else name for name in names]
  return curves.plane(points, tuple(axis_names))
