"""first_stage/ in the folder of a second stage: a copy of the model whose latents it learns."""

import contextlib
from pathlib import Path

import jax

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.data.datasets import Dataset
from cvae_jax.models import cvae
from cvae_jax.runtime import paths, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import SHIPPED, WEIGHTS_FILE, printable
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.tasks.first_stage import FirstStage
from cvae_jax.training import restoring, run_folder

FOLDER = 'first_stage'


def read(config) -> FirstStage | None:
  """The model that `config.first_stage` names; None if the task has no first stage.

  Args:
    config: a checked config. The name is a run, one of its checkpoints, a folder with
      `weights.safetensors`, or that of a shipped model.

  Raises:
    InputError: there is no such model, it is none of images like these, or no autoencoder.
  """
  if not tasks.is_second_stage(config):
    return None
  if not config.first_stage:
    raise InputError(
      f'objective={config.objective!r} learns the latents of a trained model: name it with '
      '--config.first_stage, e.g. --config.first_stage=runs/fashion_autoencoder.'
    )
  first_stage = _read(config.first_stage)
  theirs, ours = first_stage.saved.config.data, config.data
  for name in ('image_size', 'channels'):
    if theirs[name] != ours[name]:
      raise InputError(
        f'first_stage={config.first_stage!r} is a model of images with data.{name}={theirs[name]}, '
        f'but data.{name}={ours[name]}. Set --config.data.{name}={theirs[name]}.'
      )
  return first_stage


def _read(name: str) -> FirstStage:
  path = paths.from_user(name)
  if not path.exists() and (SHIPPED / name / WEIGHTS_FILE).is_file():
    path = SHIPPED / name
  if (path / WEIGHTS_FILE).is_file() and not run_folder.has_checkpoint(path):
    return from_folder(path)
  source = run_folder.locate(path)
  saved = config_lib.read(source.run)
  task = _task(saved.config, name)
  like = restoring.on_one_device(cvae.abstract_variables(task.network))
  which = 'best' if source.step is None else str(source.step)
  variables, step = restoring.restore_variables(source.run, which, saved.config, like)
  return FirstStage(saved, task, variables, step, tensor_files.digest(variables))


def from_folder(folder: Path) -> FirstStage:
  """The model of a folder with config.json and weights.safetensors."""
  saved = config_lib.read(folder)
  task = _task(saved.config, str(folder))
  like = cvae.abstract_variables(task.network)
  variables, step = tensor_files.read(folder / WEIGHTS_FILE, like)
  return FirstStage(saved, task, jax.device_put(variables), step, tensor_files.digest(variables))


def _task(config, name: str) -> Autoencoder:
  task = None if tasks.is_second_stage(config) else tasks.build(config, steps_per_epoch=1)
  if not (isinstance(task, Autoencoder) and task.is_generative):
    raise InputError(
      f'first_stage={name!r} was trained with objective={config.objective!r}, expected a model '
      'with a distribution of latents: objective=autoencoder or vae.'
    )
  return task


def check_conditions(first_stage: FirstStage, train: Dataset) -> None:
  """Raises InputError where a conditional first stage has other conditions than the data."""
  theirs, network = first_stage.saved, first_stage.task.network
  if not network.conditional:
    return
  if theirs.columns:
    is_alike = theirs.columns == train.columns
  else:
    kinds = [column.kind for column in train.columns]
    is_alike = theirs.class_names == train.class_names and kinds in ([], ['category'])
  if not is_alike:
    names = [column.name for column in theirs.columns] or theirs.class_names
    raise InputError(
      f'The first stage was trained with the conditions {printable(", ".join(names))[:300]}, which '
      'these data do not have in the same way. Set all fields of data to what they were there, as '
      f'data.name={theirs.config.data.name!r}, data.conditions={theirs.config.data.conditions!r}, '
      f'data.max_examples={theirs.config.data.max_examples} and '
      f'data.validation_examples={theirs.config.data.validation_examples}: the mean and standard '
      'deviation of a number are those of the training images.'
    )


def check(workdir: Path, given: FirstStage) -> None:
  """Raises InputError where the run in `workdir` was begun with another first stage."""
  folder = workdir / FOLDER
  digest, step = None, ''
  if (workdir / config_lib.FILE_NAME).is_file():
    digest = config_lib.read(workdir).first_stage
  if digest is None and (folder / WEIGHTS_FILE).is_file():  # written last
    kept = from_folder(folder)
    digest, step = kept.digest, f' of step {kept.step}'
  if digest not in (None, given.digest):
    raise InputError(
      f'{workdir} was begun with another first stage: its copy{step} has the digest {digest[:8]}, '
      f'and the given one of step {given.step} has {given.digest[:8]}. Give '
      f'--config.first_stage={paths.quoted(folder)} to resume it, or another --workdir.'
    )


def save(workdir: Path, first_stage: FirstStage) -> None:
  """Copies a first stage into the folder of a run, unless it is there, whole."""
  folder = workdir / FOLDER
  with contextlib.suppress(InputError):
    from_folder(folder)
    return
  config_lib.save(folder, first_stage.saved)
  tensor_files.save(folder / WEIGHTS_FILE, first_stage.variables, step=first_stage.step)


def of_run(workdir: Path) -> FirstStage:
  """The copy in the folder of a run.

  Raises:
    InputError: it is missing or damaged.
  """
  try:
    return from_folder(workdir / FOLDER)
  except InputError as error:
    raise InputError(
      f'{error} This is the copy of the first stage: the command that trained the run writes it '
      'anew where the first stage is still there.'
    ) from error
