"""What a run leaves when it has ended: pictures, the projector's files, artifacts, a summary."""

import time
from pathlib import Path

import jax
import numpy as np

from cvae_jax import config as config_lib
from cvae_jax.data.datasets import Dataset
from cvae_jax.plots import grids
from cvae_jax.runtime import commands, devices, keys, paths, processes, tensor_files
from cvae_jax.runtime.errors import InputError, survived
from cvae_jax.training import hooks, restoring, run_folder, start
from cvae_jax.training.logging import projector
from cvae_jax.training.logging.reporter import Reporter, terms_text
from cvae_jax.training.program import Program
from cvae_jax.training.run_folder import CheckpointPath
from cvae_jax.training.state import TrainState


def finish(program: Program, workdir: Path, state: TrainState, reporter: Reporter) -> None:
  """Writes what is not there yet, and shows the result of the run."""
  last = int(state.step)
  picture = workdir / run_folder.SAMPLES / f'step_{last}.png'
  with processes.together():
    if processes.is_main() and not picture.exists():
      _write_pictures(program, workdir, state, picture, reporter)
  best = start.agree_on_step(CheckpointPath(workdir, None), 'best')
  for step in sorted({best, last}) if program.task.artifacts else ():
    _write_artifacts(program, workdir, state, step, reporter)
  if picture.exists():
    reporter.line(f'pictures of its last step: {picture}')
  # All processes look for them, since Orbax has its readers wait for one another.
  metrics = restoring.read_metrics(workdir, program.config)
  names = {best: 'best', last: 'last'} if best != last else {last: 'best and last'}
  for step, name in names.items():
    values = f', validation  {terms_text(metrics[step])}' if step in metrics else ''
    epoch = step / program.steps_per_epoch
    reporter.line(f'{name}: epoch {epoch:.4g}, step {step}{values}')
  folder = paths.quoted(workdir)
  for purpose, command in program.task.commands:
    name, _, flags = command.partition(' ')
    if name == 'evaluate' and config_lib.is_in_memory(program.config.data):
      flags += ' --data_dir=FILE.npz'  # with test images too; see docs/api.md
    reporter.line(f'{purpose + ":":<17} {commands.of(name)} {flags.format(folder)}')


def _write_pictures(
  program: Program, workdir: Path, state: TrainState, path: Path, reporter: Reporter
) -> None:
  """Writes what people look at; where that fails, the run is none the worse."""
  with survived('the files of the projector are', reporter.line):
    variables = devices.own_copy(state.eval_variables)
    latents = program.task.latents(variables, program.shown)
    if latents is not None:
      images, conditions = program.shown
      images = grids.shown(images, config_lib.shown_channels(program.config.data))
      projector.write(workdir, latents, images, _described(program.validation, conditions))
  # Written last: its presence marks the run as finished.
  with survived('the picture of the last step is', reporter.line):
    if pictures := hooks.task_pictures(program, state.eval_variables):
      grids.save_png(path, next(iter(pictures.values())))


def _described(dataset: Dataset, conditions: np.ndarray) -> dict[str, list[str]]:
  """Conditions in words, by the name of their column."""
  if dataset.columns:
    columns = zip(dataset.columns, conditions.T, strict=True)
    return {column.name: list(map(column.text, values)) for column, values in columns}
  names = dataset.class_names
  return {'': [names[label] if names else str(row) for row, label in enumerate(conditions)]}


def _write_artifacts(
  program: Program, workdir: Path, state: TrainState, step: int, reporter: Reporter
) -> None:
  """Stores the task's artifacts with a checkpoint that lacks them."""
  folder, variables = run_folder.checkpoint_path(workdir, step), state.eval_variables
  if step != int(state.step):
    variables, _ = restoring.restore_variables(workdir, str(step), program.config, variables)
  variables = devices.own_copy(variables)
  digest = tensor_files.digest(variables)
  files = {name: folder / f'{name}.safetensors' for name in program.task.artifacts}
  if processes.from_main(all(_belongs_to(path, digest) for path in files.values())):
    return
  # The others wait: JAX ends all processes some minutes after the first has left.
  with processes.together():
    if not processes.is_main():
      return
    began, key = time.perf_counter(), keys.of_run(program.config.seed)
    try:
      made = program.task.finish(variables, on_host(program.train), key)
    except InputError as error:
      reporter.line(f'no {", ".join(files)} for step {step}: {error}')
      return
    for name, artifact in made.items():
      tensor_files.save(files[name], dict(artifact.arrays), fitted_to=digest)
      seconds = time.perf_counter() - began
      reporter.line(f'{name} of step {step}: {artifact.description}, in {seconds:.0f} s')


def on_host(dataset: Dataset) -> Dataset:
  """A dataset with its images in this process, or in their file where they are streamed."""
  if not isinstance(dataset.images, jax.Array):
    return dataset
  own = lambda x: np.asarray(jax.device_get(devices.own_copy(x)))  # noqa: E731
  table = dataset.table and dataset.table._replace(values=own(dataset.table.values))
  return dataset._replace(images=own(dataset.images), labels=own(dataset.labels), table=table)


def _belongs_to(path: Path, digest: str) -> bool:
  """Whether an artifact is there, whole, and was made for the weights of this digest."""
  try:
    return path.is_file() and tensor_files.read_arrays(path)[1].get('fitted_to') == digest
  except InputError:
    return False
