"""β as a function of the step."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import optax
from jax import Array

Schedule = Callable[[Array], Array]


def beta_schedule(
  name: str, beta: float, delay_steps: int, warmup_steps: float, total_steps: int, cycles: int
) -> Schedule:
  """β(step) for one of the schedules the config can name.

  Args:
    name: 'constant'; 'linear' or 'cosine', which rise from 0 to `beta` in `warmup_steps` and stay;
      'cyclical', which rises linearly during the first half of each of `cycles` equal cycles and
      stays for the other half (Fu et al. 2019, R = 0.5).
    beta: the final weight of the KL.
    delay_steps: steps at 0 before the schedule begins.
    warmup_steps: length of the rise; 0 starts at `beta`.
    total_steps: steps of the whole run; the cycles divide what the delay leaves of them.
    cycles: number of cycles of 'cyclical'.

  Returns:
    A function from the step (int32 scalar) to β (float32 scalar).

  Raises:
    ValueError: for a name that is none of these.
  """
  schedule = _undelayed(name, beta, warmup_steps, max(total_steps - delay_steps, 1), cycles)
  if not delay_steps:
    return schedule
  return optax.join_schedules([optax.constant_schedule(0.0), schedule], [delay_steps])


def steps_to_full_beta(
  name: str, delay_steps: int, warmup_steps: float, total_steps: int, cycles: int
) -> int:
  """How many steps pass before β first is what it is to be; the arguments of `beta_schedule`."""
  rise = {'constant': 0, 'cyclical': max(total_steps - delay_steps, 1) / cycles / 2}
  return delay_steps + math.ceil(rise.get(name, warmup_steps))


def _undelayed(name, beta, warmup_steps, total_steps, cycles) -> Schedule:
  if name == 'constant' or (name in ('linear', 'cosine') and warmup_steps <= 0):
    return optax.constant_schedule(beta)
  if name == 'linear':
    return optax.linear_schedule(0.0, beta, warmup_steps)
  if name == 'cosine':
    rise = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return lambda step: beta * 0.5 * (1 - jnp.cos(jnp.pi * rise(step)))
  if name == 'cyclical':
    # In whole numbers: a step at which a cycle begins is not rounded to the end of the one before.
    return lambda step: beta * jnp.minimum(1.0, 2 * (step * cycles % total_steps) / total_steps)
  raise ValueError(f'beta_schedule={name!r} is not one of: constant, linear, cosine, cyclical.')
