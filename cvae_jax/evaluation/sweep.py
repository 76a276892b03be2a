"""A sweep from its values to its report: trains the runs, then reports on them."""

from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cvae_jax.evaluation import sweep_report as report
from cvae_jax.evaluation.experiment import Experiment
from cvae_jax.plots import tables
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import FailedRunsError, InputError, OccupiedError
from cvae_jax.training import run_folder, sweep, sweep_plan


def run(
  config: ConfigDict,
  specifications: Sequence[str],
  experiment: Experiment | None,
  workdir: str | None,
  resume_from: Path | None = None,
) -> None:
  """Trains the runs of a sweep, or resumes them, and reports on them.

  Args:
    config: what all runs have in common.
    specifications: 'beta=0.5,1', ...; they replace the experiment's values of the same field.
    experiment: of the config file, if it has one.
    workdir: folder of the runs' folders; None is runs/<name>-sweep.
    resume_from: must be None, since only a single run can resume from another.

  Raises:
    InputError: values, data or folders cannot be used.
    FailedRunsError: some runs failed; the complete ones, if any, are reported on.
    StoppedError: a signal or the time limit stopped the sweep.
  """
  if resume_from is not None:
    raise InputError('--resume_from is for a single run, not for a sweep: leave it out.')
  if jax.process_count() > 1:
    raise InputError('A sweep is trained by one process: start it without --distributed.')
  given = [sweep_plan.parse(text, config) for text in specifications]
  replaced = {axis.field for axis in given}
  planned = experiment.axes if experiment else ()
  axes = [*(axis for axis in planned if axis.field not in replaced), *given]
  folder = paths.from_user(workdir or Path('runs') / f'{config.name}-sweep')
  if folder.exists() and not folder.is_dir():
    raise InputError(f'{folder} is a file, expected a folder for the runs: name another --workdir.')
  if run_folder.holds_run(folder):
    raise InputError(
      f'{folder} holds a single run: name another --workdir for those of a sweep, e.g. '
      f'{run_folder.free_name(folder)}.'
    )
  members = sweep_plan.members(config, axes, folder)
  swept = (f'{axis.field} {", ".join(map(sweep_plan.text_of, axis.values))}' for axis in axes)
  progress.log(f'{len(members)} runs of {config.name} in {folder}: {"; ".join(swept)}')
  failures = sweep.train(members)
  rows = report.collect(members, failures)
  if len(failures) == len(members):
    first = next(iter(failures.values()))
    if isinstance(first, OccupiedError):
      raise InputError(f'{first} Name another --workdir for this sweep.') from first
    if all(isinstance(error, InputError) for error in failures.values()):
      raise InputError(str(first)) from first
    raise FailedRunsError(f'All {len(members)} runs failed: {first}')
  page = report.write(folder, rows, experiment)
  text = tables.as_text(*report.table(report.settings(rows)))
  progress.log(f'\n{text}\n\n{report.protocol(rows)}\n')
  if others := sweep_plan.others(members, folder):
    progress.log(f'also in {folder}, and not in this report: {", ".join(others)}')
  progress.log(f'report: {page}')
  if failures:
    raise FailedRunsError(
      f'{len(failures)} of {len(members)} runs failed: {"; ".join(failures)}. The others are '
      'complete; the same command tries these again.'
    )
