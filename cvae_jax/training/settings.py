"""The numbers of a run that its compiled step takes as arguments, so that runs share programs."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from cvae_jax import config as config_lib
from cvae_jax.config import MAX_STEPS
from cvae_jax.runtime import keys

# The fields behind them: runs that differ in no others can train side by side.
FIELDS = frozenset(
  {
    'seed',
    'beta',
    'beta_warmup_epochs',
    'beta_warmup_steps',
    'beta_delay_epochs',
    'beta_delay_steps',
    'free_bits',
    'learning_rate',
    'weight_decay',
    'clip_norm',
  }
)


class Settings(NamedTuple):
  """Scalars, float32 where nothing else is said."""

  noise_key: Array  # the key of the stream from which each step takes its own
  beta: Array
  beta_delay_steps: Array  # int32
  beta_warmup_steps: Array
  free_bits: Array
  learning_rate: Array  # the peak of its schedule
  weight_decay: Array
  clip_norm: Array  # 0 does not clip


def of(config, steps_per_epoch: int) -> Settings:
  """Those that a checked config describes."""
  delay_steps, warmup_steps = beta_times(config, steps_per_epoch)
  return Settings(
    noise_key=keys.stream(config.seed, 'noise'),
    beta=jnp.float32(config.beta),
    beta_delay_steps=jnp.int32(delay_steps),
    beta_warmup_steps=jnp.float32(warmup_steps),
    free_bits=jnp.float32(config.free_bits),
    learning_rate=jnp.float32(config.learning_rate),
    weight_decay=jnp.float32(config.weight_decay),
    clip_norm=jnp.float32(config.clip_norm),
  )


def beta_times(config, steps_per_epoch: int) -> tuple[int, float]:
  """Steps in which β stays 0, and those in which it then rises."""
  delay_steps = config.beta_delay_steps or round(config.beta_delay_epochs * steps_per_epoch)
  return (
    min(delay_steps, MAX_STEPS),
    config.beta_warmup_steps or config.beta_warmup_epochs * steps_per_epoch,
  )


def share_program(one, other) -> bool:
  """Whether the compiled steps of two configs differ in their settings alone."""
  return (
    all(difference.field in FIELDS for difference in config_lib.differences(one, other))
    and one.num_epochs == other.num_epochs
  )
