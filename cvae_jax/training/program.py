"""What a run computes: a config's task with its data, compiled when it is first called."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.config import SavedConfig
from cvae_jax.data import batches, datasets
from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import Source
from cvae_jax.runtime import devices, keys, processes
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import Task
from cvae_jax.tasks.first_stage import FirstStage
from cvae_jax.tasks.task import Batch
from cvae_jax.training import feed as feed_lib
from cvae_jax.training import first_stage as first_stage_lib
from cvae_jax.training import state as state_lib
from cvae_jax.training.feed import Chunk, Feed
from cvae_jax.training.state import Hyperparameters, TrainState
from cvae_jax.training.step import Step, compile_chunk, make_step
from cvae_jax.training.validation import make_evaluate

MAX_SHOWN = 1_000  # validation images that pictures, warnings and the projector are given


class Program(NamedTuple):
  """The functions of a run, and its data."""

  config: ConfigDict
  task: Task
  hyper: Hyperparameters
  saved: SavedConfig  # what config.json says of the run
  # What follows does not depend on the hyperparameters: runs that differ in them alone share it.
  mesh: Mesh
  train: Dataset
  validation: Dataset
  shown: Batch  # the first validation images, on the host, for pictures and warnings
  feed: Feed
  steps_per_epoch: int
  step: Step
  compiled_chunk: Callable[..., Any]  # see `step.make_chunk`
  evaluate: Callable[..., dict[str, float]]  # see `validation.make_evaluate`
  init: Callable[[Array], Any]  # key -> variables
  shuffle: Callable[[Array, int], Array]  # (key, epoch) -> [steps, batch] row numbers
  first_stage: FirstStage | None = None  # of a second stage
  counts: tuple[str, ...] = ()  # lines that introduce the data; see `datasets.class_counts`

  @property
  def total_steps(self) -> int:
    """Steps of the whole run."""
    return self.config.num_epochs * self.steps_per_epoch

  def chunks(self, bounds: Iterable[tuple[int, int]]) -> Iterator[Chunk]:
    """The data of the steps of this run between each two of `bounds`."""
    return self.feed.chunks(bounds, partial(self.shuffle, keys.stream(self.config.seed, 'order')))

  def chunk(self, state: TrainState, data, num_steps: int):
    """The state `num_steps` steps on, and the terms of each step; `state` is donated."""
    return self.compiled_chunk(state, data, self.hyper, num_steps=num_steps)

  def fresh_state(self) -> TrainState:
    """The state before the first step, with random weights."""
    return self.state_of(self.init(keys.stream(self.config.seed, 'init')))

  def state_of(self, variables) -> TrainState:
    """The state before the first step, with these weights."""
    config = self.config
    learning_rate = state_lib.learning_rate_schedule(
      config, config.learning_rate, self.steps_per_epoch
    )
    optimizer = state_lib.build_optimizer(config.optimizer, learning_rate, self.hyper)
    state = state_lib.create(config, optimizer, variables)
    return devices.place(state, devices.replicated(self.mesh))

  def validate(self, state: TrainState) -> dict[str, float]:
    """The validation terms, with the same noise at every validation of the run."""
    images, conditions = self.validation.images, self.validation.conditions
    key = keys.stream(self.config.seed, 'validation')
    return self.evaluate(state.eval_variables, images, conditions, key)


def build(config, at_most: int | None = None, source: Source | None = None) -> Program:
  """Loads the data and makes the functions of a run; nothing is written, little is compiled.

  Args:
    config: a config.
    at_most: for a trial, take no more images than this of each split.
    source: the data set; None reads the one that the config names.

  Raises:
    InputError: the config or the data cannot be used.
  """
  config_lib.check(config)
  devices.mesh(config.batch_size)  # before the data are read, which takes longer
  first_stage = first_stage_lib.read(config)
  splits = processes.main_first(lambda: datasets.load(config, at_most, source))
  program = assemble(config, splits.train, splits.validation, first_stage=first_stage)
  return program._replace(counts=tuple(datasets.class_counts(splits)))


def assemble(
  config,
  train: Dataset,
  validation: Dataset,
  mesh: Mesh | None = None,
  first_stage: FirstStage | None = None,
) -> Program:
  """The functions of a run on images at hand.

  Args:
    config: a checked config.
    train: what it is trained on.
    validation: what it is validated on.
    mesh: the devices over which each batch is split; all, if not given.
    first_stage: of a second stage.

  Raises:
    InputError: the config does not go with the devices, or with so many images.
  """
  mesh = mesh or devices.mesh(config.batch_size)
  config = datasets.completed(config, train)
  config_lib.check(config)  # again: the data may have columns that its prior cannot use
  if first_stage:
    first_stage_lib.check_conditions(first_stage, train)
  saved = SavedConfig(
    config,
    train.class_names,
    datasets.fingerprint(train, validation),
    datasets.describe(train, validation),
    train.columns,
    first_stage.digest if first_stage else None,
  )
  processes.check_same({'the hash of images and labels': saved.data_fingerprint})
  num_train = len(train.labels)
  steps_per_epoch = batches.steps_per_epoch(num_train, config.batch_size)
  if config.num_epochs * steps_per_epoch > config_lib.MAX_STEPS:
    raise InputError(
      f'num_epochs={config.num_epochs} of {steps_per_epoch} steps are more than '
      f'{config_lib.MAX_STEPS} steps. Choose at most {config_lib.MAX_STEPS // steps_per_epoch}.'
    )
  task = tasks.build(config, steps_per_epoch, first_stage)
  task, train, validation = task.prepare(train, validation)
  # Copies: a view would keep all images on the host.
  shown = validation.images[:MAX_SHOWN].copy(), validation.conditions[:MAX_SHOWN].copy()
  feed, train, validation = feed_lib.make_feed(config, train, validation, mesh)
  step = make_step(config, task, steps_per_epoch, feed.pick)
  everywhere = devices.replicated(mesh)
  return Program(
    config=config,
    task=task,
    hyper=state_lib.hyperparameters(config, task),
    saved=saved,
    mesh=mesh,
    train=train,
    validation=validation,
    shown=shown,
    feed=feed,
    steps_per_epoch=steps_per_epoch,
    step=step,
    compiled_chunk=compile_chunk(step, everywhere, task.compiler_options),
    evaluate=make_evaluate(task, config.batch_size, mesh),
    init=jax.jit(task.init),
    shuffle=jax.jit(_order(config, train), out_shardings=everywhere),
    first_stage=first_stage,
  )


def _order(config, train: Dataset) -> Callable[[Array, int], Array]:
  """(key, epoch) -> [steps, batch] row numbers of the training images."""
  size = config.batch_size
  if config.data.labelled_fraction:
    return _labelled_order(config, np.asarray(train.labels) >= 0)
  if config.data.balance == 'none':
    return partial(batches.epoch_order, num_examples=len(train.labels), batch_size=size)
  if not train.class_names:
    raise InputError(
      f'data.balance={config.data.balance!r} needs classes, which {config.data.name!r} does not '
      'have. Set --config.data.balance=none.'
    )
  present, labels = np.unique(train.labels, return_inverse=True)  # a missing class counts as one
  return partial(
    batches.balanced_order, labels=np.int32(labels), num_classes=len(present), batch_size=size
  )


def _labelled_order(config, is_labelled: np.ndarray) -> Callable[[Array, int], Array]:
  """`_order` with a fraction of images whose class is known."""
  fraction, size = config.data.labelled_fraction, config.batch_size
  if config.data.balance != 'none':
    raise InputError(
      f'data.balance={config.data.balance!r} and data.labelled_fraction={fraction:g} both say what '
      'is in a batch. Leave one out.'
    )
  if is_labelled.all() or not is_labelled.any():
    raise InputError(
      f'data.labelled_fraction={fraction:g} needs images with and without a class, but '
      f'{"all" if is_labelled.all() else "none"} of the {len(is_labelled):,} training images have '
      'one. Set --config.data.labelled_fraction=0.'
    )
  count = int(np.clip(round(fraction * size), 1, size - 1))
  return partial(
    batches.labelled_order, is_labelled=is_labelled, num_labelled=count, batch_size=size
  )


def varied(program: Program, config) -> Program:
  """The program of a run that differs in traced fields alone: no training step is compiled anew.

  Raises:
    ValueError: it differs in more.
  """
  config = datasets.completed(config, program.train)
  if not config_lib.shares_program(program.config, config):
    different = config_lib.differences(program.config, config)
    raise ValueError(f'other programs: {"; ".join(map(str, different))}')
  task = tasks.build(config, program.steps_per_epoch, program.first_stage)
  # A task that is not equal validates by other numbers, such as a β of its own.
  is_same = task == program.task
  evaluate = make_evaluate(task, config.batch_size, program.mesh)
  return program._replace(
    config=config,
    task=task,
    evaluate=program.evaluate if is_same else evaluate,
    hyper=state_lib.hyperparameters(config, task),
    saved=program.saved._replace(config=config),
  )
