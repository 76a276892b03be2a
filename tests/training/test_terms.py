"""Windows of terms: averages and accidents."""

from pathlib import Path

import numpy as np
import pytest

from cvae_jax.errors import NonFiniteError
from cvae_jax.training import terms


def window(*losses):
  values = np.array(losses, np.float32)
  return {name: values + offset for offset, name in enumerate(terms.TERMS)}


def losses(lines):
  return [(step, averages['loss']) for step, averages in lines]


def test_lines_are_due_at_multiples():
  # Steps 4 to 10; lines at 6 and 9.
  lines, rest = terms.average(window(4, 5, 6, 7, 8, 9, 10), 10, 3, flush=False)
  assert losses(lines) == [(6, 5.0), (9, 8.0)]
  assert rest['loss'].tolist() == [10]
  assert lines[0][1]['kl'] == 5.0 + terms.TERMS.index('kl')


def test_an_epoch_flushes_its_rest():
  lines, rest = terms.average(window(4, 5, 6, 7, 8), 8, 3, flush=True)
  assert losses(lines) == [(6, 5.0), (8, 7.5)]
  assert rest == {}
  lines, rest = terms.average(window(4, 5, 6), 6, 3, flush=True)
  assert losses(lines) == [(6, 5.0)]
  assert rest == {}


def test_a_window_split_by_a_checkpoint_gives_the_same_line():
  _, rest = terms.average(window(1, 2), 2, 3, flush=False)
  lines, _ = terms.average(terms.concatenate([rest, window(6)]), 3, 3, flush=False)
  assert losses(lines) == [(3, 3.0)]


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_the_first_bad_step_is_named(bad):
  terms.check_finite(window(1, 2, 3), 10, None)
  broken = window(1, 2, 3)  # of steps 8, 9 and 10
  broken['gradient_norm'][1:] = bad
  with pytest.raises(NonFiniteError, match=rf'Step 9 gave .*loss 2.*gradient_norm {bad}'):
    terms.check_finite(broken, 10, None)
  with pytest.raises(NonFiniteError, match='--resume_from=run/checkpoints/7 with a new'):
    terms.check_finite(broken, 10, Path('run/checkpoints/7'))
