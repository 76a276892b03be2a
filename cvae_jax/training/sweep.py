"""Sweeps: a run for each combination of a few fields' values, trained together where they can be.

Runs that differ in their settings alone (`training.settings`) share one compiled program. On an
accelerator they train at once, as many as its memory holds, in the way that is fastest there; on
several devices, each has runs of its own. On a CPU they take turns. Others run group by group.
"""

import contextlib
import copy
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import FIELDS, FREE
from cvae_jax.data import datasets as splits
from cvae_jax.runtime import devices, paths, progress
from cvae_jax.runtime.errors import (
  InputError,
  NonFiniteError,
  StoppedError,
  WriteError,
  did_you_mean,
  is_out_of_memory,
)
from cvae_jax.training import (
  batch_size_finder,
  loop,
  program,
  run,
  run_folder,
  settings,
  start,
  stopping,
)
from cvae_jax.training import parallel as together
from cvae_jax.training.program import Program
from cvae_jax.training.run import Run

MAX_RUNS = 1_000
MAX_NAME_BYTES = 200
MAX_AT_ONCE = 16  # runs on a device: each has its files and threads on the host


class Axis(NamedTuple):
  """A field, and the values it takes in turn."""

  field: str
  values: tuple[Any, ...]


class Member(NamedTuple):
  """One run of a sweep."""

  name: str  # 'beta=1,seed=0', that of its folder
  values: dict[str, Any]  # of the fields that are swept
  config: ConfigDict
  workdir: Path


def parse(text: str, config: ConfigDict) -> Axis:
  """Understands 'beta=0.5,1,2' or 'model.channels=(32,64),(64,128)'.

  Raises:
    InputError: it is no field, or a value is none of its values.
  """
  field, equals, listed = text.partition('=')
  field = field.strip().removeprefix('config.')
  values = dict(config_lib.fields(config))
  if not equals or not listed.strip():
    raise InputError(f'--sweep {text[:80]!r} has no values: expected e.g. --sweep beta=0.5,1,2.')
  if field not in values or field == 'name' or field in config_lib.having(FREE):
    sweepable = sorted(set(values) - config_lib.having(FREE) - {'name'})
    if field in values:
      raise InputError(f'--sweep: {field!r} makes no other run, whatever its value.')
    raise InputError(f'--sweep: {field[:80]!r} is no config field.{did_you_mean(field, sweepable)}')
  parts = [part.strip() for part in re.split(r',(?![^(]*\))', listed)]
  parsed = tuple(_value(field, part, values[field]) for part in parts)
  if len(set(parsed)) < len(parsed):
    raise InputError(f'--sweep {field}={listed} names a value twice.')
  return Axis(field, parsed)


def _value(field: str, text: str, like: Any) -> Any:
  """`text` as a value of the type of `like`."""
  try:
    if isinstance(like, bool):
      return {'true': True, 'false': False}[text.lower()]
    if isinstance(like, tuple):
      return tuple(int(width) for width in text.strip('()').split(',') if width.strip())
    return type(like)(text)
  except (ValueError, KeyError) as error:
    raise InputError(f'--sweep: {field}={text!r} is not {FIELDS[field].rule.expected}.') from error


