"""The largest batch that fits, and the batch size beyond which training is no faster.

The memory of a step is read from its compiled program, so nothing has to run out of memory; a few
real steps confirm it.
"""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

from cvae_jax import config as config_lib
from cvae_jax.data import datasets
from cvae_jax.data.datasets import Dataset
from cvae_jax.runtime import devices, processes
from cvae_jax.runtime.errors import InputError, is_out_of_memory
from cvae_jax.training import first_stage
from cvae_jax.training.program import Program, assemble

METHODS = ('power', 'binsearch')
SMALLEST = 16  # images, or one for each device
MEMORY_FRACTION = 0.9  # of the memory, which others use too
NUM_STEPS = 5  # timed for each batch size
GAIN = 1.05  # a smaller speed-up counts as none
MAX_RATIO = 1.1  # smallest that did not fit / largest that did: where the bisection ends


class Trial(NamedTuple):
  """The result for one batch size."""

  batch_size: int
  num_bytes: int  # memory of a step, including all that lies on the device
  fits: bool
  images_per_second: float | None = None  # measured, if steps were taken

  def __str__(self) -> str:
    outcome = 'fits' if self.fits else 'does not fit'
    if self.images_per_second is not None:
      outcome = f'{self.images_per_second:,.0f} images/s'
    return f'batch {self.batch_size:6d}  {self.num_bytes / 2**30:7.2f} GiB  {outcome}'


def memory_bytes() -> int:
  """Memory of the smallest device; for a CPU, of the machine."""
  return devices.limit_bytes() or os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def step_bytes(program: Program) -> int:
  """Memory that one compiled step needs on each device; nothing is run."""
  state = jax.eval_shape(program.fresh_state)
  first = next(program.chunks([(0, 1)]))
  lowered = program.compiled_chunk.lower(state, first.data, program.hyper, num_steps=1)
  needs = lowered.compile().memory_analysis()
  return (
    needs.argument_size_in_bytes
    + needs.output_size_in_bytes
    + needs.temp_size_in_bytes
    - needs.alias_size_in_bytes
  )


def images_per_second(program: Program) -> float | None:
  """The speed of a few real steps; None if memory runs out nevertheless."""
  num_steps = min(NUM_STEPS, program.steps_per_epoch)
  # As training dispatches them: one by one on a CPU.
  bounds = [(0, num_steps)]
  if devices.chunk_steps() == 1:
    bounds = [(step, step + 1) for step in range(num_steps)]
  try:
    state = program.fresh_state()
    for is_timed in (False, True):
      began = time.perf_counter()
      for begin, end, data in program.chunks(bounds):
        state, _ = program.chunk(state, data, num_steps=end - begin)
      jax.block_until_ready(state)
      if is_timed:
        return num_steps * program.config.batch_size / (time.perf_counter() - began)
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
  return None


def try_size(config, size: int, train: Dataset, validation: Dataset, runs: bool = True) -> Trial:
  """Compiles a step on `size` images; if it fits and `runs`, takes a few."""
  config = config.copy_and_resolve_references()
  config.batch_size = size
  program = assemble(config, train, validation, first_stage=first_stage.read(config))
  needed = step_bytes(program)
  fits = needed <= MEMORY_FRACTION * memory_bytes()
  if not (fits and runs):
    return Trial(size, needed, fits)
  pace = images_per_second(program)
  return Trial(size, needed, pace is not None, pace)


def powers(config, train: Dataset, validation: Dataset) -> Iterator[Trial]:
  """Doubles the batch until it does not fit, or two doublings were no faster."""
  size, best, lagging = _smallest(len(train.labels)), 0.0, 0
  while size <= len(train.labels) and lagging < 2:
    trial = try_size(config, size, train, validation)
    yield trial
    if not trial.fits:
      return
    lagging = 0 if trial.images_per_second > GAIN * best else lagging + 1
    best = max(best, trial.images_per_second)
    size *= 2


def bisection(config, train: Dataset, validation: Dataset) -> Iterator[Trial]:
  """Bisects for the largest batch that fits, by compiled programs alone; runs the last one."""
  count = len(jax.devices())
  low = high = _smallest(len(train.labels))
  while True:  # doubling, until it does not fit
    trial = try_size(config, high, train, validation, runs=False)
    yield trial
    if not trial.fits:
      break
    low = high
    if high == len(train.labels) // count * count:
      break
    high = min(2 * high, len(train.labels) // count * count)
  while not trial.fits and high > MAX_RATIO * low:
    middle = (low + high) // 2 // count * count
    if middle in (low, high):
      break
    candidate = try_size(config, middle, train, validation, runs=False)
    yield candidate
    low, high = (middle, high) if candidate.fits else (low, middle)
  while low >= count:
    trial = try_size(config, low, train, validation)
    yield trial
    if trial.fits:
      return
    low = low // 2 // count * count  # it needed more than the program says


def _smallest(num_images: int) -> int:
  count = len(jax.devices())
  smallest = -(-SMALLEST // count) * count
  if smallest > num_images:
    raise InputError(
      f'There are {num_images} training images, fewer than a batch of {smallest} to begin with.'
    )
  return smallest


def suggest(config, method: str) -> None:
  """Tries batch sizes for a run and prints the result of each; nothing is written.

  Args:
    config: a config; its own batch size is ignored.
    method: 'power' for the speed of each, 'binsearch' for the largest that fits.

  Raises:
    InputError: config or data cannot be used.
  """
  config_lib.check(config)
  small = config.copy_and_resolve_references()
  small.batch_size = 1  # a set may be smaller than the config's
  train, validation, _ = processes.main_first(lambda: datasets.load(small))
  print(f'memory: {memory_bytes() / 2**30:.1f} GiB, of which a step may take {MEMORY_FRACTION:.0%}')
  trials = []
  for trial in {'power': powers, 'binsearch': bisection}[method](config, train, validation):
    print(trial)
    trials.append(trial)
  ran = [trial for trial in trials if trial.images_per_second is not None]
  if not ran:
    raise InputError('Not even the smallest batch fits: choose a smaller model.')
  if method == 'binsearch':
    print(f'The largest that fits: --config.batch_size={ran[-1].batch_size}')
    return
  best = max(trial.images_per_second for trial in ran)
  enough = next(trial for trial in ran if GAIN * trial.images_per_second >= best)
  print(
    f'More images than {enough.batch_size} in a step are less than {GAIN - 1:.0%} faster: '
    f'--config.batch_size={enough.batch_size}'
  )
