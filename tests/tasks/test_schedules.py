"""β at steps computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.tasks.schedules import beta_schedule, steps_to_full_beta


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('constant', {0: 2, 50: 2, 10_000: 2}),
    ('linear', {0: 0, 25: 0.5, 50: 1, 100: 2, 10_000: 2}),
    ('cosine', {0: 0, 50: 1, 100 / 3: 0.5, 100: 2, 10_000: 2}),
    # 4 cycles in 400 steps: each rises for 50 steps and stays for 50.
    ('cyclical', {0: 0, 25: 1, 50: 2, 99: 2, 100: 0, 125: 1, 399: 2}),
  ],
)
def test_values(name, expected):
  schedule = jax.jit(beta_schedule(name, 2.0, 0, warmup_steps=100, total_steps=400, cycles=4))
  actual = {step: float(schedule(step)) for step in expected}
  assert actual == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('name', ['linear', 'cosine'])
def test_no_warm_up_starts_at_beta(name):
  schedule = beta_schedule(name, 2.0, 0, warmup_steps=0, total_steps=400, cycles=4)
  np.testing.assert_allclose([schedule(0), schedule(7)], 2)


def test_unknown_name():
  with pytest.raises(ValueError, match=r"'cylical' is not one of: constant, linear"):
    beta_schedule('cylical', 1.0, 0, 1, 1, 1)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('constant', {0: 0, 149: 0, 150: 2, 549: 2}),
    ('linear', {0: 0, 149: 0, 150: 0, 175: 0.5, 250: 2, 549: 2}),
    ('cosine', {149: 0, 150: 0, 200: 1, 250: 2}),
    # 4 cycles in the 400 steps that are left.
    ('cyclical', {0: 0, 149: 0, 150: 0, 175: 1, 200: 2, 249: 2, 250: 0}),
  ],
)
def test_a_delay_moves_the_whole_schedule(name, expected):
  schedule = jax.jit(beta_schedule(name, 2.0, 150, warmup_steps=100, total_steps=550, cycles=4))
  actual = {step: float(schedule(step)) for step in expected}
  assert actual == pytest.approx(expected, abs=1e-6)


def test_a_delay_longer_than_the_run_keeps_zero():
  schedule = beta_schedule('cyclical', 2.0, 500, warmup_steps=0, total_steps=400, cycles=4)
  assert [float(schedule(step)) for step in (0, 399)] == [0, 0]


def test_a_cycle_begins_at_zero_where_its_length_is_no_whole_number():
  schedule = jax.jit(beta_schedule('cyclical', 2.0, 0, warmup_steps=0, total_steps=1000, cycles=6))
  assert float(schedule(500)) == 0  # 3 cycles of 166.67 steps
  assert float(schedule(499)) == 2


@pytest.mark.parametrize('name', ['constant', 'linear', 'cosine', 'cyclical'])
@pytest.mark.parametrize('delay', [0, 7])
def test_when_beta_first_is_what_it_is_to_be(name, delay):
  times = (delay, 9.5, 80, 3)
  schedule = beta_schedule(name, 4.0, *times)
  values = np.array([schedule(jnp.int32(step)) for step in range(80)])
  first = int(np.flatnonzero(values > 4.0 - 1e-6)[0])
  assert steps_to_full_beta(name, *times) == first
