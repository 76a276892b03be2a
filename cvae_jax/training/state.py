"""All that changes while a run trains, and how it begins."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array


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


def learning_rate_schedule(config, steps_per_epoch: int) -> optax.Schedule:
  """The learning rate by step: constant, or linear warm-up and cosine decay to 0."""
  if config.learning_rate_schedule == 'constant':
    return optax.constant_schedule(config.learning_rate)
  total_steps = config.num_epochs * steps_per_epoch
  # At least one step is left to decay in, however short the run.
  warmup_steps = round(config.learning_rate_warmup_epochs * steps_per_epoch)
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0 if warmup_steps else config.learning_rate,
    peak_value=config.learning_rate,
    warmup_steps=min(warmup_steps, total_steps - 1),
    decay_steps=total_steps,
  )


def build_optimizer(config, learning_rate: optax.Schedule) -> optax.GradientTransformation:
  """AdamW, or Adam, behind a clip of the global norm of the gradient."""
  if config.optimizer == 'adam':
    optimizer = optax.adam(learning_rate)
  else:
    optimizer = optax.adamw(learning_rate, weight_decay=config.weight_decay)
  clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
  # Chained in either case, so that the state has one structure whatever the clip.
  return optax.chain(clip, optimizer)


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
