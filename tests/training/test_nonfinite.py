"""Numbers that are not finite: the step is named, or skipped, and the last good state stays."""

from pathlib import Path

import jax
import numpy as np
import pytest

from cvae_jax.runtime.errors import NonFiniteError
from cvae_jax.training import loop, nonfinite, program
from cvae_jax.training.step import is_usable
from tiny import state_at, steps, tiny_config


def window(*losses):
  """Terms of steps, with a gradient norm of their loss + 4."""
  values = np.array(losses, np.float32)
  return {'loss': values, 'kl': values + 1, 'gradient_norm': values + 4}


def check(terms, now=10, skipped=0, last_good=None, new=None, **changes):
  """Checks the last `new` steps of a window, or all."""
  config = tiny_config(**changes)
  usable = is_usable(terms, config.max_gradient_norm, np)[-(new or 0) :]
  return nonfinite.check_steps(terms, usable, now, skipped, last_good, config)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_the_first_bad_step_is_named(bad):
  assert check(window(1, 2, 3)) == 0
  broken = window(1, 2, 3)  # of steps 8, 9 and 10
  broken['gradient_norm'][1:] = bad
  with pytest.raises(NonFiniteError, match=rf'Step 9 .*loss 2.*gradient_norm {bad}'):
    check(broken)
  with pytest.raises(NonFiniteError, match='--resume_from=run/checkpoints/7 '):
    check(broken, last_good=Path('run/checkpoints/7'))


def test_a_gradient_longer_than_allowed_is_named():
  with pytest.raises(NonFiniteError, match=r'Step 10 .*max_gradient_norm'):
    check(window(1, 2, 3), max_gradient_norm=6.5)
  assert check(window(1, 2, 3), max_gradient_norm=7.5) == 0


def test_at_most_so_many_steps_in_a_row_are_skipped():
  broken, skip = window(1, np.nan, 3, np.nan, np.nan), {'on_nonfinite': 'skip'}  # steps 6 to 10
  assert check(broken, max_skipped_steps=2, **skip) == 2
  with pytest.raises(NonFiniteError, match=r'Step 10 .*the 2\. in a row'):
    check(broken, max_skipped_steps=1, **skip)
  # Skipped steps before the new ones count too.
  assert check(broken, new=4, skipped=1, max_skipped_steps=2, **skip) == 2
  with pytest.raises(NonFiniteError, match=r'Step 7 .*the 3\. in a row'):
    check(broken, new=4, skipped=2, max_skipped_steps=2, **skip)


def test_a_validation_that_is_not_finite_is_named():
  nonfinite.check_values({'kl': 1.0}, 7, None, tiny_config())
  with pytest.raises(NonFiniteError, match=r'Step 7 .*kl nan'):
    nonfinite.check_values({'reconstruction': 2.0, 'kl': np.nan}, 7, None, tiny_config())


@pytest.mark.parametrize(
  ('changes', 'named', 'not_named'),
  [
    ({}, ['learning_rate', 'a smaller --config.clip_norm', 'warmup', 'skip'], ['precision']),
    ({'clip_norm': 0.0}, ['a positive --config.clip_norm'], ['smaller']),
    ({'precision': 'bfloat16'}, ['precision=float32'], []),
    ({'beta_schedule': 'constant'}, [], ['warmup']),
    ({'on_nonfinite': 'skip'}, [], ['skip']),
  ],
)
def test_the_advice_names_only_what_would_change_something(changes, named, not_named):
  with pytest.raises(NonFiniteError) as error:
    nonfinite.check_values({'kl': np.nan}, 7, None, tiny_config(**changes))
  assert all(text in str(error.value) for text in named)
  assert not any(text in str(error.value) for text in not_named)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
  tiny_run, tmp_path
):
  config = tiny_config(
    learning_rate=1e30,
    learning_rate_schedule='constant',
    clip_norm=0.0,
    likelihood='gaussian',
    checkpoint_every_steps=1,
    keep_checkpoints=10,
  )
  with pytest.raises(NonFiniteError, match=r'Step \d .*--resume_from=') as stop:
    loop.train(config, tmp_path / 'run', resume_from=tiny_run / 'checkpoints' / '2')
  last = steps(tmp_path / 'run')[-1]
  assert f'checkpoints/{last} ' in str(stop.value)
  kept = state_at(tmp_path / 'run', config, last)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))


def test_skipped_steps_are_counted_and_too_many_in_a_row_stop_the_run(tmp_path, capsys):
  config = tiny_config(
    on_nonfinite='skip', max_gradient_norm=1e-9, max_skipped_steps=4, log_every_steps=1
  )
  with pytest.raises(NonFiniteError, match=r'Step 5 .*max_gradient_norm.*the 5\. in a row'):
    loop.train(config, tmp_path / 'run')
  assert '1 of the 1 steps up to 4 were skipped' in capsys.readouterr().out
  kept = state_at(tmp_path / 'run', config, 3)
  fresh = program.build(config).fresh_state()
  jax.tree.map(np.testing.assert_array_equal, kept.variables, fresh.variables)
