"""What a sweep came to, against numbers worked out by hand."""

import pytest

from cvae_jax.experiments import results
from cvae_jax.training import writers


def test_the_deviation_is_that_of_a_sample():
  assert results.shown([1.0, 3.0]) == '2.00 ± 1.41'
  assert results.shown([1.25]) == '1.25'
  assert results.shown([-0.001]) == '0.00'
  assert results.shown([]) == '–'
  assert results.shown([0.5, 0.5], digits=3) == '0.500 ± 0.000'


def test_roughness_is_how_far_the_loss_moves_in_the_second_half(tmp_path):
  log = writers.CsvWriter(tmp_path / 'metrics.csv')
  for step, loss in enumerate((100.0, 0.0, 50.0, 10.0, 12.0, 11.0), start=1):
    log.write_scalars(step, {'epoch': float(step), 'train/loss': loss})
  log.close()
  assert results.roughness(tmp_path / 'metrics.csv') == pytest.approx((2 + 1) / 2)
  assert results.roughness(tmp_path / 'none.csv') is None


def test_columns_stand_below_their_names():
  assert results.as_text(('name', 'n'), [('a', '10'), ('long', '5')]) == (
    'name   n\na     10\nlong   5'
  )