def members(config: ConfigDict, axes: Sequence[Axis], folder: Path) -> list[Member]:
  """The runs of all combinations of values, the last axis changing fastest.

  Raises:
    InputError: a combination is no usable config, a field is named twice, or there are too many.
  """
  for axis in axes:
    if not axis.values or len(set(axis.values)) < len(axis.values):
      what = 'a value twice' if axis.values else 'no values'
      raise InputError(f'The sweep has {what} of {axis.field}: give each once.')
  fields = [axis.field for axis in axes]
  if len(set(fields)) < len(fields):
    raise InputError(f'--sweep names a field twice: {", ".join(fields)}. Give its values together.')
  count = np.prod([len(axis.values) for axis in axes], dtype=np.float64)
  if count > MAX_RUNS:
    raise InputError(f'The sweep has {count:,.0f} runs, more than {MAX_RUNS:,}: give fewer values.')
  found = []
  for combination in itertools.product(*(axis.values for axis in axes)):
    values = dict(zip(fields, combination, strict=True))
    own = copy.deepcopy(config)  # with its references: a share of the epochs is one of these
    with own.ignore_type():
      own.update_from_flattened_dict(values)
    own = own.copy_and_resolve_references()
    name = ','.join(f'{field}={text_of(value)}' for field, value in values.items())
    try:
      config_lib.check(own)
    except InputError as error:
      raise InputError(f'{name}: {error}') from error
    found.append(Member(name, values, own, folder / _folder_name(name)))
  return found


def _folder_name(name: str) -> str:
  """A run's name as that of a folder: the same where a file system has it, else one like it."""
  if '/' not in name and len(name.encode()) <= MAX_NAME_BYTES:
    return name
  short = name.replace('/', '_').encode()[:MAX_NAME_BYTES].decode(errors='ignore')
  return f'{short}-{paths.digest(name)}'


def text_of(value: Any) -> str:
  """A value as names and tables have it: 0.5, 1, (32,64)."""
  if isinstance(value, float):
    short = f'{value:g}'
    return short if float(short) == value else repr(value)
  if isinstance(value, tuple):
    return f'({",".join(map(str, value))})'
  return str(value)


def others(runs: Sequence[Member], folder: Path) -> list[str]:
  """Names of the runs in `folder` that are none of these."""
  own = {member.workdir.name for member in runs}
  return sorted(
    path.name for path in folder.glob('*') if path.name not in own and run_folder.holds_run(path)
  )


def groups(runs: Sequence[Member]) -> list[list[Member]]:
  """The runs that share a program, in the order of the first of each group."""
  found: list[list[Member]] = []
  for member in runs:
    for group in found:
      if settings.share_program(group[0].config, member.config):
        group.append(member)
        break
    else:
      found.append([member])
  return found


def train(runs: Sequence[Member]) -> dict[str, Exception]:
  """Trains all runs, or goes on with them where their folders stand.

  Each folder is that of a run trained alone, to float tolerance. What ends one of them, such as a
  loss that is not finite, ends no other.

  Args:
    runs: from `members`.

  Returns:
    Name -> what ended it, of those that did not come to their end.

  Raises:
    StoppedError: a signal or the clock asked for an end; each run has a checkpoint where it stood.
  """
  failures: dict[str, Exception] = {}
  with stopping.listening(runs[0].config.max_train_seconds) as asked_to_stop:
    for group in groups(runs):
      _train_group(group, asked_to_stop, failures)
  return failures


