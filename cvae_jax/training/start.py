"""Whether and where a run begins: in a new folder, in an old one, or at a checkpoint of another."""

from pathlib import Path

import jax

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.config import SavedConfig
from cvae_jax.data import batches
from cvae_jax.runtime import numerics, paths, processes, progress
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import first_stage, restoring, run_folder, training_table
from cvae_jax.training import state as state_lib
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.program import Program
from cvae_jax.training.run_folder import CheckpointPath
from cvae_jax.training.state import TrainState


def check_command(config, **flags) -> None:
  """Raises InputError for a wrong config, or where another process was started with another."""
  with processes.together():
    numerics.check()
    config_lib.check(config)
  values = flags | {f'config.{name}': value for name, value in config_lib.fields(config)}
  processes.check_same({f'--{name}': value for name, value in values.items()})


def check_folder(config, workdir: Path, resume_from: Path | None) -> CheckpointPath | None:
  """Raises InputError where the run cannot begin; returns the checkpoint it is to begin at."""
  run_folder.check_usable(workdir, config)
  source = None if resume_from is None else run_folder.locate(resume_from)
  if source is not None:
    if run_folder.holds_run(workdir):
      raise OccupiedError(
        f'{workdir} holds a run already: to resume that one, leave out --resume_from.',
        run_folder.free_name(workdir),
      )
    _check_same_shapes(source.run, config)
  if not run_folder.has_checkpoint(workdir):
    check_init_from(config)
  return source


def check_init_from(config) -> None:
  """Raises InputError unless `config.init_from` is empty, or names weights that fit."""
  if config.init_from:
    _check_same_shapes(run_folder.locate(paths.from_user(config.init_from)).run, config)


def _check_same_shapes(run: Path, config) -> None:
  """Raises InputError unless the weights of `run` fit the model that `config` describes."""
  saved = config_lib.read(run).config
  if not config.data.columns:  # the data are not read yet
    if config_lib.has_table(config) and config.data.conditions != saved.data.conditions:
      return
    config = config_lib.with_data(config, saved.data.num_classes, saved.data.columns)
  if _shapes(saved) == _shapes(config):
    return
  shaping = config_lib.having(config_lib.SHAPES)
  different = [each for each in config_lib.differences(saved, config) if each.field in shaping]
  raise InputError(
    f'The weights of {run} do not fit: {"; ".join(map(str, different))}. '
    'Set these fields to what they are there.'
  )


def _shapes(config):
  task = tasks.build(config, 1, first_stage.read(config))
  variables = jax.eval_shape(task.init, jax.random.key(0))
  return jax.tree.map(lambda leaf: leaf.shape, variables)


def check_same_data(workdir: Path, now: SavedConfig) -> None:
  """Raises OccupiedError where the run in `workdir` was on other data than there are now."""
  if not run_folder.holds_run(workdir):
    return
  saved = config_lib.read(workdir)
  same_classes = saved.class_names == now.class_names
  if same_classes and saved.data_fingerprint in (None, now.data_fingerprint):
    return
  raise OccupiedError(
    f'{workdir} holds a run on other data: {_what_changed(saved, now)}. Bring back the data it '
    'began with to resume it.',
    run_folder.free_name(workdir),
  )


def _what_changed(saved: SavedConfig, now: SavedConfig) -> str:
  if saved.class_names != now.class_names:
    before, after = (', '.join(each.class_names)[:100] for each in (saved, now))
    return f'its classes are {before}, those now {after}'
  before, after = saved.data_parts or {}, now.data_parts
  counts = [
    f'{before[name]:,} {name} then, {after[name]:,} now'
    for name in ('training images', 'validation images')
    if before.get(name, after[name]) != after[name]
  ]
  if counts:
    return '; '.join(counts)
  if 'labels' not in before:
    return 'images or labels have changed since it began'
  if before['labels'] != after['labels']:
    return 'as many images, but other labels, or in another order'
  return 'as many images with the same labels, but other pixels'


def initial_state(program: Program) -> TrainState:
  """The state of a new run: random weights, or those that `config.init_from` names."""
  config, fresh = program.config, program.fresh_state()
  if not config.init_from:
    return fresh
  source = run_folder.locate(paths.from_user(config.init_from))
  _check_same_shapes(source.run, config)  # again: the data may have given the number of classes
  step = agree_on_step(source, 'best')
  saved = config_lib.read(source.run).config
  variables, _ = restoring.restore_variables(source.run, str(step), saved, fresh.variables)
  return program.state_of(variables)


def agree_on_step(source: CheckpointPath, otherwise: str) -> int:
  """The checkpoint that all processes take, of a run that another one may be adding to.

  Args:
    source: where it is looked for.
    otherwise: 'best' or 'last', if `source` names a run alone.
  """
  if source.step is not None:
    return source.step
  config = config_lib.read(source.run).config
  return processes.from_main(restoring.choose(source.run, otherwise, config))


def _continuation(run: Path, before: SavedConfig, step: int, program: Program) -> str:
  """Where a run stands that begins at a step of another one: schedules follow the step."""
  config, text = program.config, f'continues {run} at step {step}'
  if different := config_lib.differences(before.config, config):
    text += f' with another config: {"; ".join(map(str, different))}'
  now = step / program.steps_per_epoch
  places, rates = [f'epoch {now:.4g} of {config.num_epochs} here'], []
  if num_train := (before.data_parts or {}).get('training images'):
    steps_there = batches.steps_per_epoch(num_train, before.config.batch_size)
    places.insert(0, f'epoch {step / steps_there:.4g} of {before.config.num_epochs} there')
    rates.append(f'{_learning_rate(before.config, steps_there, step):.3g} there')
  rates.append(f'{_learning_rate(config, program.steps_per_epoch, step):.3g} here')
  return (
    f'{text}. This step is {", ".join(places)}. Schedules follow the step: the learning rate is '
    f'{", ".join(rates)}.'
  )


def _learning_rate(config, steps_per_epoch: int, step: int) -> float:
  schedule = state_lib.learning_rate_schedule(config, config.learning_rate, steps_per_epoch)
  return float(schedule(step))


def begin_at(source: CheckpointPath, program: Program, workdir: Path) -> None:
  """Makes `workdir` a run that stands at a checkpoint of another one; whole or not at all."""
  step = agree_on_step(source, 'last')
  _check_same_shapes(source.run, program.config)  # again, as above
  saved = config_lib.read(source.run)
  state, window = restoring.restore(source.run, step, saved.config, program.fresh_state())
  if int(state.step) >= program.total_steps:
    raise InputError(
      f'The checkpoint is from step {state.step}, and the run would end at step '
      f'{program.total_steps}, with {program.steps_per_epoch} steps an epoch. Raise '
      '--config.num_epochs above '
      f'{int(state.step) // program.steps_per_epoch}.'
    )
  if processes.is_main():
    progress.log(_continuation(source.run, saved, step, program))
  with run_folder.made_whole(workdir) as unfinished:
    saved = Checkpoints(unfinished, program.config.keep_checkpoints, program.config)
    saved.save(state, int(state.step), window, validation=None)
    saved.close()
    if processes.is_main():
      config_lib.save(unfinished, program.saved)
      if program.first_stage:
        first_stage.save(unfinished, program.first_stage)
      training_table.save(unfinished, program.train)
