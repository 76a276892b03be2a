"""The learning rate at which the loss falls fastest, from a ramp over all of them (Smith 2017)."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax.plots import tables
from cvae_jax.runtime import devices, paths
from cvae_jax.runtime.errors import InputError, survived
from cvae_jax.tasks import Task
from cvae_jax.training.program import Program, build
from cvae_jax.training.start import initial_state
from cvae_jax.training.step import compile_chunk, make_step

LOWEST, HIGHEST = 1e-8, 1.0
NUM_STEPS = 100
SMOOTHING = 0.9  # of the exponential average of the loss
DIVERGED = 4  # times the best loss
SKIPPED = 10  # first steps, while the average settles


class Ramp(NamedTuple):
  """The loss while the learning rate rose, a value for each step taken."""

  learning_rates: np.ndarray  # [n]
  losses: np.ndarray  # [n] averaged, nats per image
  suggestion: float


def schedule(step):
  """The learning rate of a step: from LOWEST to HIGHEST, by the same factor each time."""
  return LOWEST * (HIGHEST / LOWEST) ** (step / (NUM_STEPS - 1))


def smooth(losses: np.ndarray) -> np.ndarray:
  """The exponential average of the losses [n], corrected for its start at 0."""
  averages, average = [], 0.0
  for step, loss in enumerate(losses, start=1):
    average = SMOOTHING * average + (1 - SMOOTHING) * loss
    averages.append(average / (1 - SMOOTHING**step))
  return np.array(averages)


def has_diverged(averages: np.ndarray) -> bool:
  """Whether the last of the averages [n] is NaN, or has risen to DIVERGED times the best.

  For a negative best (densities), by as much as that would be for a positive one.
  """
  best = np.min(averages)
  return not averages[-1] <= best + (DIVERGED - 1) * abs(best)


def steepest(learning_rates: np.ndarray, averages: np.ndarray) -> float:
  """The rate at which the average falls fastest against the logarithm of the rate.

  Raises:
    InputError: it falls nowhere.
  """
  slopes = np.gradient(averages, np.log(learning_rates))[SKIPPED:]
  slopes = np.where(np.isfinite(slopes), slopes, np.inf)
  if not len(slopes) or not slopes.min() < 0:
    raise InputError(
      f'The loss falls at no learning rate from {learning_rates[0]:.0e} to '
      f'{learning_rates[-1]:.0e}: none can be suggested. Is another field out of bounds?'
    )
  return float(learning_rates[SKIPPED + np.argmin(slopes)])


def find(program: Program) -> Ramp:
  """Trains a state of its own for NUM_STEPS steps, or until the loss has gone up for good.

  The loss is that after the task's warm-up, so that it means the same at every step.

  Raises:
    InputError: the loss falls nowhere.
  """
  config = program.config.copy_and_resolve_references()
  config.learning_rate_schedule = 'constant'
  task, state, losses = _Settled(program.task), initial_state(program), []
  step = make_step(config, task, program.steps_per_epoch, program.feed.pick)
  everywhere = devices.replicated(program.mesh)
  take_chunk = compile_chunk(step, everywhere, program.task.compiler_options)
  for chunk in program.chunks((step, step + 1) for step in range(NUM_STEPS)):
    hyper = program.hyper._replace(learning_rate=jnp.float32(schedule(chunk.begin)))
    state, terms = take_chunk(state, chunk.data, hyper, num_steps=1)
    losses.append(float(jax.device_get(terms['loss'])[0]))
    if has_diverged(smooth(np.array(losses))):
      break
  rates = np.array([schedule(step) for step in range(len(losses))])
  averages = smooth(np.array(losses))
  return Ramp(rates, averages, steepest(rates, averages))


class _Settled(NamedTuple):
  """A task whose schedules have come to their end."""

  task: Task

  def loss(self, variables, batch, hyper, key, step):
    return self.task.loss(variables, batch, hyper, key, jnp.int32(self.task.warmup_steps))


def suggest(config, workdir: Path) -> float:
  """Finds a learning rate for a run, prints it, writes the ramp as a table, and draws it.

  Args:
    config: a config; its own learning rate is ignored.
    workdir: the run's folder, which need not exist; the files are written beside it.

  Returns:
    The rate, in two digits, as it is printed.

  Raises:
    InputError: config or data cannot be used, or no rate can be suggested.
  """
  ramp = find(build(config))
  num_steps = len(ramp.losses)
  end = 'where the loss went up for good' if num_steps < NUM_STEPS else 'the end of the ramp'
  print(f'{num_steps} steps, from {LOWEST:g} to {ramp.learning_rates[-1]:.1e}, {end}')
  print(f'The loss falls fastest at --config.learning_rate={ramp.suggestion:.2g}')
  table = workdir.with_name(f'{workdir.name}-find_lr.csv')
  with survived('the table of losses is', print):
    rows = zip(ramp.learning_rates.tolist(), ramp.losses.tolist(), strict=True)
    paths.write(table, tables.as_csv(('learning_rate', 'loss'), rows))
    print(f'losses: {table}')
  with survived('the picture of the losses is', print):
    from cvae_jax.plots import curves, figures  # late: matplotlib takes its time

    figures.save({table.with_suffix('.png'): curves.learning_rate_ramp(*ramp)})
    print(f'picture: {table.with_suffix(".png")}')
  return float(f'{ramp.suggestion:.2g}')
