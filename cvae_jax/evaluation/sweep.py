"""Conducts an experiment: trains its runs, reports on them. One command does all of it."""

from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cvae_jax.evaluation import sweep_report as report
from cvae_jax.evaluation import sweep_results as results
from cvae_jax.evaluation.experiment import Experiment
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import FailedRunsError, InputError, OccupiedError
from cvae_jax.training import run_folder, sweep, sweep_plan
from cvae_jax.training.sweep_plan import Axis


def run(
  config: ConfigDict,
  specifications: Sequence[str],
  experiment: Experiment | None,
  workdir: str | None,
  resume_from: Path | None = None,
) -> None:
  """Trains the runs of a sweep, or goes on with them, and reports on them.

  Args:
    config: what all runs have in common.
    specifications: 'beta=0.5,1', ...; those of the same field come in place of the experiment's.
    experiment: that of the config file, if it has one.
    workdir: where the runs' folders lie; runs/<name>-sweep if not given.
    resume_from: what only a single run can begin at.

  Raises:
    InputError: values, data or folders cannot be used.
    FailedRunsError: some runs did not come to their end; the others, if any, did, and are reported
      on.
    StoppedError: a signal or the clock asked for an end.
  """
  if resume_from is not None:
    raise InputError('--resume_from is for a single run, not for a sweep: leave it out.')
  if jax.process_count() > 1:
    raise InputError('A sweep is trained by one process: start it without --distributed.')
  given = [sweep_plan.parse(text, config) for text in specifications]
  axes = [*_others(experiment.axes if experiment else (), given), *given]
  folder = paths.from_user(workdir or Path('runs') / f'{config.name}-sweep')
  _check_folder(folder)
  members = sweep_plan.members(config, axes, folder)
  progress.say(
    f'{len(members)} runs of {config.name} in {folder}: '
    + '; '.join(f'{axis.field} {", ".join(map(sweep_plan.text_of, axis.values))}' for axis in axes)
  )
  failures = sweep.train(members)
  rows = results.collect(members, failures)
  if len(failures) == len(members):
    first = next(iter(failures.values()))
    if isinstance(first, OccupiedError):
      raise InputError(f'{first} Name another --workdir for this sweep.') from first
    if all(isinstance(error, InputError) for error in failures.values()):
      raise InputError(str(first)) from first
    raise FailedRunsError(f'None of the {len(members)} runs came to its end: {first}')
  page = report.write(folder, rows, experiment)
  progress.say(
    f'\n{results.as_text(*results.table(results.settings(rows)))}\n\n{results.protocol(rows)}\n'
  )
  if others := sweep_plan.others(members, folder):
    progress.say(f'also in {folder}, and not in this report: {", ".join(others)}')
  progress.say(f'report: {page}')
  if failures:
    raise FailedRunsError(
      f'{len(failures)} of {len(members)} runs failed: {"; ".join(failures)}. The others are '
      'complete; once what ended these is mended, the same command tries them again.'
    )


def _check_folder(folder: Path) -> None:
  """Raises InputError where runs have no place in `folder`."""
  if folder.exists() and not folder.is_dir():
    raise InputError(f'{folder} is a file, expected a folder for the runs: name another --workdir.')
  if run_folder.holds_run(folder):
    raise InputError(
      f'{folder} holds a single run: name another --workdir for those of a sweep, e.g. '
      f'{run_folder.free_name(folder)}.'
    )


def _others(axes: Sequence[Axis], given: Sequence[Axis]) -> list[Axis]:
  fields = {axis.field for axis in given}
  return [axis for axis in axes if axis.field not in fields]
