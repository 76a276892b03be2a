"""What the runs of a sweep came to: a row for each, and a row for each setting over its seeds."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvae_jax import config as config_lib
from cvae_jax.plots import curves
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import restoring, run_folder, sweep_plan
from cvae_jax.training.sweep_plan import Member

MEASURED = ('negative_elbo', 'reconstruction', 'kl')  # of the validation, in nats
COLUMNS = (*MEASURED, 'roughness')


class Row(NamedTuple):
  """A run, and the validation of its best checkpoint; None where it has none."""

  member: Member
  status: str  # 'complete', or what ended it
  best_step: int | None
  values: Mapping[str, float]


def collect(members: Sequence[Member], failures: Mapping[str, Exception]) -> list[Row]:
  """Reads what each run left in its folder; of one that did not come to its end, nothing."""
  return [_row(member, str(failures.get(member.name, 'complete'))) for member in members]


def _row(member: Member, status: str) -> Row:
  if status != 'complete' or not run_folder.has_checkpoint(member.workdir):
    return Row(member, status, None, {})
  try:
    metrics = restoring.read_metrics(member.workdir, member.config)
    best = restoring.choose(member.workdir, 'best', member.config)
  except InputError as error:
    return Row(member, str(error), None, {})
  values = dict(metrics.get(best, {}))
  if (rough := roughness(member.workdir / 'metrics.csv')) is not None:
    values['roughness'] = rough
  return Row(member, status, best, values)


def roughness(metrics_csv: Path) -> float | None:
  """How far the training loss moves between two lines of the log, in the second half of a run.

  Returns:
    The mean absolute change, in nats, of the averages that the lines hold; None where that half
    has fewer than three.
  """
  losses = curves.column(metrics_csv, 'train/loss')[1]
  late = losses[len(losses) // 2 :]
  return float(np.abs(np.diff(late)).mean()) if len(late) > 2 else None


def settings(
  rows: Sequence[Row], name_of: Callable[[Mapping[str, Any]], str] | None = None
) -> dict[str, list[Row]]:
  """The rows of each setting of the swept fields but for the seed: its name -> a row per seed."""
  found: dict[str, list[Row]] = {}
  for row in rows:
    swept = {field: value for field, value in row.member.values.items() if field != 'seed'}
    swept = swept or row.member.values  # a sweep of seeds alone has a setting for each
    found.setdefault(_joined(swept), []).append(row)
  if name_of is None:
    return found
  names = {full: name_of(several[0].member.values) for full, several in found.items()}
  # A name may be that of several settings, where more is swept than it knows of.
  unique = Counter(names.values())
  return {
    names[full] if unique[names[full]] == 1 else f'{names[full]}, {full}': several
    for full, several in found.items()
  }


def _joined(values: Mapping[str, Any]) -> str:
  return ', '.join(f'{field}={sweep_plan.text_of(value)}' for field, value in values.items())


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
  """Over seeds; the deviation, of a sample, is nan of a single one."""
  return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float('nan')


def shown(values: Sequence[float], digits: int = 2) -> str:
  """Mean ± deviation over seeds, as tables have it; – without any."""
  if not len(values):
    return '–'
  mean, deviation = mean_and_deviation(values)
  spread = '' if np.isnan(deviation) else f' ± {deviation:.{digits}f}'
  return f'{mean:z.{digits}f}{spread}'


def without_effect(rows: Sequence[Row]) -> list[str]:
  """The swept fields that changed nothing: runs that differ in one alone have the same numbers."""
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


def table(
  settings: Mapping[str, Sequence[Row]],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  """Header and lines, one for each of `settings`: its name, its runs, its numbers."""
  header = ('setting', 'runs', '−ELBO', 'reconstruction', 'KL', 'roughness')
  lines = []
  for name, several in settings.items():
    done = [row for row in several if row.values and row.status == 'complete']
    complete = f'{len(done)}' if len(done) == len(several) else f'{len(done)} of {len(several)}'
    numbers = [
      shown([row.values[measure] for row in done if measure in row.values]) for measure in COLUMNS
    ]
    lines.append((name, complete, *numbers))
  return header, lines


def as_text(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A table in columns; numbers stand at the right."""
  widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
  return '\n'.join(
    '  '.join(
      cell.rjust(width) if position else cell.ljust(width)
      for position, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in (header, *lines)
  )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
  """A line for each run: its values, how it ended, and the validation of its best checkpoint."""
  fields = list(rows[0].member.values)
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow([*fields, 'status', 'best_step', *COLUMNS, 'workdir'])
  for row in rows:
    numbers = [row.values.get(name) for name in COLUMNS]
    line: list[Any] = [sweep_plan.text_of(value) for value in row.member.values.values()]
    line += [row.status, row.best_step, *numbers, row.member.workdir.name]
    writer.writerow(['' if value is None else value for value in line])
  with paths.whole(path) as temporary:
    temporary.write_text(buffer.getvalue(), encoding='utf-8')


def protocol(rows: Sequence[Row]) -> str:
  """How the numbers of `table` came about."""
  configs = [row.member.config for row in rows]

  def either(texts):
    return ' or '.join(dict.fromkeys(texts))

  data = either(config.data.name for config in configs)
  averaged = either('EMA weights' if config.ema_decay else 'weights' for config in configs)
  binarized = either(
    'dynamically binarized' if config.data.binarize == 'dynamic' else 'as they are'
    for config in configs
  )
  swept = set(rows[0].member.values)
  seeds = ' ± sample deviation over seeds' if 'seed' in swept and len(swept) > 1 else ''
  idle = ''.join(
    f' {field} had no effect: the numbers are the same to the last digit whatever its value.'
    for field in without_effect(rows)
  )
  denoising = ''
  bound = 'one posterior sample, β = 1, '
  lowest = '−ELBO'
  if all(config.objective == 'dae' for config in configs):
    bound, lowest = 'corrupted, the mean of the encoder, ', 'reconstruction'
  elif any(config.objective == 'dae' for config in configs):
    denoising = (
      ' A denoising autoencoder has no bound: its reconstruction is that of corrupted images, from '
      'the mean of its encoder, at the checkpoint where that is lowest.'
    )
  return (
    f'{data}, validation images, {binarized}, {bound}{averaged} of the '
    f'checkpoint with the lowest {lowest}; nats, sums over pixels and latents, mean over images'
    f'{seeds}.{denoising} Roughness: mean absolute change of the training loss from one line of '
    f'the log to the next, in the second half of the run, nats.{idle}'
  )


def common(rows: Sequence[Row]) -> dict[str, Any]:
  """Those of the fields that tell most of a run, which are not swept."""
  swept = set(rows[0].member.values)
  told = ('num_epochs', 'batch_size', 'latent_dim', 'likelihood', 'beta', 'beta_schedule',
          'optimizer', 'learning_rate', 'clip_norm', 'seed', 'data.image_size', 'data.max_examples',
          'model.name')  # fmt: skip
  values = dict(config_lib.fields(rows[0].member.config))
  return {name: values[name] for name in told if name not in swept}
