"""Trained models by the name of a folder: runs, checkpoints in them, weights that ship."""

import dataclasses
import functools
from pathlib import Path

import jax

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.inference import shipped
from cvae_jax.inference.latent_prior import TrainedPriors
from cvae_jax.inference.model import Model
from cvae_jax.models import cvae, fitted_prior, generation
from cvae_jax.runtime import paths, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.autoencoder import Autoencoder
from cvae_jax.training import run_folder

# What the commands draw from, and judge, where nothing has been trained yet.
DEFAULT_WEIGHTS = 'mnist'
SHIPPED_RESULTS = Path('shipped')  # what is made with shipped weights goes to a folder in here


def load(path: str | Path | None = None, checkpoint: str | int = 'best') -> Model:
  """Loads a trained model; no code from its files is executed.

  Args:
    path: a run's folder, one checkpoint in it (`runs/mnist/checkpoints/4290`), or the name of
      weights that ship with the package (`available()`); a run of that name comes first. None is
      the run under `runs/` that was written last or, where there is none, the shipped 'mnist'.
    checkpoint: 'best' (by validation ELBO at β = 1), 'last', or a step, of a run.

  Returns:
    The model, with the moving average of its weights where the run kept one.

  Raises:
    InputError: there is no such run or checkpoint, or it is broken.
  """
  if path is None and (path := run_folder.newest(Path('runs'))) is None:
    print(f'No trained run under runs/: these are the weights of {DEFAULT_WEIGHTS} that ship.')
    path = SHIPPED_RESULTS / DEFAULT_WEIGHTS
  if name := _shipped_name(paths.from_user(path)):
    if checkpoint not in ('best', 'last'):
      raise InputError(f'The shipped {name} has no checkpoint {checkpoint!r}, only its weights.')
    return _exported(shipped.FOLDER / name, SHIPPED_RESULTS / name)
  run, named = run_folder.locate(Path(path), shipped.available())
  if (run / shipped.WEIGHTS_FILE).is_file() and not run_folder.has_checkpoint(run):  # a copy
    return _exported(run, _as_given(run))
  if named is not None and checkpoint != 'best':
    raise InputError(f'{path} is a checkpoint already: leave out checkpoint={checkpoint!r}.')
  checkpoint = checkpoint if named is None else named
  from cvae_jax.training import restoring  # late: shipped weights need no Orbax

  saved = config_lib.read(run)
  task = _task(saved.config)
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  like = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
    cvae.abstract_variables(task.network),
  )
  variables, step = restoring.restore_variables(run, str(checkpoint), saved.config, like)
  files = run_folder.checkpoint_path(run, step)
  model = _model(saved, task, variables, step, files, _as_given(run))
  return dataclasses.replace(model, asked_step=None if checkpoint == 'best' else step)


def _exported(folder: Path, results: Path) -> Model:
  """The model of a folder with `weights.safetensors`, as those that ship."""
  saved = config_lib.read(folder)
  task = _task(saved.config)
  like = cvae.abstract_variables(task.network)
  variables, step = tensor_files.read(folder / shipped.WEIGHTS_FILE, like)
  return _model(saved, task, jax.device_put(variables), step, folder, results)


def _shipped_name(path: Path) -> str | None:
  """The shipped weights that `path` names: their folder, that of their results, or their name."""
  if path.resolve().parent == shipped.FOLDER:
    return path.resolve().name
  is_named = path.parent in (SHIPPED_RESULTS, Path()) and path.name in shipped.available()
  return path.name if is_named and not run_folder.holds_run(path) else None


def _as_given(run: Path) -> Path:
  """A run's folder as people write it: from here, where it lies below."""
  return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def _model(
  saved: config_lib.SavedConfig,
  task: Autoencoder,
  variables: dict,
  step: int,
  files: Path,
  folder: Path,
) -> Model:
  """A model of `variables`, from the folder `files`, whose results belong in `folder`."""
  config = saved.config
  return Model(
    config=config,
    class_names=saved.class_names,
    image_shape=task.network.image_shape,
    step=step,
    asked_step=None,
    data_fingerprint=saved.data_fingerprint,
    folder=folder,
    task=task,
    variables=variables,
    priors=_priors(config, task, variables, files),
  )


def _task(config) -> Autoencoder:
  """The task of a run.

  Raises:
    InputError: it has no encoder and decoder.
  """
  task = tasks.build(config, steps_per_epoch=1)  # schedules do not matter here
  if not isinstance(task, Autoencoder):
    raise InputError(
      f'objective={config.objective!r} trains no autoencoder, which is what can be evaluated and '
      'drawn from. Name another run.'
    )
  return task


def _priors(config, task: Autoencoder, variables: dict, files: Path) -> TrainedPriors:
  fitted, fault = None, ''
  try:
    fitted = fitted_prior.read(files, variables, config)
  except InputError as error:  # much can be done without it
    fault = str(error)
  return TrainedPriors(
    kind=config.prior if task.is_generative else 'none',
    latent_dim=config.latent_dim,
    num_classes=fitted_prior.num_classes(config),
    fitted=jax.device_put(fitted),
    fault=fault,
    draw_own=functools.partial(generation.draw_prior, task.network, variables),
    change_class=functools.partial(generation.change_class, task.network, variables),
  )
