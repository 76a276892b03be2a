"""All that changes while a run trains, and the numbers that its steps take as arguments."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array

from cvae_jax.runtime import keys
from cvae_jax.tasks import Task


@flax.struct.dataclass
class TrainState:
  """A run between two steps.

  `variables` are what linen calls so: 'params' and, with a batch norm, its running statistics
  'batch_stats'. `ema` is their moving average, or None.
  """

  step: Array  # int32 scalar: steps taken
  variables: dict[str, Any]
  ema: dict[str, Any] | None
  opt_state: Any

  @property
  def eval_variables(self) -> dict[str, Any]:
    """What results are computed with: the average where there is one."""
    return self.variables if self.ema is None else self.ema


class Hyperparameters(NamedTuple):
  """Numbers that the compiled step takes as arguments, so that runs of a sweep share it."""

  noise_key: Array  # each step folds its number into it
  learning_rate: Array  # float32, the peak of its schedule
  weight_decay: Array  # float32
  clip_norm: Array  # float32; 0 does not clip
  task: Mapping[str, Array]  # see `Task.hyperparameters`


def hyperparameters(config, task: Task) -> Hyperparameters:
  """Those of the run that a checked config describes."""
  return Hyperparameters(
    noise_key=keys.stream(config.seed, 'noise'),
    learning_rate=jnp.float32(config.learning_rate),
    weight_decay=jnp.float32(config.weight_decay),
    clip_norm=jnp.float32(config.clip_norm),
    task=jax.tree.map(jnp.asarray, dict(task.hyperparameters)),  # on the device, for all steps
  )


def learning_rate_schedule(
  config, learning_rate: float | Array, steps_per_epoch: int
) -> optax.Schedule:
  """The learning rate by step: constant, or linear warm-up and cosine decay to 0.

  Args:
    config: names the schedule.
    learning_rate: its peak, which may be traced.
    steps_per_epoch: steps in one epoch.
  """
  if config.learning_rate_schedule == 'constant':
    return optax.constant_schedule(learning_rate)
  total_steps = config.num_epochs * steps_per_epoch
  # At least one step is left for the decay, however short the run.
  warmup_steps = round(config.learning_rate_warmup_epochs * steps_per_epoch)
  fraction = optax.warmup_cosine_decay_schedule(
    init_value=0.0 if warmup_steps else 1.0,
    peak_value=1.0,
    warmup_steps=min(warmup_steps, total_steps - 1),
    decay_steps=total_steps,
  )
  return lambda step: learning_rate * fraction(step)


def build_optimizer(
  name: str, learning_rate: optax.Schedule, hyper: Hyperparameters
) -> optax.GradientTransformation:
  """'adamw' or 'adam', behind a clip of the global norm of the gradient."""
  if name == 'adam':
    optimizer = optax.adam(learning_rate)
  else:
    optimizer = optax.adamw(learning_rate, weight_decay=hyper.weight_decay)
  max_norm = jnp.where(hyper.clip_norm > 0, hyper.clip_norm, jnp.inf)
  return optax.chain(optax.clip_by_global_norm(max_norm), optimizer)


def create(config, optimizer: optax.GradientTransformation, variables) -> TrainState:
  """The state before the first step, from the variables of an untrained or another model."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    variables=variables,
    # A copy: donated buffers may not be shared.
    ema=jax.tree.map(jnp.copy, variables) if config.ema_decay else None,
    opt_state=optimizer.init(variables['params']),
  )


def update_ema(ema, variables, decay: float, step: Array):
  """Moves the average towards `variables`.

  The decay rises to its final value as (1 + step) / (10 + step), so that a short run's average is
  not dominated by its random start.
  """
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return optax.incremental_update(variables, ema, 1.0 - decay)
