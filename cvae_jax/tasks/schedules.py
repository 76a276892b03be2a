"""β as a function of the step."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

Schedule = Callable[[Int[ArrayLike, '']], Float[Array, '']]  # from the step to β
SCHEDULES = ('constant', 'linear', 'cosine', 'cyclical')


def beta_schedule(
  name: str,
  beta: Float[ArrayLike, ''],
  delay_steps: Int[ArrayLike, ''],
  warmup_steps: Float[ArrayLike, ''],
  total_steps: int,
  cycles: int,
) -> Schedule:
  """The schedule of β with a name of the config; arrays may be traced.

  Args:
    name: 'constant'; 'linear' or 'cosine', which rise from 0 to `beta` in `warmup_steps` and stay;
      'cyclical', which rises linearly in the first half of each of `cycles` equal cycles and stays
      for the second half (Fu et al. 2019, R = 0.5).
    beta: the final weight of the KL.
    delay_steps: steps at 0 before the schedule begins.
    warmup_steps: length of the rise; 0 starts at `beta`.
    total_steps: steps of the whole run; the cycles share those after the delay.
    cycles: number of cycles of 'cyclical'.

  Raises:
    ValueError: for another name.
  """
  if name not in SCHEDULES:
    raise ValueError(f'beta_schedule={name!r} is not one of: {", ".join(SCHEDULES)}.')

  def schedule(step):
    since = step - delay_steps
    if name == 'constant':
      fraction = 1.0
    elif name == 'cyclical':
      # In integers: rounding cannot move the start of a cycle into the cycle before.
      length = jnp.maximum(total_steps - delay_steps, 1)
      fraction = jnp.minimum(1.0, 2 * (since * cycles % length) / length)
    else:
      rise = jnp.clip(since / jnp.where(warmup_steps > 0, warmup_steps, 1.0), 0.0, 1.0)
      fraction = jnp.where(warmup_steps > 0, rise, 1.0)
      if name == 'cosine':
        fraction = 0.5 * (1 - jnp.cos(jnp.pi * fraction))
    return jnp.where(since >= 0, beta * fraction, 0.0)

  return schedule


def steps_to_full_beta(
  name: str, delay_steps: int, warmup_steps: float, total_steps: int, cycles: int
) -> int:
  """The number of steps before β first reaches its final value; see `beta_schedule`."""
  rise = {'constant': 0, 'cyclical': max(total_steps - delay_steps, 1) / cycles / 2}
  return delay_steps + math.ceil(rise.get(name, warmup_steps))
