"""Several runs at once train as they do alone."""

import functools

import jax
import numpy as np
import pytest

from cvae_jax.runtime import devices
from cvae_jax.training import parallel, program
from tiny import tiny_config

CHANGES = [
  {'beta': 4.0, 'beta_warmup_epochs': 0.0, 'seed': 1, 'learning_rate': 1e-4, 'weight_decay': 0.5},
  {'free_bits': 5.0, 'beta_delay_epochs': 0.5, 'seed': 2, 'clip_norm': 0.0},
]


CHUNK = 3  # steps


@functools.cache
def programs(placement, num_steps):
  """Programs of runs that share their compiled functions."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(devices, 'chunk_steps', lambda: num_steps)
    first = program.build(tiny_config(data__placement=placement))
  return [program.varied(first, tiny_config(data__placement=placement, **own)) for own in CHANGES]


@functools.cache
def taken_alone(num_steps):
  """The state and terms of each run after a chunk, by a program of its own."""
  results = []
  for own in CHANGES:
    alone = program.build(tiny_config(**own))
    chunk = next(alone.chunks([(0, num_steps)]))
    results.append(alone.chunk(alone.fresh_state(), chunk.data, num_steps))
  return results


@pytest.mark.parametrize(
  ('strategy', 'num_steps', 'placement'),
  [
    pytest.param('in turn', 1, 'stream', marks=pytest.mark.slow),
    ('side by side', CHUNK, 'device'),
    ('batched', CHUNK, 'device'),
    pytest.param('batched', 1, 'stream', marks=pytest.mark.slow),
  ],
)
def test_each_strategy_takes_the_steps_of_runs_alone(strategy, num_steps, placement):
  progs = programs(placement, num_steps)
  data = [next(prog.chunks([(0, num_steps)])).data for prog in progs]
  states = [prog.fresh_state() for prog in progs]
  results = parallel.STRATEGIES[strategy](progs, states, data, num_steps)
  for (state, terms), expected in zip(results, taken_alone(num_steps), strict=True):
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, (state, terms), expected)
    assert terms['loss'].shape == (num_steps,)


def test_runs_that_differ_in_more_share_no_program():
  with pytest.raises(ValueError, match='latent_dim is 3 there, 4 here'):
    program.varied(programs('device', CHUNK)[0], tiny_config(**CHANGES[0], latent_dim=4))


def test_the_fastest_strategy_is_measured_on_an_accelerator_and_known_on_a_cpu(monkeypatch):
  progs, lines = programs('device', CHUNK), []
  assert parallel.fastest(progs, lines.append) is parallel.in_turn
  assert not lines
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  for strategy in parallel.STRATEGIES.values():
    assert parallel.seconds_per_step(strategy, progs) > 0
  monkeypatch.setattr(
    parallel, 'seconds_per_step', lambda each, _: 1.0 if each is parallel.batched else 2.0
  )
  assert parallel.fastest(progs, lines.append) is parallel.batched
  (line,) = lines
  assert line.startswith('2 runs batched: ')
  assert 'in turn 2000.00, side by side 2000.00, batched 1000.00' in line
