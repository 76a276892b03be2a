"""Sweeps: runs of several configs, trained together where they can be.

Runs that differ in traced fields alone (`config.TRACED`) share one compiled program. On an
accelerator as many as its memory holds train at once, by the fastest of the strategies of
`parallel`; on several devices, each has runs of its own. On a CPU they take turns. Others run group
by group.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.runtime import devices, progress
from cvae_jax.runtime.errors import (
  InputError,
  NonFiniteError,
  StoppedError,
  WriteError,
  is_out_of_memory,
)
from cvae_jax.training import batch_size_finder, loop, parallel, program, run, start, stopping
from cvae_jax.training import first_stage as first_stage_lib
from cvae_jax.training.program import Program
from cvae_jax.training.run import Run
from cvae_jax.training.sweep_plan import Member

MAX_AT_ONCE = 16  # runs on a device: each has its files and threads on the host


def groups(members: Sequence[Member]) -> list[list[Member]]:
  """The runs that share a program, in the order of the first of each group."""
  found: list[list[Member]] = []
  for member in members:
    for group in found:
      if config_lib.shares_program(group[0].config, member.config):
        group.append(member)
        break
    else:
      found.append([member])
  return found


def train(members: Sequence[Member]) -> dict[str, Exception]:
  """Trains all runs, or resumes them where their folders stand.

  Each folder is that of a run trained alone, to float tolerance. An error that ends one of them,
  such as a loss that is not finite, ends no other.

  Args:
    members: see `sweep_plan.members`.

  Returns:
    Maps the name of each failed run to its exception.

  Raises:
    StoppedError: a signal or the clock asked for an end; each run has a checkpoint where it stood.
  """
  failures: dict[str, Exception] = {}
  with stopping.listening(members[0].config.max_train_seconds) as asked_to_stop:
    for group in groups(members):
      _train_group(group, asked_to_stop, failures)
  return failures


def _train_group(
  group: Sequence[Member],
  asked_to_stop: Callable[[], stopping.Cause | None],
  failures: dict[str, Exception],
) -> None:
  """Trains runs of one program, as many at once as memory allows."""
  try:
    programs = _programs(group)
  except InputError as error:
    progress.log(f'{", ".join(member.name for member in group)}: {error}')
    failures |= dict.fromkeys((member.name for member in group), error)
    return
  at_once = min(_runs_at_once(programs[0]), -(-len(group) // len(programs)))
  take_chunks = parallel.fastest(
    [program.varied(programs[0], member.config) for member in group[:at_once]], progress.log
  )
  begin = 0
  while begin < len(group):
    _check_asked(asked_to_stop())
    wave = group[begin : begin + at_once * len(programs)]
    try:
      _train_wave(wave, programs, take_chunks, asked_to_stop, failures)
      begin += len(wave)
    except jax.errors.JaxRuntimeError as error:
      if not is_out_of_memory(error):
        raise
      if at_once > 1:
        at_once //= 2
        progress.log(f'out of memory: {at_once} runs at once on a device from here on')
        continue
      too_large = InputError('It does not fit into memory: choose a smaller batch or model.')
      for member in wave:
        if member.name not in failures:
          failures[member.name] = too_large
          progress.log(f'{member.name}: {too_large}')
      begin += len(wave)
    if any(isinstance(error, StoppedError) for error in failures.values()):
      _check_asked(asked_to_stop())


def _check_asked(cause: stopping.Cause | None) -> None:
  if cause:
    raise StoppedError(
      f'Stopped by {cause.name}: the same command resumes each run where it stands.',
      cause.status,
    )


def _programs(group: Sequence[Member]) -> list[Program]:
  """The program of the group; with several runs and devices, one for each device."""
  config = group[0].config
  if len(group) == 1 or len(jax.devices()) == 1:
    return [program.build(config)]
  first_stage = first_stage_lib.read(config)
  train, validation, _ = datasets.load(config)
  meshes = [Mesh(np.array([device]), ('data',)) for device in jax.devices()[: len(group)]]
  return [program.assemble(config, train, validation, mesh, first_stage) for mesh in meshes]


def _runs_at_once(one: Program) -> int:
  """How many runs a device trains at once, by the memory that the compiled step of one needs."""
  limit = devices.limit_bytes()
  if devices.chunk_steps() == 1 or limit is None:
    return 1
  own, shared = batch_size_finder.step_bytes(one), 0
  if one.feed.placement == 'device':
    own -= one.train.images.nbytes  # which the step counts, and the runs share
    shared = one.train.images.nbytes + one.validation.images.nbytes
  else:
    # Two chunks lie there; the step counts only a part of them.
    own += 2 * one.feed.longest * one.train.images[0].nbytes * one.config.batch_size
  available = batch_size_finder.MEMORY_FRACTION * limit - shared
  return int(np.clip(available // own, 1, MAX_AT_ONCE))


def _train_wave(
  wave: Sequence[Member],
  programs: Sequence[Program],
  take_chunks: parallel.TakeChunks,
  asked_to_stop: Callable[[], stopping.Cause | None],
  failures: dict[str, Exception],
) -> None:
  """Opens the folders of runs, takes the steps that are left of them, and finishes them."""
  with contextlib.ExitStack() as held:
    opened: dict[str, Run] = {}
    for position, member in enumerate(wave):
      held.enter_context(_caught(member, failures))  # what closing it meets
      with _caught(member, failures):
        start.check_folder(member.config, member.workdir, None)
        own = program.varied(programs[position % len(programs)], member.config)
        one = run.opened(own, member.workdir, member.name)
        opened[member.name] = held.enter_context(one)
    ended: dict[Run, Exception] = {}
    for teams in _teams([one for one in opened.values() if not one.is_complete()], take_chunks):
      if not any(isinstance(error, StoppedError) for error in ended.values()):
        ended |= loop.advance(teams, asked_to_stop)
    for member in wave:
      one = opened.get(member.name)
      with _caught(member, failures):
        if one in ended:
          raise ended[one]
        if one is not None and one.is_complete():
          one.finish()


def _teams(runs: Sequence[Run], take_chunks: parallel.TakeChunks) -> list[list[loop.Team]]:
  """Runs by the step they stand at, and then by their devices."""
  by_step: dict[int, dict[Any, list[Run]]] = {}
  for one in runs:
    by_step.setdefault(one.step, {}).setdefault(one.program.mesh, []).append(one)
  return [
    [loop.Team(runs, take_chunks) for runs in on_devices.values()]
    for _, on_devices in sorted(by_step.items(), key=lambda item: item[0])
  ]


@contextlib.contextmanager
def _caught(member: Member, failures: dict[str, Exception]) -> Iterator[None]:
  """Keeps an error that ends this run and need not end others, and shows it."""
  try:
    with run.writing_to(member.workdir):
      yield
  except (InputError, NonFiniteError, StoppedError, WriteError) as error:
    if member.name not in failures:
      # The frames that it was raised in hold the run's state on the device.
      error.__traceback__ = error.__cause__ = error.__context__ = None
      failures[member.name] = error
      progress.log(f'{member.name}: {error}')
