"""The report on a sweep: question, runs, tables, pictures, and an answer that its numbers give."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure

from cvae_jax import curves, figures, inference, page, paths, progress
from cvae_jax.data import splits
from cvae_jax.experiments import comparison, pictures, results
from cvae_jax.experiments.results import Row
from cvae_jax.experiments.sweep import Axis, text_of
from cvae_jax.inference import Model

FILE_NAME = 'report.html'


class Finding(NamedTuple):
  """What one setting came to: means over its seeds."""

  name: str
  values: Mapping[str, object]  # of the swept fields, but for the seed
  numbers: Mapping[str, float]  # of the validation and, in an experiment, of `comparison`


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
  models = _models(settings)
  findings = [
    Finding(name, _values(several[0]), _means([row.values for row in several]))
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
  if experiment and experiment.plane:
    drawn['plane'] = 'One against the other', _plane(findings, experiment.plane)
  if experiment:
    answer = experiment.answer([finding for finding in findings if finding.numbers])
    progress.say(f'\n{experiment.question}\n{answer}')
    parts = [
      page.paragraph(experiment.question),
      page.paragraph(f'Answer: {answer}'),
      page.paragraph(f'Published: {experiment.published}'),
      *parts,
    ]
  told = ', '.join(f'{name}={text_of(value)}' for name, value in results.common(rows).items())
  parts.append(page.paragraph(f'All runs: {told}.', 'protocol'))
  for name, (title, figure) in drawn.items():
    figures.save({folder / f'{name}.png': figure})
    parts.append(page.picture(title, (folder / f'{name}.png').read_bytes()))
  with paths.whole(folder / FILE_NAME) as temporary:
    title = f'{rows[0].member.config.name}: {len(rows)} runs'
    temporary.write_text(page.page(title, parts), encoding='utf-8')
  return folder / FILE_NAME


def _models(settings: Mapping[str, Sequence[Row]]) -> dict[str, Model]:
  """The model of each setting's first seed that has one."""
  models = {}
  for name, several in settings.items():
    if found := [row.member.workdir for row in several if row.best_step is not None]:
      models[name] = inference.load(found[0])
  return models


def _same_images(models: Mapping[str, Model]) -> bool:
  return len({(model.image_shape, model.data_fingerprint) for model in models.values()}) == 1


def _loadable(config):
  config = config.copy_and_resolve_references()
  config.batch_size = 1
  return config


def _values(row: Row) -> dict[str, object]:
  return {field: value for field, value in row.member.values.items() if field != 'seed'}


def _means(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """Of each number, over those seeds that have it."""
  names = dict.fromkeys(name for values in several for name in values)
  return {
    name: results.mean_and_deviation([values[name] for values in several if name in values])[0]
    for name in names
  }


def _measured(settings, findings, data) -> tuple[list[Finding], list[str]]:
  """The findings with what `comparison` measures of every run, and a table of that."""
  lines, extended = [], []
  with progress.shown('measuring the runs') as advance:
    for position, (finding, several) in enumerate(zip(findings, settings.values(), strict=True)):
      found = [row.member.workdir for row in several if row.best_step is not None]
      measured = [comparison.of_model(inference.load(path), data) for path in found]
      lines.append((finding.name, *comparison.cells(measured)))
      extended.append(finding._replace(numbers={**finding.numbers, **_means(measured)}))
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
  return curves.plane(points, names)
