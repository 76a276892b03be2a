"""Takes the steps of several runs of one program: three strategies, and which is fastest here.

The runs differ in traced fields alone, see `program.varied`. All strategies compute the same
numbers, up to the last bits of a float.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import is_out_of_memory
from cvae_jax.training.program import Program
from cvae_jax.training.step import compile_chunk

# (programs, states, data of a chunk, num_steps), one of each for a run -> a list of (state, terms).
TakeChunks = Callable[[Sequence[Program], Sequence, Sequence, int], list]

TIMED_STEPS = 32  # of each strategy, or a shorter epoch


def in_turn(programs, states, data, num_steps):
  """The chunk of one run after that of another: one compiled program of a single run."""
  return [
    program.chunk(state, piece, num_steps)
    for program, state, piece in zip(programs, states, data, strict=True)
  ]


def side_by_side(programs, states, data, num_steps):
  """One program, in which each run has its own operations beside those of the others."""
  chunk = _compiled_side_by_side(*_step_of(programs))
  hyper = [program.hyper for program in programs]
  states, terms = chunk(list(states), list(data), hyper, num_steps=num_steps)
  return list(zip(states, terms, strict=True))


def _step_of(programs):
  program = programs[0]
  options = tuple(sorted(program.task.compiler_options.items()))
  return program.step, devices.replicated(program.mesh), options


@cache
def _compiled_side_by_side(step, sharding, options):
  def steps(states, data, hyper):
    return tuple(map(list, zip(*map(step, states, data, hyper), strict=True)))

  return compile_chunk(steps, sharding, options)


def batched(programs, states, data, num_steps):
  """One program, in which `vmap` makes one operation of those of all runs."""
  axes = programs[0].feed.axes
  chunk = _compiled_batched(*_step_of(programs), axes)
  parts = [
    part if axis is None else _stack([piece[position] for piece in data])
    for position, (part, axis) in enumerate(zip(data[0], axes, strict=True))
  ]
  hyper = _stack([program.hyper for program in programs])
  state, terms = chunk(_stack(list(states)), tuple(parts), hyper, num_steps=num_steps)
  return _unstack(state, {name: values.T for name, values in terms.items()}, len(programs))


@cache
def _compiled_batched(step, sharding, options, axes):
  return compile_chunk(jax.vmap(step, in_axes=(0, axes, 0)), sharding, options)


@jax.jit
def _stack(trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames='count')
def _unstack(state, terms, count):
  return [jax.tree.map(lambda leaf, row=row: leaf[row], (state, terms)) for row in range(count)]


STRATEGIES: dict[str, TakeChunks] = {
  'in turn': in_turn,
  'side by side': side_by_side,
  'batched': batched,
}


def seconds_per_step(strategy: TakeChunks, programs: Sequence[Program]) -> float:
  """Of one run, while all of them are trained from fresh states for a few steps."""
  first = programs[0]
  num_steps = min(TIMED_STEPS, first.steps_per_epoch, first.feed.longest)
  repeats = max(1, min(TIMED_STEPS, first.steps_per_epoch) // num_steps)
  data = [next(program.chunks([(0, num_steps)])).data for program in programs]
  states = [program.fresh_state() for program in programs]
  for count in (1, repeats):
    began = time.perf_counter()
    for _ in range(count):
      states = [state for state, _ in strategy(programs, states, data, num_steps)]
    jax.block_until_ready(states)
  return (time.perf_counter() - began) / (repeats * num_steps * len(programs))


def _seconds_if_it_fits(strategy: TakeChunks, programs: Sequence[Program]) -> float:
  try:
    return seconds_per_step(strategy, programs)
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    return float('inf')


def fastest(programs: Sequence[Program], log: Callable[[str], None]) -> TakeChunks:
  """The strategy that is fastest on this device; compiles and times each where that is not known.

  XLA's CPU backend turns a batch of convolutions into grouped ones, which are slow, and has all
  cores at work on one run already: there runs take turns, and nothing is timed.
  """
  if len(programs) == 1 or devices.chunk_steps() == 1 or programs[0].config.deterministic:
    return in_turn  # which for `deterministic` is always the same
  seconds = {name: _seconds_if_it_fits(each, programs) for name, each in STRATEGIES.items()}
  best = min(seconds, key=seconds.get)
  timed = ', '.join(f'{name} {1e3 * value:.2f}' for name, value in seconds.items())
  log(f'{len(programs)} runs {best}: milliseconds per step of each run {timed}')
  return STRATEGIES[best]
