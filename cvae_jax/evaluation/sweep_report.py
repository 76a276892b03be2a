"""The report on a sweep: question, runs, tables, pictures, and an answer that its numbers give."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure

from cvae_jax.data import datasets as splits
from cvae_jax.evaluation import comparison
from cvae_jax.evaluation import comparison_pictures as pictures
from cvae_jax.evaluation import sweep_results as results
from cvae_jax.evaluation.experiment import Experiment, Finding
from cvae_jax.evaluation.sweep_results import Row
from cvae_jax.inference import loading
from cvae_jax.inference.model import Model
from cvae_jax.plots import curves
from cvae_jax.plots import html as page
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import reason
from cvae_jax.training.sweep_plan import text_of

FILE_NAME = 'report.html'


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
  first, *others = map(comparison.test_images, models.values())
  return all(other == first for other in others)


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
    told = f'{error.args[0]}' if isinstance(error, KeyError) and error.args else reason(error)
    return f'none, for runs or numbers are missing: {told}.'


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
