"""What a kind of model is to the training loop: `Task`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jax import Array

from cvae_jax.data.datasets import Dataset
from cvae_jax.runtime.registry import Registry

Variables = dict[str, Any]  # as linen has them: 'params' and perhaps 'batch_stats'
Batch = tuple[Array, Array]  # images uint8 [B, H, W, C], labels int32 [B]
Terms = dict[str, Array]  # numbers by name, in nats where they are densities

# A function of (config, steps_per_epoch) -> a Task. Its class has the attributes that are known
# without a config, such as `score`.
TASKS = Registry('objective')


class Artifact(NamedTuple):
  """What a finished run leaves beside a checkpoint: arrays, and a description for people."""

  arrays: Mapping[str, np.ndarray]
  description: str


class Task:
  """A kind of model, as training sees it. Pure: no files, no printing, no devices.

  A subclass gives the attributes without a value, `init`, `loss` and `evaluate`; all else has a
  default. `training/` asks for nothing beyond what stands here.
  """

  terms: ClassVar[tuple[str, ...]]  # what `loss` reports: columns of metrics.csv, log, curves
  score: ClassVar[str]  # the term of `evaluate` that picks the best checkpoint; lower is better
  validation_terms: tuple[str, ...]  # what `evaluate` reports
  artifacts: ClassVar[tuple[str, ...]] = ()  # names of what `finish` leaves
  # What to run next, for people: (purpose, command); {} is the run's folder.
  commands: ClassVar[tuple[tuple[str, str], ...]] = ()
  note: str = ''  # what a person should know before the run begins
  # From this step on the loss means the same: early stopping and warnings wait for it.
  warmup_steps: int = 0
  # Numbers that `loss` takes as arguments, so that runs of a sweep share a compiled step. Their
  # config fields have the effect TRACED.
  hyperparameters: Mapping[str, Array] = MappingProxyType({})
  compiler_options: Mapping[str, str] = MappingProxyType({})  # XLA's, for all programs of this task

  def init(self, key: Array) -> Variables:
    """The variables of an untrained model."""
    raise NotImplementedError

  def loss(
    self, variables: Variables, batch: Batch, hyper: Mapping[str, Array], key: Array, step: Array
  ) -> tuple[Array, tuple[Terms, Variables]]:
    """The objective on one batch, to be differentiated.

    Args:
      variables: the model's.
      batch: images uint8 [B, H, W, C] and labels [B].
      hyper: `hyperparameters`, or those of another run of the same program.
      key: for all that this step draws.
      step: int32, steps taken before.

    Returns:
      The loss (mean over images), and its `terms` with the new values of the variables that no
      gradient changes, such as the statistics of a batch norm.
    """
    raise NotImplementedError

  def evaluate(self, variables: Variables, batch: Batch, keys: Array) -> Terms:
    """The `validation_terms` of each image, [B]; the caller masks and averages.

    Args:
      variables: the model's.
      batch: images uint8 [B, H, W, C] and labels [B].
      keys: [B], one for each image, the same at every validation.
    """
    raise NotImplementedError

  def pictures(self, variables: Variables, batch: Batch, key: Array) -> dict[str, np.ndarray]:
    """What a person looks at, as tiles [rows, columns, H, W, C] in [0, 1]; the first comes first.

    Args:
      variables: the model's.
      batch: validation images uint8 [N, H, W, C] and labels [N].
      key: the run's; see `keys.named`.
    """
    return {}

  def latents(self, variables: Variables, batch: Batch) -> np.ndarray | None:
    """What images are encoded to, [N, D], for TensorBoard's projector; None without an encoder."""
    return None

  def warning(self, variables: Variables, batch: Batch) -> str | None:
    """What is wrong with a model whose warm-up is over, or None. `batch` is of the validation."""
    return None

  def finish(self, variables: Variables, dataset: Dataset, key: Array) -> dict[str, Artifact]:
    """What a finished run leaves beside its best and its last checkpoint: `artifacts`.

    Args:
      variables: the model's.
      dataset: the training images, on the host.
      key: the run's; see `keys.named`.

    Raises:
      InputError: it cannot be made; the run ends well without it.
    """
    return {}


def build(config, steps_per_epoch: int) -> Task:
  """The task that `config.objective` names.

  Args:
    config: a checked config.
    steps_per_epoch: what schedules count epochs in.
  """
  return TASKS[config.objective](config, steps_per_epoch)
