"""`Task`: the interface between a kind of model and the training loop."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, UInt8

from cvae_jax.data.datasets import Dataset
from cvae_jax.models.cvae import Conditions
from cvae_jax.runtime.registry import Registry

Variables = dict[str, Any]  # of linen: 'params' and perhaps 'batch_stats'
# Images, or what `Task.prepare` made of them, and their conditions.
Batch = tuple[UInt8[ArrayLike, 'batch h w c'] | Float[ArrayLike, 'batch ...'], Conditions]
Terms = dict[str, Float[Array, '']]  # by name; densities are in nats

# Classes of tasks, made with (config, steps_per_epoch) and, for a second stage, a `FirstStage`.
# Traits: `protocol`, how the validation terms are measured, for reports; `stage`, 1 or 2.
TASKS = Registry('objective', 'cvae_jax.tasks')


class Artifact(NamedTuple):
  """Arrays that a finished run writes beside a checkpoint, and a description for its log."""

  arrays: Mapping[str, np.ndarray]
  description: str


class Task:
  """A kind of model. Pure: no files, no printing, no devices.

  A subclass gives the attributes without a value, `init`, `loss` and `evaluate`; the rest has
  defaults. `training/` uses nothing else of it.

  Attributes:
    terms: of `loss`: columns of metrics.csv, the log, curves.
    score: the term of `evaluate` that picks the best checkpoint; lower is better.
    validation_terms: of `evaluate`.
    artifacts: names of what `finish` gives.
    commands: what the user may run next, as (purpose, 'sample --workdir={}'); {} is the folder of
      the run.
    note: for the user, before the run begins.
    warmup_steps: the loss changes its meaning before this step: early stopping and warnings wait.
    hyperparameters: arguments of `loss`, not constants of it, so that the runs of a sweep share a
      compiled step. Their config fields have the effect TRACED.
    compiler_options: XLA's, for all programs of this task.
  """

  terms: ClassVar[tuple[str, ...]]
  score: ClassVar[str]
  validation_terms: tuple[str, ...]
  artifacts: ClassVar[tuple[str, ...]] = ()
  commands: ClassVar[tuple[tuple[str, str], ...]] = ()
  note: str = ''
  warmup_steps: int = 0
  hyperparameters: Mapping[str, Array] = MappingProxyType({})
  compiler_options: Mapping[str, str] = MappingProxyType({})

  def prepare(self, train: Dataset, validation: Dataset) -> tuple['Task', Dataset, Dataset]:
    """The task and the datasets that a run computes with; a second stage encodes images once."""
    return self, train, validation

  def init(self, key: Key[Array, '']) -> Variables:
    """The variables of an untrained model."""
    raise NotImplementedError

  def loss(
    self,
    variables: Variables,
    batch: Batch,
    hyper: Mapping[str, ArrayLike],
    key: Key[Array, ''],
    step: Int[ArrayLike, ''],
  ) -> tuple[Float[Array, ''], tuple[Terms, Variables]]:
    """The objective on one batch, to be differentiated.

    Args:
      variables: the model's.
      batch: images and conditions.
      hyper: `hyperparameters`, or those of another run of the same program.
      key: for everything that this step draws.
      step: steps taken before.

    Returns:
      The loss, mean over images, and its `terms` with the new values of the variables that no
      gradient changes, such as the statistics of a batch norm.
    """
    raise NotImplementedError

  def evaluate(
    self, variables: Variables, batch: Batch, keys: Key[Array, ' batch']
  ) -> dict[str, Float[Array, ' batch']]:
    """The `validation_terms` of each image; the caller masks and averages.

    Args:
      variables: the model's.
      batch: images and conditions.
      keys: one for each image, the same at every validation.
    """
    raise NotImplementedError

  def pictures(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> dict[str, Float[np.ndarray, '_ _ h w c']]:
    """Rows and columns of images in [0, 1], by name, the most telling first.

    Args:
      variables: the model's.
      batch: validation images and conditions.
      key: the run's; see `keys.named`.
    """
    return {}

  def latents(self, variables: Variables, batch: Batch) -> Float[np.ndarray, 'batch d'] | None:
    """Encoded images, for TensorBoard's projector; None without an encoder."""
    return None

  def warning(self, variables: Variables, batch: Batch) -> str | None:
    """What is wrong with the model after its warm-up, or None; `batch` is of the validation."""
    return None

  def finish(
    self, variables: Variables, dataset: Dataset, key: Key[Array, '']
  ) -> dict[str, Artifact]:
    """The `artifacts` of a finished run, for its best and its last checkpoint.

    Args:
      variables: the model's.
      dataset: the training images, on the host.
      key: the run's; see `keys.named`.

    Raises:
      InputError: they cannot be made; the run succeeds without them.
    """
    return {}


def is_second_stage(config) -> bool:
  """Whether the task that `config.objective` names learns the latents of a trained model."""
  return TASKS.trait(config.objective, 'stage', 1) == 2


def build(config, steps_per_epoch: int, first_stage: Any = None) -> Task:
  """The task that `config.objective` names.

  Args:
    config: a checked config.
    steps_per_epoch: what schedules count epochs in.
    first_stage: the `FirstStage` of a second stage.
  """
  frozen = (first_stage,) if is_second_stage(config) else ()
  return TASKS[config.objective](config, steps_per_epoch, *frozen)
