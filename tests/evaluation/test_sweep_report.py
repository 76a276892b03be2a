"""Results of sweeps, against numbers worked out by hand."""

import shutil

import pytest

from cvae_jax.evaluation import sweep_report
from cvae_jax.evaluation.sweep_report import Row
from cvae_jax.plots import curves
from cvae_jax.training import sweep_plan
from cvae_jax.training.sweep_plan import Axis
from tiny import tiny_config


def test_roughness_is_how_far_the_loss_moves_in_the_second_half(tmp_path):
  lines = [f'{step},{loss}' for step, loss in enumerate((100, 0, 50, 10, 12, 11), start=1)]
  (tmp_path / 'metrics.csv').write_text('\n'.join(['epoch,train/loss', *lines]))
  assert sweep_report.roughness(tmp_path / 'metrics.csv') == pytest.approx((2 + 1) / 2)
  assert sweep_report.roughness(tmp_path / 'none.csv') is None


def test_a_field_that_changes_nothing_is_named(tmp_path):
  config = tiny_config()
  axes = [Axis('beta', (1.0, 2.0)), Axis('clip_norm', (0.5, 1.0)), Axis('seed', (0,))]
  members = sweep_plan.members(config, axes, tmp_path)

  def rows(number_of):
    return [
      Row(member, 'complete', 1, {'negative_elbo': number_of(member.values)}) for member in members
    ]

  of_beta = rows(lambda values: 90 + values['beta'])
  assert sweep_report.without_effect(of_beta) == ['clip_norm']
  assert 'clip_norm had no effect: the numbers are the same' in sweep_report.protocol(of_beta)
  # A difference in one pair is one.
  rarely = rows(lambda values: 90 + (values == members[-1].values))
  assert sweep_report.without_effect(rarely) == []
  assert 'no effect' not in sweep_report.protocol(rarely)
  failed = [row._replace(values={}) for row in of_beta]
  assert sweep_report.without_effect(failed) == []


def test_columns_are_the_terms_of_the_runs(tmp_path):
  members = sweep_plan.members(tiny_config(), [Axis('objective', ('vae', 'dae'))], tmp_path)
  vae = Row(members[0], 'complete', 3, {'negative_elbo': 9.0, 'kl': 2.0, 'bits_per_dim': 0.1})
  dae = Row(members[1], 'complete', 3, {'commitment': 5.0, 'roughness': 1.0})
  assert sweep_report.table({'a': [dae]})[0] == ('setting', 'runs', 'commitment', 'roughness')
  header, lines = sweep_report.table(sweep_report.settings([vae, dae]))
  assert header == ('setting', 'runs', '−ELBO', 'KL', 'commitment', 'roughness')
  assert lines == [
    ('objective=vae', '1', '9.00', '2.00', '–', '–'),
    ('objective=dae', '1', '–', '–', '5.00', '1.00'),
  ]


def test_the_protocol_names_the_score_of_each_objective(tmp_path):
  members = sweep_plan.members(tiny_config(), [Axis('objective', ('vae', 'dae'))], tmp_path)
  vae, dae = (Row(member, 'complete', 3, {}) for member in members)
  assert 'checkpoint with the lowest −ELBO;' in sweep_report.protocol([vae])
  assert 'checkpoint with the lowest reconstruction;' in sweep_report.protocol([dae])
  both = sweep_report.protocol([vae, dae])
  assert both.index('vae: ') < both.index('lowest −ELBO') < both.index('dae: ')
  assert both.index('dae: ') < both.index('lowest reconstruction')


def test_neither_a_picture_nor_a_lost_run_costs_the_report(tiny_run, tmp_path, monkeypatch, capsys):
  (member,) = sweep_plan.members(tiny_config(), [Axis('beta', (1.0,))], tmp_path)
  shutil.copytree(tiny_run, member.workdir)
  rows = [Row(member, 'complete', 6, {'negative_elbo': 91.5})]

  def fail(*_):
    assert '91.5' in (tmp_path / 'sweep.csv').read_text()
    raise RuntimeError('no font')

  monkeypatch.setattr(curves, 'compared', fail)
  page = sweep_report.write(tmp_path, rows, None).read_text()
  assert "'curves' is left out: RuntimeError: no font" in capsys.readouterr().out
  assert ('91.50' in page, 'no font' in page) == (True, True)
  assert {path.stem for path in tmp_path.glob('*.png')} == {'runs'}
  shutil.rmtree(member.workdir / 'checkpoints')
  page = sweep_report.write(tmp_path, rows, None).read_text()
  assert ('91.50' in page, 'not compared' in page) == (True, True)
  assert '91.5' in (tmp_path / 'sweep.csv').read_text()
