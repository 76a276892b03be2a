"""A config becomes functions: what a run computes, compiled late, with its data on the device."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.data import batches, corruption
from cvae_jax.data import datasets as splits
from cvae_jax.data.datasets import Dataset
from cvae_jax.evaluation.likelihood import observe
from cvae_jax.evaluation.metrics import make_evaluate
from cvae_jax.models import architectures, cvae, fitted_prior, generation, likelihoods
from cvae_jax.models.fitted_prior import FittedPrior
from cvae_jax.plots import grids
from cvae_jax.runtime import devices, keys, paths, processes
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import schedules
from cvae_jax.training import checkpoints, chunks, projector, run_folder, state, step
from cvae_jax.training import settings as settings_lib
from cvae_jax.training.chunks import Chunk, Feed
from cvae_jax.training.settings import Settings

RECONSTRUCTION_ROWS = 4
LATENTS_BATCH = 256


class Program(NamedTuple):
  """What a config compiles to, with its data."""

  config: ConfigDict
  mesh: Mesh
  train: Dataset
  validation: Dataset  # on the device, unless the data are streamed
  described: SavedConfig  # what config.json says of the run
  placement: str  # 'device' or 'stream'
  steps_per_epoch: int
  total_steps: int
  beta_delay_steps: int
  warmup_steps: int  # until β first is what it is to be
  settings: Settings
  fresh_state: Callable[[], state.TrainState]
  initial_state: Callable[[], state.TrainState]  # fresh, or from config.init_from
  order: Callable[[int], Array]  # epoch -> [steps, batch] row numbers
  # What follows does not depend on the settings: runs that differ in them alone share it.
  feed: Feed
  init: Callable[[Array], Any]  # a key -> variables
  shuffle: Callable[[Array, int], Array]  # (a key, epoch) -> what `order` returns
  take_step: Callable[..., tuple[state.TrainState, step.Terms]]  # see `step.make_step_of_run`
  compile_chunk: Callable[..., Callable]  # of a function like `take_step`
  compiled_chunk: Callable[..., tuple[state.TrainState, step.Terms]]
  evaluate: Callable[..., dict[str, float]]
  encode: Callable[..., tuple[Array, Array]]
  decode: Callable[..., Array]
  draw_prior: Callable[..., Array]

  def chunks(self, bounds: Iterable[tuple[int, int]]) -> Iterator[Chunk]:
    """The data of the steps of this run between each two of `bounds`."""
    return self.feed.chunks(bounds, self.order)

  def chunk(self, now: state.TrainState, data, num_steps: int):
    """The state `num_steps` steps on, and the terms of each; `now` is donated."""
    return self.compiled_chunk(now, data, self.settings, num_steps=num_steps)


def build(config, at_most: int | None = None) -> Program:
  """Loads the data and makes the functions of a run; nothing is written, little is compiled.

  Args:
    config: see configs/default.py.
    at_most: for a trial, take no more images than this of each split.

  Raises:
    InputError: the config or the data cannot be used.
  """
  config_lib.check(config)
  devices.mesh(config.batch_size)  # before the data are read, which takes longer
  train, validation, _ = processes.main_first(lambda: splits.load(config, at_most))
  return assemble(config, train, validation)


def assemble(config, train: Dataset, validation: Dataset, mesh: Mesh | None = None) -> Program:
  """The functions of a run of a checked config on images at hand.

  Args:
    config: see configs/default.py.
    train: what it is trained on.
    validation: what it is validated on.
    mesh: the devices over which each batch is split; all, if not given.

  Raises:
    InputError: the config does not go with the devices, or with so many images.
  """
  mesh = mesh or devices.mesh(config.batch_size)
  everywhere = devices.replicated(mesh)
  num_train = len(train.labels)
  described = SavedConfig(
    config,
    train.class_names,
    splits.fingerprint(train, validation),
    splits.describe(train, validation),
  )
  processes.check_same({'the hash of images and labels': described.data_fingerprint})
  steps_per_epoch = batches.steps_per_epoch(num_train, config.batch_size)
  total_steps = config.num_epochs * steps_per_epoch

  if total_steps > config_lib.MAX_STEPS:
    raise InputError(
      f'num_epochs={config.num_epochs} of {steps_per_epoch} steps are more than '
      f'{config_lib.MAX_STEPS} steps. '
      f'Choose at most {config_lib.MAX_STEPS // steps_per_epoch}.'
    )

  placement = _placement(config, train.images.nbytes + validation.images.nbytes)
  if placement == 'stream':
    feed = chunks.streamed(train, steps_per_epoch, config.batch_size, mesh)
  else:
    train, validation = (_on_device(part, everywhere) for part in (train, validation))
    feed = chunks.on_device(train.images, train.labels, steps_per_epoch, mesh)

  model = cvae.build(config)
  likelihood = likelihoods.build(config)
  options = architectures.compiler_options(config.model.name, config.deterministic)
  init = jax.jit(partial(cvae.init, model))
  shuffle = jax.jit(
    partial(batches.epoch_order, num_examples=num_train, batch_size=config.batch_size),
    out_shardings=everywhere,
  )
  take_step = step.make_step_of_run(
    partial(_train_step, config, model, likelihood, steps_per_epoch), feed.pick
  )

  def compile_chunk(take_step):
    return jax.jit(
      step.make_chunk(take_step),
      donate_argnums=0,
      static_argnames='num_steps',
      out_shardings=everywhere,
      compiler_options=options,
    )

  return Program(
    **_of_run(config, steps_per_epoch, init, shuffle, everywhere),
    mesh=mesh,
    train=train,
    validation=validation,
    described=described,
    placement=placement,
    steps_per_epoch=steps_per_epoch,
    total_steps=total_steps,
    feed=feed,
    init=init,
    shuffle=shuffle,
    take_step=take_step,
    compile_chunk=compile_chunk,
    compiled_chunk=compile_chunk(take_step),
    evaluate=make_evaluate(
      model,
      likelihood,
      config.data.binarize,
      config.batch_size,
      mesh,
      options,
      corruption.build(config),
    ),
    encode=generation.make_encode(model, likelihood),
    decode=generation.make_decode_mean(model, likelihood),
    draw_prior=generation.make_draw_prior(model),
  )


def varied(prog: Program, config) -> Program:
  """The program of a run whose config differs in its settings alone: nothing is compiled anew.

  Raises:
    ValueError: it differs in more.
  """
  if not settings_lib.share_program(prog.config, config):
    different = config_lib.differences(prog.config, config)
    raise ValueError(f'other programs: {"; ".join(map(str, different))}')
  return prog._replace(
    **_of_run(config, prog.steps_per_epoch, prog.init, prog.shuffle, devices.replicated(prog.mesh)),
    described=prog.described._replace(config=config),
  )


def _of_run(config, steps_per_epoch: int, init, shuffle, everywhere) -> dict[str, Any]:
  """The fields of a Program that depend on the settings of its run."""
  settings = settings_lib.of(config, steps_per_epoch)
  delay_steps, rise_steps = settings_lib.beta_times(config, steps_per_epoch)
  learning_rate = state.learning_rate_schedule(config, config.learning_rate, steps_per_epoch)
  optimizer = state.build_optimizer(config.optimizer, learning_rate, settings)

  def fresh_state():
    variables = init(keys.stream(config.seed, 'init'))
    return devices.place(state.create(config, optimizer, variables), everywhere)

  def initial_state():
    fresh = fresh_state()
    if not config.init_from:
      return fresh
    variables = _variables_of(paths.from_user(config.init_from), config, fresh.variables)
    return devices.place(state.create(config, optimizer, variables), everywhere)

  return {
    'config': config,
    'settings': settings,
    'beta_delay_steps': delay_steps,
    'warmup_steps': schedules.steps_to_full_beta(
      config.beta_schedule,
      delay_steps,
      rise_steps,
      config.num_epochs * steps_per_epoch,
      config.beta_cycles,
    ),
    'fresh_state': fresh_state,
    'initial_state': initial_state,
    'order': partial(shuffle, keys.stream(config.seed, 'order')),
  }


def _train_step(config, model, likelihood, steps_per_epoch: int, settings: Settings):
  """The step of `step.make_train_step`, of settings that may be traced."""
  beta = schedules.beta_schedule(
    config.beta_schedule,
    settings.beta,
    settings.beta_delay_steps,
    settings.beta_warmup_steps,
    config.num_epochs * steps_per_epoch,
    config.beta_cycles,
  )
  loss = step.make_loss(config, model, likelihood, beta, settings.free_bits)
  learning_rate = state.learning_rate_schedule(config, settings.learning_rate, steps_per_epoch)
  optimizer = state.build_optimizer(config.optimizer, learning_rate, settings)
  return step.make_train_step(config, loss, optimizer, learning_rate)


def _placement(config, num_bytes: int) -> str:
  """'device' or 'stream': what the config says, or else what the free memory allows."""
  if config.data.placement != 'auto':
    return config.data.placement
  free = devices.free_bytes()
  # The other half is for the model, its optimizer and what a step computes.
  is_too_large = free is not None and num_bytes > free / 2
  return 'stream' if any(processes.gather(is_too_large)) else 'device'


def _on_device(part: Dataset, sharding) -> Dataset:
  images, labels = devices.place((part.images, part.labels), sharding)
  return part._replace(images=images, labels=labels)


def check_init_from(config) -> None:
  """Raises InputError unless `config.init_from` is empty, or names weights that fit."""
  if config.init_from:
    check_same_shapes(run_folder.locate(paths.from_user(config.init_from)).run, config)


def _variables_of(path: Path, config, like):
  source = run_folder.locate(path)
  step = agree_on_step(source, 'best')
  saved = config_lib.read(source.run).config
  return checkpoints.restore_variables(source.run, str(step), saved, like)[0]


def agree_on_step(source: run_folder.CheckpointPath, otherwise: str) -> int:
  """The checkpoint that all processes take, of a run that another one may be adding to.

  Args:
    source: where it is looked for.
    otherwise: 'best' or 'last', if `source` names a run alone.
  """
  if source.step is not None:
    return source.step
  return processes.from_main(checkpoints.choose(source.run, otherwise))


def check_same_shapes(run: Path, config) -> None:
  """Raises InputError unless the weights of `run` fit the model that `config` describes."""
  saved = config_lib.read(run).config
  if _shapes(saved) == _shapes(config):
    return
  different = [
    difference
    for difference in config_lib.differences(saved, config)
    if difference.field in config_lib.having(config_lib.SHAPES)
  ]
  raise InputError(
    f'The weights of {run} do not fit: {"; ".join(map(str, different))}. '
    'Set these fields to what they are there.'
  )


def _shapes(config):
  model = cvae.build(config)
  variables = jax.eval_shape(partial(cvae.init, model), jax.random.key(0))
  return jax.tree.map(lambda leaf: leaf.shape, variables)


def sample_grid(program: Program, variables) -> np.ndarray:
  """Decoder means of the same latents at every step of the run, a row for each class.

  Drawn by the process that asks, alone, as is `reconstruction_grid`; which is what a denoising
  autoencoder has in this one's place.

  Returns:
    uint8 [H, W, C].
  """
  if program.config.objective == 'dae':
    return reconstruction_grid(program, variables)
  labels, columns = generation.grid_labels(program.config)
  variables, key = devices.own_copy(variables), keys.stream(program.config.seed, 'samples')
  latents = program.draw_prior(variables, labels, key, jnp.arange(len(labels)), 1.0)
  images = jax.device_get(program.decode(variables, latents, labels))
  return grids.grid(images, columns)


def reconstruction_grid(program: Program, variables) -> np.ndarray:
  """The first validation images, each row of them above its reconstructions.

  Those of a denoising autoencoder are corrupted.

  Returns:
    uint8 [H, W, C].
  """
  available = len(program.validation.labels)
  columns = min(generation.GRID_COLUMNS, available)
  count = min(RECONSTRUCTION_ROWS, available // columns) * columns
  variables, validation = devices.own_copy((variables, program.validation[:2]))
  images = jnp.asarray(validation[0][:count], jnp.float32) / 255
  labels = validation[1][:count]
  if corrupt := corruption.build(program.config):
    images = corrupt(keys.stream(program.config.seed, 'corruption'), images)
  mean, _ = program.encode(variables, images, labels)
  reconstructions = program.decode(variables, mean, labels)
  return grids.pairs(*jax.device_get((images, reconstructions)), columns)


def validation_latents(program: Program, variables) -> tuple[np.ndarray, Dataset]:
  """Posterior means of the first validation images, [N, latent], and those images."""
  part = program.validation
  variables, (images, labels) = devices.own_copy((variables, part[:2]))
  first = slice(projector.MAX_IMAGES)
  images, labels = jax.device_get((images[first], labels[first]))
  mean, _ = batches.map_rows(
    lambda images, labels: program.encode(variables, np.float32(images) / 255, labels),
    min(program.config.batch_size, LATENTS_BATCH),
    images,
    labels,
  )
  return mean, Dataset(images, labels, part.class_names)


def fit_prior(program: Program, variables) -> tuple[FittedPrior, int]:
  """The prior that `variables` go best with: fitted to where they encode the training images.

  Of each class the first `fitted_prior.MAX_IMAGES`, as no more are fitted to. The variables are
  this process's own copy.

  Returns:
    The prior, and how many classes have too few images for a part of their own.

  Raises:
    InputError: there is none to be fitted.
  """
  conditional = program.config.conditional
  labels = np.asarray(jax.device_get(devices.own_copy(program.train.labels)))
  classes = labels if conditional else np.zeros_like(labels)
  num_classes = fitted_prior.num_classes(program.config)
  rows = [np.flatnonzero(classes == c)[: fitted_prior.MAX_IMAGES] for c in range(num_classes)]
  rows = np.sort(np.concatenate(rows))
  # Chosen on the host: a second copy might not fit on the device.
  images = np.asarray(jax.device_get(devices.own_copy(program.train.images)))[rows]
  key = keys.stream(program.config.seed, 'fitted_prior')
  see = jax.jit(partial(observe, key=key, binarize=program.config.data.binarize))
  moments = batches.map_rows(
    lambda images, labels, indices: program.encode(variables, see(images, indices)[0], labels),
    min(program.config.batch_size, LATENTS_BATCH),
    images,
    labels[rows],
    np.arange(len(rows), dtype=np.int32),
  )
  fitted = fitted_prior.fit(*moments, classes[rows], num_classes)
  return fitted, int(np.sum(~fitted_prior.has_own(classes, num_classes)))
