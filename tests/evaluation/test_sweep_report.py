"""What a sweep came to, against numbers worked out by hand."""

import pytest

from cvae_jax.evaluation import sweep_results as results
from cvae_jax.evaluation.sweep_results import Row
from cvae_jax.training import sweep, writers
from cvae_jax.training.sweep import Axis
from tiny import tiny_config


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


def test_a_field_that_changes_nothing_is_named(tmp_path):
  config = tiny_config()
  axes = [Axis('beta', (1.0, 2.0)), Axis('clip_norm', (0.5, 1.0)), Axis('seed', (0,))]
  members = sweep.members(config, axes, tmp_path)

  def rows(number_of):
    return [
      Row(member, 'complete', 1, {'negative_elbo': number_of(member.values)}) for member in members
    ]

  of_beta = rows(lambda values: 90 + values['beta'])
  assert results.without_effect(of_beta) == ['clip_norm']
  assert 'clip_norm had no effect: the numbers are the same' in results.protocol(of_beta)
  # A difference in one pair is one.
  rarely = rows(lambda values: 90 + (values == members[-1].values))
  assert results.without_effect(rarely) == []
  assert 'no effect' not in results.protocol(rarely)
  failed = [row._replace(values={}) for row in of_beta]
  assert results.without_effect(failed) == []


def test_columns_stand_below_their_names():
  assert results.as_text(('name', 'n'), [('a', '10'), ('long', '5')]) == (
    'name   n\na     10\nlong   5'
  )
