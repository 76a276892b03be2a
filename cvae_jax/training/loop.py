"""The training loop: chunks of steps, of one run or of several at once; between them `hooks`."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cvae_jax.data.readers import Source
from cvae_jax.runtime import processes
from cvae_jax.runtime.errors import InputError, NonFiniteError, StoppedError, WriteError
from cvae_jax.training import hooks, nonfinite, parallel, start, stopping
from cvae_jax.training.logging.reporter import terms_text
from cvae_jax.training.program import build
from cvae_jax.training.run import Run, opened, writing_to
from cvae_jax.training.step import term_names
from cvae_jax.training.stopping import Cause


def train(
  config, workdir: Path, resume_from: Path | None = None, source: Source | None = None
) -> None:
  """Trains the run that `config` describes, or resumes it where its folder stands.

  Several processes may do so together (`processes.joined`): all compute and write checkpoints, and
  process 0 alone writes the rest. What they do next, they decide alike.

  Args:
    config: see cvae_jax/config/table.py.
    workdir: the run's folder; created once config and data have proved usable.
    resume_from: begin a new folder at this checkpoint of another run, with its optimizer state
      and step; the config may differ from that run's in all but the shapes of the weights.
    source: the data set; None reads the one that the config names.

  Raises:
    InputError: the config, the data or the folder cannot be used.
    NonFiniteError: the loss or its gradient is not finite; the last good checkpoint stays.
    StoppedError: a signal or the clock asked for an end; a checkpoint was written before.
    WriteError: the folder cannot be written to any more.
  """
  flags = {'workdir': str(workdir.absolute()), 'resume_from': resume_from and str(resume_from)}
  start.check_command(config, smoke=False, **flags)
  with processes.together():
    begins_at = start.check_folder(config, workdir, resume_from)
  program = build(config, source=source)  # the data, the task, and its compiled step
  with writing_to(workdir):
    if begins_at is not None:
      start.begin_at(begins_at, program, workdir)
    with opened(program, workdir) as run:
      if run.is_complete():
        epochs = run.step // program.steps_per_epoch
        run.reporter.line(f'{workdir} is complete: {epochs} epochs, step {run.step}.')
      else:
        with stopping.listening(config.max_train_seconds) as asked_to_stop:
          failures = advance([Team([run], parallel.in_turn)], asked_to_stop)
        for error in failures.values():
          raise error
      run.finish()


class Team(NamedTuple):
  """Runs whose steps are taken together, by one of the functions of `parallel`."""

  runs: Sequence[Run]
  take_chunks: parallel.TakeChunks


def advance(
  teams: Sequence[Team], asked_to_stop: Callable[[], Cause | None]
) -> dict[Run, Exception]:
  """Takes the steps that are left of all runs, which stand at the same step.

  Args:
    teams: runs of the same number of steps, whose chunks begin and end at the same ones.
    asked_to_stop: from `stopping.listening`.

  Returns:
    Maps each failed run to its exception; the others continue.
  """
  failures: dict[Run, Exception] = {}
  for run in _runs(teams):
    with _caught(run, failures):
      run.begin()
  chunks = {run: run.program.chunks(run.bounds()) for run in _runs(teams) if run not in failures}
  active = [team._replace(runs=[run for run in team.runs if run in chunks]) for team in teams]
  try:
    while active := [team for team in active if team.runs]:
      # All devices are given work before the host looks at what came of it.
      taken = [_take(team, [next(chunks[run]) for run in team.runs]) for team in active]
      stop = asked_to_stop()
      for position, (team, (begin, end, results)) in enumerate(zip(active, taken, strict=True)):
        staying = []
        for run, (state, terms) in zip(team.runs, results, strict=True):
          with _caught(run, failures):
            if not run.after_chunk(begin, end, state, terms, stop):
              staying.append(run)
        active[position] = team._replace(runs=staying)
  finally:
    for run in chunks:
      with _caught(run, failures):
        run.close()
  return failures


def _runs(teams: Sequence[Team]) -> list[Run]:
  return [run for team in teams for run in team.runs]


def _take(team: Team, chunks):
  """Dispatches the next chunk: where it begins and ends, and (state, terms) of each run."""
  begin, end, _ = chunks[0]
  programs, states = [run.program for run in team.runs], [run.state for run in team.runs]
  data = [chunk.data for chunk in chunks]
  return begin, end, team.take_chunks(programs, states, data, end - begin)


@contextlib.contextmanager
def _caught(run: Run, failures: dict[Run, Exception]) -> Iterator[None]:
  """Keeps an error that ends this run and need not end others."""
  try:
    yield
  except (InputError, NonFiniteError, StoppedError, WriteError, OSError) as error:
    failures.setdefault(run, error)


def smoke(config) -> None:
  """One training step, one validation batch and the pictures, with nothing left on disk.

  Raises:
    InputError: the config or the data cannot be used.
    NonFiniteError: the step gave a number that is not finite.
  """
  began = time.perf_counter()
  start.check_command(config, smoke=True)
  with processes.together():
    start.check_init_from(config)
  program = build(config, at_most=config.batch_size)
  first = next(program.chunks([(0, 1)]))
  state, terms = program.chunk(start.initial_state(program), first.data, num_steps=1)
  terms = {name: float(terms[name][0]) for name in term_names(program.task)}
  nonfinite.check_values(terms, now=1, last_good=None, config=config)
  print(f'training step: {terms_text(terms)}')
  validation = program.validate(state)
  print(f'validation of {len(program.validation.labels)} images: {terms_text(validation)}')
  for name, picture in hooks.task_pictures(program, state.eval_variables).items():
    print(f'{name}: a picture of {picture.shape[1]}×{picture.shape[0]} pixels')
  print(f'Everything works, in {time.perf_counter() - began:.1f} s. Nothing was written.')
