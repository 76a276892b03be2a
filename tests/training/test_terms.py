"""Windows of terms: averages and accidents."""

from pathlib import Path

import numpy as np
import pytest

from cvae_jax.runtime.errors import NonFiniteError
from cvae_jax.training import terms
from tiny import tiny_config


def window(*losses):
  values = np.array(losses, np.float32)
  return {name: values + offset for offset, name in enumerate(terms.TERMS)}


def average(values, *arguments, **named):
  return terms.average(values, np.ones(len(values['loss']), bool), *arguments, **named)


def losses(lines):
  return [(step, averages['loss']) for step, averages in lines]


def test_lines_are_due_at_multiples():
  # Steps 4 to 10; lines at 6 and 9.
  lines, rest = average(window(4, 5, 6, 7, 8, 9, 10), 10, 3, flush=False)
  assert losses(lines) == [(6, 5.0), (9, 8.0)]
  assert rest['loss'].tolist() == [10]
  assert lines[0][1]['kl'] == 5.0 + terms.TERMS.index('kl')


def test_an_epoch_flushes_its_rest():
  lines, rest = average(window(4, 5, 6, 7, 8), 8, 3, flush=True)
  assert losses(lines) == [(6, 5.0), (8, 7.5)]
  assert rest == {}
  lines, rest = average(window(4, 5, 6), 6, 3, flush=True)
  assert losses(lines) == [(6, 5.0)]
  assert rest == {}


def test_a_window_split_by_a_checkpoint_gives_the_same_line():
  _, rest = average(window(1, 2), 2, 3, flush=False)
  lines, _ = average(terms.concatenate([rest, window(6)]), 3, 3, flush=False)
  assert losses(lines) == [(3, 3.0)]


def stops(**changes):
  return tiny_config(**changes)


def skips(most, **changes):
  return tiny_config(on_nonfinite='skip', max_skipped_steps=most, **changes)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_the_first_bad_step_is_named(bad):
  whole = window(1, 2, 3)
  assert terms.check_usable(whole, terms.usable_steps(whole, stops()), 10, 0, None, stops()) == 0
  broken = window(1, 2, 3)  # of steps 8, 9 and 10
  broken['gradient_norm'][1:] = bad
  usable = terms.usable_steps(broken, stops())
  assert usable.tolist() == [True, False, False]
  with pytest.raises(NonFiniteError, match=rf'Step 9 gave .*loss 2.*gradient_norm {bad}'):
    terms.check_usable(broken, usable, 10, 0, None, stops())
  with pytest.raises(NonFiniteError, match='--resume_from=run/checkpoints/7 with a new'):
    terms.check_usable(broken, usable, 10, 0, Path('run/checkpoints/7'), stops())


def test_a_gradient_longer_than_allowed_is_named():
  config = stops(max_gradient_norm=6.5)  # a window's is its loss + 4
  usable = terms.usable_steps(window(1, 2, 3), config)
  assert usable.tolist() == [True, True, False]
  with pytest.raises(NonFiniteError, match='Step 10 gave a gradient longer than max_gradient_norm'):
    terms.check_usable(window(1, 2, 3), usable, 10, 0, None, config)


def test_so_many_steps_in_a_row_may_be_left_out():
  broken = window(1, np.nan, 3, np.nan, np.nan)  # of steps 6 to 10
  usable = terms.usable_steps(broken, skips(2))
  assert terms.check_usable(broken, usable, 10, 0, None, skips(2)) == 2
  with pytest.raises(NonFiniteError, match=r'Step 10 gave .* finite, the 2\. in a row'):
    terms.check_usable(broken, usable, 10, 0, None, skips(1))
  # Two before those that are new.
  assert terms.check_usable(broken, usable[1:], 10, 1, None, skips(2)) == 2
  with pytest.raises(NonFiniteError, match=r'Step 7 gave .*, the 3\. in a row'):
    terms.check_usable(broken, usable[1:], 10, 2, None, skips(2))


def test_averages_are_of_the_steps_that_counted():
  broken = window(1, np.nan, 3, np.nan, np.nan, 6)  # of steps 5 to 10
  usable = terms.usable_steps(broken, skips(9))
  lines, rest = terms.average(broken, usable, 10, 2, flush=False)
  assert losses(lines) == [(6, 1.0), (8, 3.0), (10, 6.0)]
  lines, _ = terms.average(broken, usable & False, 10, 2, flush=False)
  assert (lines, rest) == ([], {})