def _train_group(
  group: Sequence[Member],
  asked_to_stop: Callable[[], stopping.Cause | None],
  failures: dict[str, Exception],
) -> None:
  """Runs of one program, wave by wave."""
  try:
    progs = _programs(group)
  except InputError as error:
    progress.say(f'{", ".join(member.name for member in group)}: {error}')
    failures |= dict.fromkeys((member.name for member in group), error)
    return
  at_once = min(_runs_at_once(progs[0]), -(-len(group) // len(progs)))
  way = together.fastest(
    [program.varied(progs[0], member.config) for member in group[:at_once]], progress.say
  )
  begin = 0
  while begin < len(group):
    _check_asked(asked_to_stop())
    wave = group[begin : begin + at_once * len(progs)]
    try:
      _train_wave(wave, progs, way, asked_to_stop, failures)
      begin += len(wave)
    except jax.errors.JaxRuntimeError as error:
      if not is_out_of_memory(error):
        raise
      if at_once > 1:
        at_once //= 2
        progress.say(f'out of memory: {at_once} runs at once on a device from here on')
        continue
      told = InputError('It does not fit into memory: choose a smaller batch or model.')
      for member in wave:
        if member.name not in failures:
          failures[member.name] = told
          progress.say(f'{member.name}: {told}')
      begin += len(wave)
    if any(isinstance(error, StoppedError) for error in failures.values()):
      _check_asked(asked_to_stop())


def _check_asked(cause: stopping.Cause | None) -> None:
  if cause:
    raise StoppedError(
      f'Stopped by {cause.name}: the same command goes on with each run where it stands.',
      cause.status,
    )


def _programs(group: Sequence[Member]) -> list[Program]:
  """The program of the group; where there are several runs and devices, one for each device."""
  config = group[0].config
  if len(group) == 1 or len(jax.devices()) == 1:
    return [program.build(config)]
  train_part, validation, _ = splits.load(config)
  meshes = [Mesh(np.array([device]), ('data',)) for device in jax.devices()[: len(group)]]
  return [program.assemble(config, train_part, validation, mesh) for mesh in meshes]


def _runs_at_once(prog: Program) -> int:
  """How many runs a device trains at once, by what the compiled step of one needs."""
  limit = devices.limit_bytes()
  if devices.chunk_steps() == 1 or limit is None:
    return 1
  own, shared = batch_size_finder.step_bytes(prog), 0
  if prog.placement == 'device':
    own -= prog.train.images.nbytes  # which the step counts, and the runs share
    shared = prog.train.images.nbytes + prog.validation.images.nbytes
  else:
    # Two chunks lie there, of which the step counts a part.
    own += 2 * prog.feed.longest * prog.train.images[0].nbytes * prog.config.batch_size
  return int(np.clip((batch_size_finder.SHARE * limit - shared) // own, 1, MAX_AT_ONCE))


def _train_wave(
  wave: Sequence[Member],
  progs: Sequence[Program],
  way: together.Chunks,
  asked_to_stop: Callable[[], stopping.Cause | None],
  failures: dict[str, Exception],
) -> None:
  """Opens the folders of runs, takes the steps that are left of them, and finishes them."""
  with contextlib.ExitStack() as held:
    opened: dict[str, Run] = {}
    for position, member in enumerate(wave):
      held.enter_context(_noted(member, failures))  # what closing it meets
      with _noted(member, failures):
        start.check_folder(member.config, member.workdir, None)
        prog = program.varied(progs[position % len(progs)], member.config)
        one = run.opened(prog, member.workdir, member.name)
        opened[member.name] = held.enter_context(one)
    teams = _teams([one for one in opened.values() if not one.is_complete()], way)
    ended: dict[Run, Exception] = {}
    for at_one_step in teams:
      if not any(isinstance(error, StoppedError) for error in ended.values()):
        ended |= loop.advance(at_one_step, asked_to_stop)
    for member in wave:
      one = opened.get(member.name)
      with _noted(member, failures):
        if one in ended:
          raise ended[one]
        if one is not None and one.is_complete():
          one.finish()


def _teams(runs: Sequence[Run], way: together.Chunks) -> list[list[loop.Team]]:
  """Runs by the step they stand at, and then by their devices."""
  by_step: dict[int, dict[Any, list[Run]]] = {}
  for one in runs:
    on_devices = by_step.setdefault(int(one.state.step), {})
    on_devices.setdefault(one.prog.mesh, []).append(one)
  return [
    [loop.Team(team, way) for team in on_devices.values()]
    for _, on_devices in sorted(by_step.items(), key=lambda item: item[0])
  ]


@contextlib.contextmanager
def _noted(member: Member, failures: dict[str, Exception]) -> Iterator[None]:
  """Keeps what ends this run and need not end others, and says it."""
  try:
    with run.writing_to(member.workdir):
      yield
  except (InputError, NonFiniteError, StoppedError, WriteError) as error:
    if member.name not in failures:
      # What it was raised in holds the run's state on the device.
      error.__traceback__ = error.__cause__ = error.__context__ = None
      failures[member.name] = error
      progress.say(f'{member.name}: {error}')
