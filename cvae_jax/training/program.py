"""A config becomes functions: what a run computes, compiled late, with its data on the device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax import config_fields, devices, fitted_prior, generation, grids, keys, paths, processes
from cvae_jax.config import SavedConfig
from cvae_jax.data import batches, splits
from cvae_jax.data.splits import Dataset
from cvae_jax.errors import InputError
from cvae_jax.evaluation.likelihood import observe
from cvae_jax.evaluation.metrics import make_evaluate
from cvae_jax.fitted_prior import FittedPrior
from cvae_jax.models import cvae
from cvae_jax.objectives import likelihoods, schedules
from cvae_jax.training import checkpoints, chunks, projector, run_folder, state, step
from cvae_jax.training.chunks import Feed

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
  fresh_state: Callable[[], state.TrainState]
  initial_state: Callable[[], state.TrainState]  # fresh, or from config.init_from
  feed: Feed
  chunk: Callable[..., tuple[state.TrainState, step.Terms]]
  # (optimizer, learning rate, β) -> another such chunk, of the same data and noise.
  compile_chunk: Callable[..., Callable[..., tuple[state.TrainState, step.Terms]]]
  evaluate: Callable[..., dict[str, float]]
  encode: Callable[..., tuple[Array, Array]]
  decode: Callable[..., Array]
  draw_prior: Callable[..., Array]


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


def assemble(config, train: Dataset, validation: Dataset) -> Program:
  """The functions of a run of a checked config on images at hand.

  Raises:
    InputError: the config does not go with the devices, or with so many images.
  """
  mesh = devices.mesh(config.batch_size)
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

  if total_steps > config_fields.MAX_STEPS:
    raise InputError(
      f'num_epochs={config.num_epochs} of {steps_per_epoch} steps are more than '
      f'{config_fields.MAX_STEPS} steps. '
      f'Choose at most {config_fields.MAX_STEPS // steps_per_epoch}.'
    )

  model = cvae.build(config)
  likelihood = likelihoods.build(config)
  learning_rate = state.learning_rate_schedule(config, steps_per_epoch)
  optimizer = state.build_optimizer(config, learning_rate)
  beta_delay_steps = config.beta_delay_steps or round(config.beta_delay_epochs * steps_per_epoch)
  beta_times = (
    beta_delay_steps,
    config.beta_warmup_steps or config.beta_warmup_epochs * steps_per_epoch,
    total_steps,
    config.beta_cycles,
  )
  beta_schedule = schedules.beta_schedule(config.beta_schedule, config.beta, *beta_times)
  order = jax.jit(
    partial(batches.epoch_order, config.seed, num_examples=num_train, batch_size=config.batch_size),
    out_shardings=everywhere,
  )
  placement = _placement(config, train.images.nbytes + validation.images.nbytes)
  if placement == 'stream':
    feed = chunks.streamed(train, order, steps_per_epoch, config.batch_size, mesh)
  else:
    train, validation = (_on_device(part, everywhere) for part in (train, validation))
    feed = chunks.on_device(train.images, train.labels, order, steps_per_epoch, mesh)

  init = jax.jit(partial(cvae.init, model))
  options = devices.compiler_options(config.model.name, config.deterministic)

  def compile_chunk(optimizer, learning_rate, beta):
    loss = step.make_loss(config, model, likelihood, beta)
    train_step = step.make_train_step(config, loss, optimizer, learning_rate)
    noise_key = keys.stream(config.seed, 'noise')
    return step.make_chunk(train_step, feed.pick, noise_key, mesh, options)

  def fresh_state():
    variables = init(keys.stream(config.seed, 'init'))
    return devices.place(state.create(config, optimizer, variables), everywhere)

  def initial_state():
    fresh = fresh_state()
    if not config.init_from:
      return fresh
    variables = _variables_of(paths.from_user(config.init_from), config, fresh.variables)
    return devices.place(state.create(config, optimizer, variables), everywhere)

  return Program(
    config=config,
    mesh=mesh,
    train=train,
    validation=validation,
    described=described,
    placement=placement,
    steps_per_epoch=steps_per_epoch,
    total_steps=total_steps,
    beta_delay_steps=beta_delay_steps,
    warmup_steps=schedules.steps_to_full_beta(config.beta_schedule, *beta_times),
    fresh_state=fresh_state,
    initial_state=initial_state,
    feed=feed,
    chunk=compile_chunk(optimizer, learning_rate, beta_schedule),
    compile_chunk=compile_chunk,
    evaluate=make_evaluate(
      model, likelihood, config.data.binarize, config.batch_size, mesh, options
    ),
    encode=generation.make_encode(model, likelihood),
    decode=generation.make_decode_mean(model, likelihood),
    draw_prior=generation.make_draw_prior(model),
  )


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
    if difference.field in config_fields.SHAPES
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

  Drawn by the process that asks, alone, as is `reconstruction_grid`.

  Returns:
    uint8 [H, W, C].
  """
  labels, columns = generation.grid_labels(program.config)
  variables, key = devices.own_copy(variables), keys.stream(program.config.seed, 'samples')
  latents = program.draw_prior(variables, labels, key, jnp.arange(len(labels)), 1.0)
  images = jax.device_get(program.decode(variables, latents, labels))
  return grids.grid(images, columns)


def reconstruction_grid(program: Program, variables) -> np.ndarray:
  """The first validation images, each row of them above its reconstructions.

  Returns:
    uint8 [H, W, C].
  """
  available = len(program.validation.labels)
  columns = min(generation.GRID_COLUMNS, available)
  count = min(RECONSTRUCTION_ROWS, available // columns) * columns
  variables, validation = devices.own_copy((variables, program.validation[:2]))
  images = jnp.asarray(validation[0][:count], jnp.float32) / 255
  labels = validation[1][:count]
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
