"""Curves: no line is hidden, and no text is cut off."""

import numpy as np

from cvae_jax.plots import curves
from figure_text import check_text


def test_no_line_of_the_training_curves_is_hidden(tmp_path):
  """A validation far above the training, as with dropout."""
  lines = ['step,epoch,train/loss,train/reconstruction,train/kl,train/beta']
  lines[0] += ',validation/negative_elbo,validation/reconstruction,validation/kl'
  lines += [f'{n},{n},{500 if n == 1 else 100},90,10,1,150,140,10' for n in range(1, 40)]
  (tmp_path / 'metrics.csv').write_text('\n'.join(lines) + '\n')
  figure = curves.training_curves(tmp_path / 'metrics.csv')
  low, high = figure.axes[0].get_ylim()
  assert low < 100
  assert 150 < high < 400


def test_training_curves(tiny_run, tmp_path):
  seen, _ = check_text(curves.training_curves(tiny_run / 'metrics.csv'))
  assert {'β', 'epoch', 'KL, nats'} <= set(seen)
  empty = tmp_path / 'metrics.csv'
  empty.write_text('step,epoch\n')
  assert curves.training_curves(empty) is None


def test_every_term_of_the_header_has_a_panel_under_its_label_or_name(tmp_path):
  """A task of the user's own: its terms are known from the log alone."""
  log = tmp_path / 'metrics.csv'
  header = 'step,epoch,train/loss,train/commitment,train/learning_rate,validation/commitment'
  log.write_text(f'{header},validation/kl\n1,1,3,2,0.1,5,7\n2,2,3,2,0.1,6,8\n')
  titles = {axes.get_title(): len(axes.lines) for axes in curves.training_curves(log).axes}
  assert titles == {'loss': 1, 'commitment': 2, 'KL, nats': 1}
  figure = curves.compared({'mine': [log]})
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == ['validation commitment', 'validation KL, nats']
  np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [5, 6])


def test_compared_curves_name_each_setting_once(tiny_run, tmp_path):
  log = tiny_run / 'metrics.csv'
  seen, _ = check_text(curves.compared({'β = 1': [log, log], 'β = 4': [log]}))
  assert seen.count(' β = 1') == seen.count(' β = 4') == 1
  assert 'validation KL, nats' in seen
  assert curves.compared({'β = 1': [tmp_path / 'none.csv']}) is None


def test_the_axes_of_a_single_epoch_and_of_empty_columns_are_whole(tmp_path):
  """As of a denoising autoencoder before each objective had its own columns."""
  log = tmp_path / 'metrics.csv'
  log.write_text('step,epoch,train/loss,train/kl,train/beta\n1,0.5,3,,\n2,1.0,2,,\n')
  figure = curves.training_curves(log)
  check_text(figure)
  for axes in figure.axes:
    assert shown_ticks(axes) == [0, 1]


def test_the_curves_of_a_resumed_run_begin_where_the_other_ended(tmp_path):
  log = tmp_path / 'metrics.csv'
  header = 'step,epoch,train/loss,train/gradient_norm\n'
  log.write_text(header + ''.join(f'{n},{n},3,1\n' for n in range(41, 51)))
  for figure in (curves.training_curves(log), curves.compared({'on': [log]})):
    for axes in figure.axes:
      assert shown_ticks(axes)[0] >= 41
      assert shown_ticks(axes)[-1] <= 50


def shown_ticks(axes):
  low, high = axes.get_xlim()
  return [tick for tick in axes.get_xticks() if low <= tick <= high]
