"""Loads trained models: runs, their checkpoints, and models that ship with the package."""

import dataclasses
import functools
from pathlib import Path

import jax

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.config import SavedConfig
from cvae_jax.inference import hub, latent_prior, second_stage, shipped
from cvae_jax.inference.conditions import Conditioning
from cvae_jax.inference.latent_prior import LatentPrior
from cvae_jax.inference.model import Model
from cvae_jax.models import cvae, fitted_prior
from cvae_jax.runtime import numerics, paths, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.training import run_folder, training_table

DEFAULT_MODEL = 'mnist'  # of the commands, before anything has been trained
SHIPPED_RESULTS = Path('shipped')  # results of shipped models go to a folder in it
HUB_RESULTS = Path('hub')  # those of models on a hub


def load(path: str | Path | None = None, checkpoint: str | int = 'best') -> Model:
  """Loads a trained model; no code from its files is executed.

  Args:
    path: a run's folder, one of its checkpoints (`runs/mnist/checkpoints/4290`), or the name of a
      shipped model (`available()`) unless a run has that name; or a model on the Hugging Face Hub,
      `hf://owner/name` or `hf://owner/name@revision`. None: the run under `runs/` that was written
      last or, without one, the shipped 'mnist'.
    checkpoint: of a run: 'best' (by validation ELBO at β = 1), 'last', or a step.

  Returns:
    The model, with the moving average of its weights if the run kept one.

  Raises:
    InputError: there is no such run or checkpoint, it is damaged, or JAX is set to give other
      numbers (`numerics.OF_SAMPLES`).
  """
  numerics.check(numerics.OF_SAMPLES)
  if path is None and (path := run_folder.newest(Path('runs'))) is None:
    print(f'No trained run under runs/: using the shipped model {DEFAULT_MODEL}.')
    path = SHIPPED_RESULTS / DEFAULT_MODEL
  if str(path).startswith(hub.SCHEME):
    address = hub.Address.of(str(path))
    if checkpoint not in ('best', 'last'):
      raise InputError(f'{path} has no checkpoint {checkpoint!r}: leave it out.')
    return _exported(hub.fetch(address), HUB_RESULTS / address.owner / address.name)
  if name := _shipped_name(paths.from_user(path)):
    if run_folder.holds_run(Path('runs') / name):
      print(f'{name} is the shipped model; runs/{name} names the run there.')
    if checkpoint not in ('best', 'last'):
      raise InputError(
        f'The shipped {name} has no checkpoint {checkpoint!r}, only one set of weights: leave it '
        'out.'
      )
    return _exported(shipped.FOLDER / name, SHIPPED_RESULTS / name)
  run, named = run_folder.locate(Path(path), shipped.available())
  if str(path) in shipped.available():
    print(f'{path} is the run in this folder; shipped/{path} names the shipped model.')
  if (run / shipped.WEIGHTS_FILE).is_file() and not run_folder.has_checkpoint(run):  # a copy
    return _exported(run, _as_given(run))
  if named is not None and checkpoint != 'best':
    raise InputError(f'{path} is a checkpoint already: leave out checkpoint={checkpoint!r}.')
  checkpoint = checkpoint if named is None else named
  from cvae_jax.training import restoring  # late: shipped weights need no Orbax

  saved = config_lib.read(run)

  def restore(like):
    like = restoring.on_one_device(like)
    return restoring.restore_variables(run, str(checkpoint), saved.config, like)

  if tasks.is_second_stage(saved.config):
    model = second_stage.load(saved, run, restore, _as_given(run))
    return model if checkpoint == 'best' else dataclasses.replace(model, asked_step=model.step)
  task = _task(saved.config)
  variables, step = restore(cvae.abstract_variables(task.network))
  files = run_folder.checkpoint_path(run, step)
  asked_step = None if checkpoint == 'best' else step
  return _model(saved, task, variables, step, files, run, _as_given(run), asked_step)


def _exported(folder: Path, results: Path) -> Model:
  """The model of a folder with `weights.safetensors`: a shipped one, or a copy of one."""
  saved = config_lib.read(folder)
  read = functools.partial(tensor_files.read, folder / shipped.WEIGHTS_FILE)
  if tasks.is_second_stage(saved.config):
    return second_stage.load(saved, folder, read, results)
  task = _task(saved.config)
  variables, step = read(cvae.abstract_variables(task.network))
  return _model(saved, task, jax.device_put(variables), step, folder, folder, results)


def _shipped_name(path: Path) -> str | None:
  """The shipped model of a path: its folder, the folder of its results, or its name."""
  if path.resolve().parent == shipped.FOLDER:
    return path.resolve().name
  is_named = path.parent in (SHIPPED_RESULTS, Path()) and path.name in shipped.available()
  return path.name if is_named and not run_folder.holds_run(path) else None


def _as_given(run: Path) -> Path:
  """The run's folder, relative to the working directory if it lies below it."""
  return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def _model(
  saved: SavedConfig,
  task: Autoencoder,
  variables: dict,
  step: int,
  files: Path,
  tables_in: Path,
  folder: Path,
  asked_step: int | None = None,
) -> Model:
  """The model with these variables; its results go to `folder`.

  The fitted prior is in `files`, the training table in `tables_in`.
  """
  return Model(
    config=saved.config,
    class_names=saved.class_names,
    image_shape=task.network.image_shape,
    step=step,
    asked_step=asked_step,
    data_fingerprint=saved.data_fingerprint,
    folder=folder,
    task=task,
    variables=variables,
    prior=_prior(saved.config, task, variables, files),
    of_table=_of_table(saved, task, tables_in),
  )


def _of_table(saved: SavedConfig, task: Autoencoder, folder: Path) -> Conditioning | None:
  """The columns that a model is conditioned on, with those of training images in `folder`."""
  if not saved.columns:
    return None
  training = training_table.read(folder, saved.columns)
  return Conditioning(saved.columns, task.network.columns, has_table=True, training=training)


def _task(config) -> Autoencoder:
  """The task of a run, which has to be an autoencoder."""
  task = tasks.build(config, steps_per_epoch=1)  # schedules do not matter here
  if not isinstance(task, Autoencoder):
    raise InputError(
      f'objective={config.objective!r} trains no autoencoder, so it cannot be evaluated or drawn '
      'from. Name another run.'
    )
  return task


def _prior(config, task: Autoencoder, variables: dict, files: Path) -> LatentPrior:
  fitted, fitted_error = None, ''
  try:
    fitted = fitted_prior.read(files, variables, config)
  except InputError as error:  # raised only where the fitted prior is needed
    fitted_error = str(error)
  return LatentPrior(
    kind=config.prior if task.is_generative else 'none',
    latent_dim=config.latent_dim,
    fitted=jax.device_put(fitted),
    fitted_error=fitted_error,
    draw_own=functools.partial(latent_prior.draw_own, task, variables),
    change_conditions=functools.partial(latent_prior.change_conditions, task, variables),
  )
