"""Ways to take the steps of several runs of one program, and which of them is fastest here.

The runs differ in their settings alone, see `program.varied`. All ways compute the same numbers, up
to the last bits of a float.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import is_out_of_memory
from cvae_jax.training.program import Program

# (programs, states, data of a chunk, num_steps), one of each for a run -> a list of (state, terms).
Chunks = Callable[[Sequence[Program], Sequence, Sequence, int], list]

TIMED_STEPS = 32  # of each way, or an epoch of fewer


def in_turn(progs, states, data, num_steps):
  """The chunk of one run after that of another: one compiled program of a single run."""
  return [
    prog.chunk(state, piece, num_steps)
    for prog, state, piece in zip(progs, states, data, strict=True)
  ]


def side_by_side(progs, states, data, num_steps):
  """One program, in which each run has its own operations beside those of the others."""
  chunk = _compiled_side_by_side(progs[0].compile_chunk, progs[0].take_step)
  settings = [prog.settings for prog in progs]
  states, terms = chunk(list(states), list(data), settings, num_steps=num_steps)
  return list(zip(states, terms, strict=True))


@cache
def _compiled_side_by_side(compile_chunk, take_step):
  def take_steps(states, data, settings):
    results = map(take_step, states, data, settings)
    return tuple(map(list, zip(*results, strict=True)))

  return compile_chunk(take_steps)


def batched(progs, states, data, num_steps):
  """One program, in which `vmap` makes one operation of those of all runs."""
  axes = progs[0].feed.axes
  chunk = _compiled_batched(progs[0].compile_chunk, progs[0].take_step, axes)
  parts = [
    part if axis is None else _stack([piece[position] for piece in data])
    for position, (part, axis) in enumerate(zip(data[0], axes, strict=True))
  ]
  settings = _stack([prog.settings for prog in progs])
  state, terms = chunk(_stack(list(states)), tuple(parts), settings, num_steps=num_steps)
  return _unstack(state, {name: values.T for name, values in terms.items()}, len(progs))


@cache
def _compiled_batched(compile_chunk, take_step, axes):
  return compile_chunk(jax.vmap(take_step, in_axes=(0, axes, 0)))


@jax.jit
def _stack(trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames='count')
def _unstack(state, terms, count):
  return [jax.tree.map(lambda leaf, row=row: leaf[row], (state, terms)) for row in range(count)]


WAYS: dict[str, Chunks] = {'in turn': in_turn, 'side by side': side_by_side, 'batched': batched}


def seconds_per_step(way: Chunks, progs: Sequence[Program]) -> float:
  """Of one run, while all of them are trained from fresh states for a few steps."""
  prog = progs[0]
  num_steps = min(TIMED_STEPS, prog.steps_per_epoch, prog.feed.longest)
  repeats = max(1, min(TIMED_STEPS, prog.steps_per_epoch) // num_steps)
  data = [next(each.chunks([(0, num_steps)])).data for each in progs]
  states = [each.fresh_state() for each in progs]
  for count in (1, repeats):
    began = time.perf_counter()
    for _ in range(count):
      states = [state for state, _ in way(progs, states, data, num_steps)]
    jax.block_until_ready(states)
  return (time.perf_counter() - began) / (repeats * num_steps * len(progs))


def _seconds_if_it_fits(way: Chunks, progs: Sequence[Program]) -> float:
  try:
    return seconds_per_step(way, progs)
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    return float('inf')


def fastest(progs: Sequence[Program], say: Callable[[str], None]) -> Chunks:
  """The way that is fastest on this device; each is compiled and timed where that is not known.

  XLA's CPU backend turns a batch of convolutions into grouped ones, which are slow, and has all
  cores at work on one run already: there runs take turns, and nothing is timed.
  """
  if len(progs) == 1 or devices.chunk_steps() == 1 or progs[0].config.deterministic:
    return in_turn  # which for `deterministic` is always the same
  seconds = {name: _seconds_if_it_fits(way, progs) for name, way in WAYS.items()}
  best = min(seconds, key=seconds.get)
  timed = ', '.join(f'{name} {1e3 * value:.2f}' for name, value in seconds.items())
  say(f'{len(progs)} runs {best}: milliseconds per step of each run {timed}')
  return WAYS[best]
