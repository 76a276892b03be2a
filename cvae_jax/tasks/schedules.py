"""β as a function of the step."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

Schedule = Callable[[Array], Array]
SCHEDULES = ('constant', 'linear', 'cosine', 'cyclical')


def beta_schedule(
  name: str,
  beta: float | Array,
  delay_steps: int | Array,
  warmup_steps: float | Array,
  total_steps: int,
  cycles: int,
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

  The numbers but for `total_steps` and `cycles` may be traced.

  Returns:
    A function from the step (int32 scalar) to β (float32 scalar).

  Raises:
    ValueError: for a name that is none of these.
  """
  if name not in SCHEDULES:
    raise ValueError(f'beta_schedule={name!r} is not one of: {", ".join(SCHEDULES)}.')

  def schedule(step):
    since = step - delay_steps
    if name == 'constant':
      share = 1.0
    elif name == 'cyclical':
      # In whole numbers: a step at which a cycle begins is not rounded to the end of the one
      # before.
      length = jnp.maximum(total_steps - delay_steps, 1)
      share = jnp.minimum(1.0, 2 * (since * cycles % length) / length)
    else:
      rise = jnp.clip(since / jnp.where(warmup_steps > 0, warmup_steps, 1.0), 0.0, 1.0)
      share = jnp.where(warmup_steps > 0, rise, 1.0)
      if name == 'cosine':
        share = 0.5 * (1 - jnp.cos(jnp.pi * share))
    return jnp.where(since >= 0, beta * share, 0.0)

  return schedule


def steps_to_full_beta(
  name: str, delay_steps: int, warmup_steps: float, total_steps: int, cycles: int
) -> int:
  """How many steps pass before β first is what it is to be; the arguments of `beta_schedule`."""
  rise = {'constant': 0, 'cyclical': max(total_steps - delay_steps, 1) / cycles / 2}
  return delay_steps + math.ceil(rise.get(name, warmup_steps))
