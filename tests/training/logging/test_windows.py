"""Windows of terms: their averages between two lines of the log."""

import numpy as np

from cvae_jax.training.logging import windows

NAMES = ('loss', 'kl', 'gradient_norm')


def window(*losses):
  values = np.array(losses, np.float32)
  return {name: values + offset for offset, name in enumerate(NAMES)}


def average(values, *arguments, **named):
  return windows.average(values, np.ones(len(values['loss']), bool), *arguments, **named)


def losses(lines):
  return [(step, averages['loss']) for step, averages in lines]


def test_lines_are_due_at_multiples():
  # Steps 4 to 10; lines at 6 and 9.
  lines, rest = average(window(4, 5, 6, 7, 8, 9, 10), 10, 3, flush=False)
  assert losses(lines) == [(6, 5.0), (9, 8.0)]
  assert rest['loss'].tolist() == [10]
  assert lines[0][1] == {'loss': 5.0, 'kl': 6.0, 'gradient_norm': 7.0}


def test_an_epoch_flushes_its_rest():
  lines, rest = average(window(4, 5, 6, 7, 8), 8, 3, flush=True)
  assert losses(lines) == [(6, 5.0), (8, 7.5)]
  assert rest == {}
  lines, rest = average(window(4, 5, 6), 6, 3, flush=True)
  assert losses(lines) == [(6, 5.0)]
  assert rest == {}


def test_a_window_split_by_a_checkpoint_gives_the_same_line():
  _, rest = average(window(1, 2), 2, 3, flush=False)
  joined = windows.concatenate([rest, window(6)], NAMES)
  assert tuple(joined) == NAMES
  lines, _ = average(joined, 3, 3, flush=False)
  assert losses(lines) == [(3, 3.0)]


def test_averages_are_of_usable_steps():
  broken = window(1, np.nan, 3, np.nan, np.nan, 6)  # of steps 5 to 10
  usable = np.isfinite(broken['loss'])
  lines, rest = windows.average(broken, usable, 10, 2, flush=False)
  assert losses(lines) == [(6, 1.0), (8, 3.0), (10, 6.0)]
  assert rest == {}
  assert windows.average(broken, usable & False, 10, 2, flush=False) == ([], {})
