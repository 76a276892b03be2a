"""Whether and where a run begins: on a new folder, on an old one, or at a checkpoint of another."""

from pathlib import Path

from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.runtime import processes, progress
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import checkpoints, program, run_folder
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.program import Program


def check_command(config, **flags) -> None:
  """Raises InputError for a wrong config, or where another process was started with another."""
  with processes.together():
    config_lib.check(config)
  values = flags | {f'config.{name}': value for name, value in config_lib.fields(config)}
  processes.check_same({f'--{name}': value for name, value in values.items()})


def check_folder(
  config, workdir: Path, resume_from: Path | None
) -> run_folder.CheckpointPath | None:
  """Raises InputError where the run cannot begin; returns the checkpoint it is to begin at."""
  run_folder.check_usable(workdir, config)
  source = None if resume_from is None else run_folder.locate(resume_from)
  if source is not None:
    if run_folder.holds_run(workdir):
      raise OccupiedError(
        f'{workdir} holds a run already: to go on with that, leave out --resume_from.',
        run_folder.free_name(workdir),
      )
    program.check_same_shapes(source.run, config)
  if not run_folder.has_checkpoint(workdir):
    program.check_init_from(config)
  return source


def check_same_data(workdir: Path, described: SavedConfig) -> None:
  """Raises OccupiedError where the run in `workdir` was on other data than there are now."""
  if not run_folder.holds_run(workdir):
    return
  saved = config_lib.read(workdir)
  same_classes = saved.class_names == described.class_names
  if same_classes and saved.data_fingerprint in (None, described.data_fingerprint):
    return
  raise OccupiedError(
    f'{workdir} holds a run on other data: {_what_changed(saved, described)}. Bring back what it '
    'began with to go on with it.',
    run_folder.free_name(workdir),
  )


def _what_changed(saved: SavedConfig, described: SavedConfig) -> str:
  if saved.class_names != described.class_names:
    before, now = (', '.join(each.class_names)[:100] for each in (saved, described))
    return f'its classes are {before}, those now {now}'
  before, now = saved.data_parts or {}, described.data_parts
  counts = [
    f'{before[name]:,} {name} then, {now[name]:,} now'
    for name in ('training images', 'validation images')
    if before.get(name, now[name]) != now[name]
  ]
  if counts:
    return '; '.join(counts)
  if 'labels' not in before:
    return 'images or labels have changed since it began'
  if before['labels'] != now['labels']:
    return 'as many images, but other labels, or in another order'
  return 'as many images with the same labels, but other pixels'


def begin_at(source: run_folder.CheckpointPath, prog: Program, workdir: Path) -> None:
  """Makes `workdir` a run that stands at a checkpoint of another one; whole or not at all."""
  step = program.agree_on_step(source, 'last')
  before = config_lib.read(source.run).config
  state, window = checkpoints.restore(source.run, step, before, prog.fresh_state())
  if int(state.step) >= prog.total_steps:
    raise InputError(
      f'The checkpoint is from step {state.step}, and the run would end at step '
      f'{prog.total_steps}. Raise --config.num_epochs above '
      f'{int(state.step) // prog.steps_per_epoch}.'
    )
  if processes.is_main() and (different := config_lib.differences(before, prog.config)):
    progress.say(f'goes on from {source.run} with another config: {"; ".join(map(str, different))}')
  with run_folder.made_whole(workdir) as unfinished:
    saved = Checkpoints(unfinished, prog.config.keep_checkpoints, prog.config)
    saved.save(state, int(state.step), window, validation=None)
    saved.close()
    if processes.is_main():
      config_lib.save(unfinished, prog.described)
