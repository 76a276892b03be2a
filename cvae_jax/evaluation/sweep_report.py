"""The report on a sweep: results, tables, pictures, and the answer to an experiment's question."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.data.datasets import Splits
from cvae_jax.evaluation import comparison, pictures
from cvae_jax.evaluation.experiment import Experiment, Finding
from cvae_jax.evaluation.pictures import Make
from cvae_jax.inference import loading
from cvae_jax.inference.model import Model
from cvae_jax.plots import curves, html, tables
from cvae_jax.plots.style import Figure
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import InputError, reason
from cvae_jax.tasks import TASKS
from cvae_jax.training import first_stage, restoring, run_folder
from cvae_jax.training.sweep_plan import Member, text_of

FILE_NAME = 'report.html'
ROUGHNESS = 'roughness'
DERIVED = {'bits_per_dim'}  # terms that are others in another unit
# Fields that the report lists if they are not swept.
LISTED = ('num_epochs', 'batch_size', 'latent_dim', 'likelihood', 'beta', 'beta_schedule',
          'optimizer', 'learning_rate', 'clip_norm', 'seed', 'data.image_size',
          'data.max_examples', 'model.name')  # fmt: skip


class Row(NamedTuple):
  """The result of one run."""

  member: Member
  status: str  # 'complete', or why it failed
  best_step: int | None  # of the best checkpoint; None if there is none
  values: Mapping[str, float]  # validation terms of that checkpoint, and the roughness


def collect(members: Sequence[Member], failures: Mapping[str, Exception]) -> list[Row]:
  """Reads the results of complete runs from their folders; failed ones have none."""
  return [_row(member, str(failures.get(member.name, 'complete'))) for member in members]


def _row(member: Member, status: str) -> Row:
  if status != 'complete' or not run_folder.has_checkpoint(member.workdir):
    return Row(member, status, None, {})
  try:
    metrics = restoring.read_metrics(member.workdir, member.config)
    best = restoring.choose(member.workdir, 'best', member.config)
    is_second = tasks.is_second_stage(member.config)
    frozen = first_stage.of_run(member.workdir) if is_second else None
  except InputError as error:
    return Row(member, str(error), None, {})
  found = metrics.get(best, {})
  terms = tasks.build(member.config, 1, frozen).validation_terms
  values = {term: found[term] for term in terms if term in found}
  if (rough := roughness(member.workdir / 'metrics.csv')) is not None:
    values[ROUGHNESS] = rough
  return Row(member, status, best, values)


def _columns(rows: Iterable[Row]) -> list[str]:
  """The terms that runs have, and the roughness."""
  names = dict.fromkeys(name for row in rows for name in row.values)
  return [*(name for name in names if name not in (*DERIVED, ROUGHNESS)), ROUGHNESS]


def roughness(metrics_csv: Path) -> float | None:
  """How steadily a run trained: the mean absolute change of its loss from line to line, in nats.

  Only the second half of the log counts; None if that has fewer than three lines.
  """
  losses = curves.column(metrics_csv, 'train/loss')[1]
  late = losses[len(losses) // 2 :]
  return float(np.abs(np.diff(late)).mean()) if len(late) > 2 else None


def _values(row: Row) -> dict[str, Any]:
  """The swept fields but for the seed."""
  return {field: value for field, value in row.member.values.items() if field != 'seed'}


def settings(
  rows: Sequence[Row], name_of: Callable[[Mapping[str, Any]], str] | None = None
) -> dict[str, list[Row]]:
  """Groups runs that differ only in their seeds, by the name of their setting.

  `name_of` names a setting from the values of the swept fields; None lists the values.
  """
  found: dict[str, list[Row]] = {}
  for row in rows:
    swept = _values(row) or row.member.values  # in a sweep of seeds alone, each is a setting
    found.setdefault(_joined(swept), []).append(row)
  if name_of is None:
    return found
  names = {full: name_of(several[0].member.values) for full, several in found.items()}
  # Two settings have the same name if they differ in fields that `name_of` does not know.
  count = Counter(names.values())
  return {
    names[full] if count[names[full]] == 1 else f'{names[full]}, {full}': several
    for full, several in found.items()
  }


def _joined(values: Mapping[str, Any]) -> str:
  return ', '.join(f'{field}={text_of(value)}' for field, value in values.items())


def without_effect(rows: Sequence[Row]) -> list[str]:
  """The swept fields that changed no number."""
  found = []
  for field in rows[0].member.values:
    alike: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
      others = {name: value for name, value in row.member.values.items() if name != field}
      if row.values:
        alike.setdefault(_joined(others), []).append(row.values)
    compared = [several for several in alike.values() if len(several) > 1]
    if compared and all(values == several[0] for several in compared for values in several):
      found.append(field)
  return found


def table(settings: Mapping[str, Sequence[Row]]) -> tables.Table:
  """For each setting its name, number of runs, and means over its runs."""
  columns = _columns(row for several in settings.values() for row in several)
  lines = []
  for name, several in settings.items():
    done = [row.values for row in several if row.values and row.status == 'complete']
    complete = f'{len(done)}' if len(done) == len(several) else f'{len(done)} of {len(several)}'
    numbers = [[values[column] for values in done if column in values] for column in columns]
    lines.append((name, complete, *map(tables.mean_and_std, numbers)))
  return ('setting', 'runs', *(curves.NAMES.get(column, column) for column in columns)), lines


def protocol(rows: Sequence[Row]) -> str:
  """How the numbers of `table` were measured."""
  configs = [row.member.config for row in rows]
  is_mixed = len({config.objective for config in configs}) > 1

  def joined(texts, separator=' or '):
    return separator.join(dict.fromkeys(texts))

  def measured(config):
    name, score = config.objective, TASKS[config.objective].score
    how = [TASKS.trait(name, 'protocol', ''), 'EMA weights' if config.ema_decay else 'weights']
    lead = f'{name}: ' if is_mixed else ''
    lowest = curves.NAMES.get(score, score)
    return f'{lead}{", ".join(filter(None, how))} of the checkpoint with the lowest {lowest}'

  data = joined(config.data.name for config in configs)
  inputs = {True: 'dynamically binarized', False: 'as they are'}
  binarized = joined(inputs[config.data.binarize == 'dynamic'] for config in configs)
  swept = set(rows[0].member.values)
  seeds = ' ± sample deviation over seeds' if 'seed' in swept and len(swept) > 1 else ''
  idle = ' {} had no effect: the numbers are the same to the last digit whatever its value.'
  return (
    f'{data}, validation images, {binarized}, {joined(map(measured, configs), "; ")}; nats, sums '
    f'over pixels and latents, mean over images{seeds}. Roughness: mean absolute change of the '
    'training loss from one line of the log to the next, in the second half of the run, nats.'
    + ''.join(map(idle.format, without_effect(rows)))
  )


def write(folder: Path, rows: Sequence[Row], experiment: Experiment | None) -> Path:
  """Writes `sweep.csv`, then `curves.png`, further pictures and `report.html`; returns the report.

  Raises:
    InputError: the folder cannot be written.
  """
  with paths.writing(folder):
    paths.write(folder / 'sweep.csv', _csv(rows))
  named = settings(rows, experiment.name if experiment else None)
  makers: dict[str, Make] = {}
  logs = {name: [row.member.workdir / 'metrics.csv' for row in several]
          for name, several in named.items()}  # fmt: skip
  makers['curves'] = lambda: (figure := curves.compared(logs)) and ('Training', figure)
  elements = [html.table(*table(named)), html.paragraph(protocol(rows), 'protocol')]
  failed = (row for row in rows if row.status != 'complete')
  elements += [html.paragraph(f'{row.member.name}: {row.status}') for row in failed]
  try:
    tables_of_measures, shown = _compared(named, experiment)
    elements += tables_of_measures
    makers |= shown
  except InputError as error:  # the numbers of the training stand without the images
    progress.log(f'The runs are not compared: {error}')
    elements.append(html.paragraph(f'The runs are not compared: {error}', 'warning'))
  measured = {row.member.name: row for several in named.values() for row in several}
  with paths.writing(folder):
    paths.write(folder / 'sweep.csv', _csv([measured[row.member.name] for row in rows]))
  if experiment:
    findings = []
    for name, several in named.items():
      runs = {row.member.config.seed: row.values for row in several if row.values}
      findings.append(Finding(name, _values(several[0]), runs))
    if plane := experiment.plane:
      makers['plane'] = lambda: ('One against the other', _plane(findings, plane))
    answer = _answer(experiment, findings)
    progress.log(f'\n{experiment.question}\n{answer}')
    texts = experiment.question, f'Answer: {answer}', f'Published: {experiment.published}'
    elements = [*map(html.paragraph, texts), *elements]
  elements.append(html.paragraph(f'All runs: {_common(rows)}.', 'protocol'))
  title = f'{rows[0].member.config.name}: {len(rows)} runs'
  with paths.writing(folder):
    elements += pictures.write(folder, makers)
    paths.write(folder / FILE_NAME, html.page(title, elements))
  return folder / FILE_NAME


def _compared(
  named: dict[str, list[Row]], experiment: Experiment | None
) -> tuple[list[str], dict[str, Make]]:
  """Elements of the page and pictures of the runs on the same images.

  An experiment's runs are measured, and their rows get the measures.

  Raises:
    InputError: a run or the data cannot be read any more.
  """
  models = {}
  for name, several in named.items():
    # The first seed that was trained stands for its setting.
    if trained := [row for row in several if row.best_step is not None]:
      models[name] = loading.load(trained[0].member.workdir)
  if not models:
    return [], {}
  if comparison.difference(models):
    return [html.paragraph('The runs have no images in common to be shown side by side.')], {}
  data = comparison.data_of(models)
  title = 'The same images, the same noise'
  makers = {'runs': lambda: (title, comparison.side_by_side(models, data))}
  if experiment and experiment.scatter:
    makers |= comparison.scatters(models, data)
  return (_measure(named, models, data) if experiment else []), makers


def _csv(rows: Sequence[Row]) -> str:
  """A line for each run: values of the swept fields, status, and numbers."""
  columns = _columns(rows)
  header = [*rows[0].member.values, 'status', 'best_step', *columns, 'workdir']
  lines = []
  for member, status, best_step, values in rows:
    swept = map(text_of, member.values.values())
    lines.append([*swept, status, best_step, *map(values.get, columns), member.workdir.name])
  return tables.as_csv(header, lines)


def _common(rows: Sequence[Row]) -> str:
  values = dict(config_lib.fields(rows[0].member.config))
  shown = {name: values[name] for name in LISTED if name not in rows[0].member.values}
  return _joined(shown)


def _answer(experiment: Experiment, findings: Sequence[Finding]) -> str:
  """The experiment's answer, unless runs or numbers are missing."""
  try:
    return experiment.answer(findings)
  except (KeyError, IndexError, ValueError, StopIteration) as error:
    text = f'{error.args[0]}' if isinstance(error, KeyError) and error.args else reason(error)
    return f'none, for runs or numbers are missing: {text}.'


def _measure(
  settings: dict[str, list[Row]], models: Mapping[str, Model], data: Mapping[str, Splits]
) -> list[str]:
  """Adds the measures of `comparison` to the rows; returns a table of them for the page."""
  measures = {name: [] for name in settings}
  judged = comparison.judge(models, data)
  with progress.shown('measuring the runs') as advance:
    for position, (name, several) in enumerate(settings.items(), start=1):
      for place, row in enumerate(several):
        if row.best_step is not None:
          model = loading.load(row.member.workdir)
          measures[name].append(comparison.of_model(model, data[name], judged))
          several[place] = row._replace(values={**row.values, **measures[name][-1]})
      advance(position / len(settings))
  table = comparison.table('setting', measures)
  progress.log(f'\n{tables.as_text(*table)}')
  return [
    html.table(*table),
    html.paragraph(comparison.protocol(next(iter(data.values())), judged), 'protocol'),
  ]


def _plane(findings: Sequence[Finding], names: tuple[str, str]) -> Figure:
  points = {
    finding.name: tuple(finding.numbers[name] for name in names)
    for finding in findings
    if set(names) <= set(finding.numbers)
  }
  known = comparison.MEASURES
  return curves.plane(points, tuple(known[name].name if name in known else name for name in names))
