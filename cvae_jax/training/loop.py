"""The loop: chunks of steps, one after the other, of one run or of several at once."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from cvae_jax.runtime import keys, processes
from cvae_jax.runtime.errors import InputError, NonFiniteError, StoppedError, WriteError
from cvae_jax.training import parallel as together
from cvae_jax.training import program, run, start, stopping, terms
from cvae_jax.training.chunks import Chunk
from cvae_jax.training.progress import validation_text
from cvae_jax.training.run import Run
from cvae_jax.training.stopping import Cause


class Team(NamedTuple):
  """Runs whose steps are taken together, in one of the ways of `together`."""

  runs: Sequence[Run]
  chunk: together.Chunks


def train(config, workdir: Path, resume_from: Path | None = None) -> None:
  """Trains the run that `config` describes, or goes on with it where its folder stands.

  Several processes may do so together (`processes.joined`): all compute and write checkpoints, and
  process 0 alone writes the rest. What they do next, they decide alike.

  Args:
    config: see configs/default.py.
    workdir: the run's folder; created once config and data have proved usable.
    resume_from: begin a new folder at this checkpoint of another one, with its optimizer state
      and step; the config may differ from that run's in all but the shapes of the weights.

  Raises:
    InputError: the config, the data or the folder cannot be used.
    NonFiniteError: the loss or its gradient is not finite; the last good checkpoint stays.
    StoppedError: a signal or the clock asked for an end, before which a checkpoint was written.
    WriteError: the folder cannot be written to any more.
  """
  start.check_command(
    config,
    smoke=False,
    workdir=str(workdir.absolute()),
    resume_from=resume_from and str(resume_from),
  )
  with processes.together():
    source = start.check_folder(config, workdir, resume_from)
  prog = program.build(config)
  with run.writing_to(workdir):
    if source is not None:
      start.begin_at(source, prog, workdir)
    with run.opened(prog, workdir) as one:
      if one.is_complete():
        epochs = int(one.state.step) // prog.steps_per_epoch
        one.reporter.line(f'{workdir} is complete: {epochs} epochs, step {one.state.step}.')
      else:
        with stopping.listening(config.max_train_seconds) as asked_to_stop:
          failures = advance([Team([one], together.in_turn)], asked_to_stop)
        for error in failures.values():
          raise error
      one.finish()


def advance(
  teams: Sequence[Team], asked_to_stop: Callable[[], Cause | None]
) -> dict[Run, Exception]:
  """Takes the steps that are left of all runs, which stand at the same one.

  Args:
    teams: runs of the same number of steps, whose chunks begin and end at the same ones.
    asked_to_stop: from `stopping.listening`.

  Returns:
    What ended those runs that did not come to their end, none of which stops the others.
  """
  failures: dict[Run, Exception] = {}
  for team in teams:
    for one in team.runs:
      with _noted(one, failures):
        one.begin()
  feeds = {
    one: one.prog.chunks(one.bounds()) for team in teams for one in team.runs if one not in failures
  }
  active = [team._replace(runs=[one for one in team.runs if one in feeds]) for team in teams]
  try:
    while active := [team for team in active if team.runs]:
      # All devices have their work before the host turns to what came of it.
      taken = [_take(team, [next(feeds[one]) for one in team.runs]) for team in active]
      stop = asked_to_stop()
      for position, (team, (begin, now, results)) in enumerate(zip(active, taken, strict=True)):
        staying = []
        for one, result in zip(team.runs, results, strict=True):
          with _noted(one, failures):
            if not one.took(begin, now, *result, stop):
              staying.append(one)
        active[position] = team._replace(runs=staying)
  finally:
    for one in feeds:
      with _noted(one, failures):
        one.end()
  return failures


def _take(team: Team, pieces: Sequence[Chunk]):
  """Dispatches the next chunk: where it begins and ends, and what each run will have of it."""
  begin, now, _ = pieces[0]
  progs, states = [one.prog for one in team.runs], [one.state for one in team.runs]
  return begin, now, team.chunk(progs, states, [piece.data for piece in pieces], now - begin)


@contextlib.contextmanager
def _noted(one: Run, failures: dict[Run, Exception]) -> Iterator[None]:
  """Keeps what ends this run and need not end others."""
  try:
    yield
  except (InputError, NonFiniteError, StoppedError, WriteError, OSError) as error:
    failures.setdefault(one, error)


def smoke(config) -> None:
  """One train step, one validation batch and one grid of samples, with nothing left on disk.

  Raises:
    InputError: the config or the data cannot be used.
    NonFiniteError: the step gave a number that is not finite.
  """
  began = time.perf_counter()
  start.check_command(config, smoke=True)
  with processes.together():
    program.check_init_from(config)
  prog = program.build(config, at_most=config.batch_size)
  first = next(prog.chunks([(0, 1)]))
  state, step_terms = prog.chunk(prog.initial_state(), first.data, num_steps=1)
  window = jax.device_get(step_terms)
  terms.check_finite({name: series[0] for name, series in window.items()}, now=1, last_good=None)
  shown = terms.leaving_out({name: float(series[0]) for name, series in window.items()}, config)
  bound = f', KL {shown["kl"]:z.2f}, β {shown["beta"]:.3g}' if 'kl' in shown else ''
  reconstruction = f'reconstruction {shown["reconstruction"]:.2f}'
  print(f'train step: loss {shown["loss"]:.2f} ({reconstruction}{bound})')
  images, labels, _ = prog.validation
  key = keys.stream(config.seed, 'validation')
  validation = prog.evaluate(state.eval_variables, images, labels, key)
  print(f'{validation_text(terms.leaving_out(validation, config))}, of {len(labels)} images')
  height, width, _ = program.sample_grid(prog, state.eval_variables).shape
  print(f'sample grid: {width}×{height} pixels')
  print(f'All works, in {time.perf_counter() - began:.1f} s. Nothing was written.')
