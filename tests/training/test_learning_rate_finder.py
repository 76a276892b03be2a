"""The ramp of the learning rate: its averages against closed forms; it changes no run."""

import jax
import numpy as np
import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.training import learning_rate_finder as finder
from cvae_jax.training import program
from tiny import tiny_config


def test_the_ramp_is_even_in_the_logarithm():
  rates = np.array([finder.schedule(step) for step in range(finder.NUM_STEPS)])
  np.testing.assert_allclose(rates[[0, -1]], [1e-8, 1.0])
  np.testing.assert_allclose(np.diff(np.log(rates)), np.log(1e8) / 99)


def test_averages_begin_at_the_first_loss_and_follow():
  np.testing.assert_allclose(finder.smooth(np.full(50, 7.0)), 7.0)
  losses = np.random.RandomState(0).randn(20)
  weights = finder.SMOOTHING ** np.arange(19, -1, -1)
  assert finder.smooth(losses)[-1] == pytest.approx(np.sum(weights * losses) / np.sum(weights))


@pytest.mark.parametrize(
  ('averages', 'expected'),
  [
    ([10.0, 5.0, 19.9], False),
    ([10.0, 5.0, 20.1], True),  # 4 times the best
    ([-5.0, -10.0, 19.9], False),
    ([-5.0, -10.0, 20.1], True),
    ([10.0, np.nan], True),
    ([10.0, np.inf], True),
  ],
)
def test_what_counts_as_divergence(averages, expected):
  assert finder.has_diverged(np.array(averages)) == expected


def test_the_steepest_slope_against_the_logarithm_of_the_rate():
  rates = np.logspace(-8, 0, 100)
  # A fall around 3e-4, flat before and after it.
  averages = -np.tanh(3 * np.log10(rates / 3e-4))
  assert finder.steepest(rates, averages) == pytest.approx(3e-4, rel=0.2)
  averages[-1] = np.inf
  assert finder.steepest(rates, averages) == pytest.approx(3e-4, rel=0.2)
  with pytest.raises(InputError, match='1e-08'):
    finder.steepest(rates, np.linspace(1, 2, 100))


def test_a_ramp_on_real_images_finds_a_rate_and_leaves_all_as_it_was():
  prog = program.build(tiny_config())
  before = jax.device_get(prog.fresh_state())
  ramp = finder.find(prog)
  assert len(ramp.losses) <= finder.NUM_STEPS
  assert 1e-4 < ramp.suggestion < 1
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(prog.fresh_state()), before)
  # Rates of before the fall are too small to change anything, those at its end do harm.
  first = ramp.losses[: len(ramp.losses) // 4]
  assert np.ptp(first) < 0.1 * np.ptp(ramp.losses)


def test_the_suggested_rate_is_returned_as_it_is_printed(tmp_path, capsys):
  config = tiny_config()
  rate = finder.suggest(config, tmp_path / 'found')
  (line,) = [x for x in capsys.readouterr().out.splitlines() if '--config.learning_rate=' in x]
  assert float(line.partition('--config.learning_rate=')[2]) == rate != config.learning_rate
  assert config == tiny_config()
  assert {path.name for path in tmp_path.iterdir()} == {'found-find_lr.csv', 'found-find_lr.png'}
  table = np.loadtxt(tmp_path / 'found-find_lr.csv', delimiter=',', skiprows=1)
  assert float(f'{finder.steepest(*table.T):.2g}') == rate


def test_files_that_cannot_be_written_cost_no_suggestion(tmp_path, capsys, monkeypatch):
  ramp = finder.Ramp(np.array([1e-3, 1e-2]), np.array([2.0, 1.0]), suggestion=3e-3)
  monkeypatch.setattr(finder, 'build', lambda config: None)
  monkeypatch.setattr(finder, 'find', lambda program: ramp)
  for suffix in ('csv', 'png'):  # in the way of the files
    (tmp_path / f'found-find_lr.{suffix}').mkdir()
  assert finder.suggest(None, tmp_path / 'found') == 3e-3
  lines = capsys.readouterr().out.splitlines()
  assert 'learning_rate=0.003' in lines[1]
  assert [line.endswith('left out: Is a directory') for line in lines[2:]] == [True, True]
