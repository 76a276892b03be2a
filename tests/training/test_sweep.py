"""Sweeps: what they consist of, and that each of their runs is one trained alone."""

import csv
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from conftest import ROOT
from cvae_jax import config as config_lib
from cvae_jax.evaluation import sweep as reported_sweep
from cvae_jax.evaluation import sweep_report
from cvae_jax.runtime import devices
from cvae_jax.runtime.errors import FailedRunsError, InputError
from cvae_jax.training import checkpoints, loop, program, run_folder, sweep
from cvae_jax.training.sweep import Axis
from long_run import LongRun, last_step, wait_until
from tiny import DENSE, DENSE_FLAGS, TINY_FLAGS, rows, tiny_config

CONFIG = tiny_config(**DENSE)


@pytest.mark.parametrize(
  ('text', 'field', 'values'),
  [
    ('beta=0.5,1,2', 'beta', (0.5, 1.0, 2.0)),
    ('config.seed=0, 1', 'seed', (0, 1)),
    ('conditional=true,False', 'conditional', (True, False)),
    ('model.channels=(4,8),(8)', 'model.channels', ((4, 8), (8,))),
    ('beta_schedule=linear', 'beta_schedule', ('linear',)),
  ],
)
def test_values_are_read_as_their_field_has_them(text, field, values):
  assert sweep.parse(text, CONFIG) == Axis(field, values)


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    (['beta'], "'beta' has no values: expected e.g. --sweep beta=0.5,1,2"),
    (['beta='], 'has no values'),
    (['bta=1'], "'bta' is no config field. Did you mean 'beta'"),
    (['name=a,b'], "'name' makes no other run"),
    (['tracker=none,wandb'], "'tracker' makes no other run"),
    (['beta=1,x'], "beta='x' is not a number, 0 or more"),
    (['beta=1,-2'], 'beta=-2: beta=-2.0 is not a number, 0 or more'),
    (['seed=0.5'], "seed='0.5' is not an integer"),
    (['conditional=maybe'], 'is not True or False'),
    (['beta=1,1.0'], 'beta=1,1.0 names a value twice'),
    (['beta=1', 'beta=2'], 'names a field twice: beta, beta'),
    (
      ['prior=class_gaussian', 'conditional=False'],
      'prior=class_gaussian,conditional=False: prior=',
    ),
    (
      [f'{field}={",".join(map(str, range(40)))}' for field in ('seed', 'beta')],
      '1,600',
    ),
  ],
)
def test_mistakes_are_met_before_anything_is_trained(texts, message, tmp_path):
  with pytest.raises(InputError) as caught:
    sweep.members(CONFIG, [sweep.parse(text, CONFIG) for text in texts], tmp_path)
  assert message in str(caught.value)


def test_runs_that_differ_in_numbers_of_the_step_are_one_group():
  axes = [Axis('latent_dim', (3, 4)), Axis('beta', (1.0, 0.5)), Axis('seed', (0, 1))]
  runs = sweep.members(CONFIG, axes, ROOT)
  assert [run.name for run in runs][:3] == [
    'latent_dim=3,beta=1,seed=0',
    'latent_dim=3,beta=1,seed=1',
    'latent_dim=3,beta=0.5,seed=0',
  ]
  assert [[run.values['latent_dim'] for run in group] for group in sweep.groups(runs)] == [
    [3] * 4,
    [4] * 4,
  ]
  assert dict(config_lib.fields(runs[2].config))['beta'] == 0.5


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """Four runs, each trained by itself."""
  folder = tmp_path_factory.mktemp('alone')
  for beta in (0.5, 4.0):
    for seed in (0, 1):
      config = tiny_config(**DENSE, beta=beta, seed=seed)
      loop.train(config, folder / f'beta={beta:g},seed={seed}')
  return folder


AUGMENTATIONS = ('rotation', 'shift', 'flip', 'brightness', 'contrast', 'auto_contrast')
AXES = [Axis('beta', (0.5, 4.0)), Axis('seed', (0, 1))]


def assert_same(run, other):
  """Rows and weights, to float tolerance."""
  for row, expected in zip(rows(run), rows(other), strict=True):
    assert row.keys() == expected.keys()
    numbers = [[float(x[name] or 'nan') for name in x] for x in (row, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-5)
  saved = config_lib.read(run).config
  assert saved == config_lib.read(other).config
  like = program.build(saved).fresh_state().eval_variables
  weights = [checkpoints.restore_variables(x, 'last', saved, like) for x in (run, other)]
  assert weights[0][1] == weights[1][1]
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  jax.tree.map(close, weights[0][0], weights[1][0])
  assert {path.name for path in run.iterdir() if 'events' not in path.name} == {
    path.name for path in other.iterdir() if 'events' not in path.name
  }


@pytest.mark.parametrize('at_once', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_sweep_of_four_is_four_runs(at_once, alone, tmp_path, monkeypatch, capsys):
  """In turn, as on a CPU; and at once, as on an accelerator, whose chunks are epochs."""
  if at_once:
    monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
    monkeypatch.setattr(devices, 'limit_bytes', lambda: 1 << 30)
  assert sweep.train(sweep.members(CONFIG, AXES, tmp_path)) == {}
  said = capsys.readouterr().out
  assert ('4 runs ' in said) == at_once
  for run in alone.iterdir():
    assert_same(tmp_path / run.name, run)
  # Once more: nothing is left to do.
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('checkpoints/*')}
  assert sweep.train(sweep.members(CONFIG, AXES, tmp_path)) == {}
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('checkpoints/*')} == before


@pytest.mark.slow
def test_memory_splits_a_sweep(alone, tmp_path, monkeypatch, capsys):
  """Where two fit at once, four go in two waves."""
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  monkeypatch.setattr(sweep, '_runs_at_once', lambda _: 2)
  assert sweep.train(sweep.members(CONFIG, AXES, tmp_path)) == {}
  assert '2 runs ' in capsys.readouterr().out
  for run in alone.iterdir():
    assert_same(tmp_path / run.name, run)


@pytest.mark.parametrize(
  ('limit', 'expected'),
  [(None, 1), (1, 1), (1 << 40, sweep.MAX_AT_ONCE), (1_000_000, range(2, 16))],
)
def test_how_many_fit(limit, expected, monkeypatch):
  monkeypatch.setattr(devices, 'limit_bytes', lambda: limit)
  prog = program.build(CONFIG)
  assert sweep._runs_at_once(prog) == 1  # a CPU
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  count = sweep._runs_at_once(prog)
  assert count in expected if isinstance(expected, range) else count == expected


@pytest.mark.parametrize('at_once', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_that_fails_takes_no_other_with_it(at_once, tmp_path, monkeypatch, capsys):
  if at_once:
    monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
    monkeypatch.setattr(devices, 'limit_bytes', lambda: 1 << 30)
  occupied = tmp_path / 'learning_rate=0.002'
  occupied.mkdir()
  (occupied / 'notes.txt').write_text('mine')
  with pytest.raises(FailedRunsError) as caught:
    reported_sweep.run(CONFIG, ['learning_rate=0.001,1e30,0.002,0.003'], None, str(tmp_path))
  assert str(caught.value).startswith('2 of 4 runs failed: learning_rate=')
  assert 'learning_rate=1e+30' in str(caught.value)
  said = capsys.readouterr().out
  assert 'learning_rate=1e+30: Step' in said
  assert 'learning_rate=0.002: ' in said
  assert [path.name for path in occupied.iterdir()] == ['notes.txt']
  for rate in ('0.001', '0.003'):
    assert (tmp_path / f'learning_rate={rate}' / 'samples' / 'step_6.png').is_file()
    assert f'learning_rate={rate}' in (tmp_path / 'report.html').read_text()
  with open(tmp_path / 'sweep.csv', newline='') as file:
    table = list(csv.DictReader(file))
  assert [row['status'] == 'complete' for row in table] == [True, False, False, True]
  assert [bool(row['negative_elbo']) for row in table] == [True, False, False, True]


def test_data_that_are_not_there_end_a_sweep_in_one_line(tmp_path, capsys):
  config = tiny_config(**DENSE, data__name='mnist', data__dir=str(tmp_path / 'nowhere'))
  with pytest.raises(InputError, match='nowhere'):
    reported_sweep.run(config, ['beta=1,2'], None, str(tmp_path / 'sweep'))
  assert not (tmp_path / 'sweep').exists()
  assert 'beta=1, beta=2: ' in capsys.readouterr().out


def test_runs_of_another_config_are_no_results(alone, tmp_path):
  shutil.copytree(alone, tmp_path / 'sweep')
  other = tiny_config(**DENSE, latent_dim=4)
  with pytest.raises(InputError, match='holds another run: latent_dim is 3 there, 4 here'):
    reported_sweep.run(other, ['beta=0.5,4', 'seed=0,1'], None, str(tmp_path / 'sweep'))
  assert not (tmp_path / 'sweep' / 'report.html').exists()


def test_memory_that_runs_out_halves_the_runs_at_once(tmp_path, monkeypatch, capsys):
  tried, train_wave = [], sweep._train_wave

  def out_of_memory(wave, *rest):
    tried.append(len(wave))
    if len(wave) > 1:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')
    train_wave(wave, *rest)

  monkeypatch.setattr(sweep, '_train_wave', out_of_memory)
  monkeypatch.setattr(sweep, '_runs_at_once', lambda _: 4)
  config = tiny_config(num_epochs=1, **DENSE)
  assert sweep.train(sweep.members(config, [Axis('seed', (0, 1))], tmp_path)) == {}
  assert tried == [2, 1, 1]
  assert 'out of memory: 1 runs at once' in capsys.readouterr().out


def test_long_names_are_those_of_folders_all_the_same(tmp_path):
  axes = [Axis(f'data.augment.{name}_probability', (0.25, 0.5)) for name in AUGMENTATIONS]
  runs = sweep.members(CONFIG, [*axes, Axis('init_from', ('a/b', 'a_b'))], tmp_path)
  names = [run.workdir.name for run in runs]
  assert len(set(names)) == len(names) == 2**7
  assert all(len(name) <= 210 and '/' not in name for name in names)
  assert all(run.workdir.parent == tmp_path for run in runs)


def sweep_command(long, folder):
  return [*long.command(folder), '--sweep', 'seed=0,1', '--sweep', 'beta=1']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_in_the_middle_goes_on(number, tmp_path):
  long = LongRun(num_epochs=60, checkpoint_every_steps=50)
  command = sweep_command(long, 'sweep')
  second = tmp_path / 'sweep' / 'seed=1,beta=1'
  process = subprocess.Popen(
    command,
    cwd=tmp_path,
    env=long.environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  wait_until(lambda: run_folder.has_checkpoint(second), process)
  process.send_signal(number)
  _, errors = process.communicate()
  if number == signal.SIGTERM:
    assert process.returncode == 143
    assert errors == (
      'train.py: Stopped by SIGTERM: the same command goes on with each run where it stands.\n'
    )
  assert last_step(second) < long.last
  done = subprocess.run(
    command, cwd=tmp_path, env=long.environment, capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert 'seed=1,beta=1: resuming at step' in done.stdout
  assert 'seed=0,beta=1: resuming' not in done.stdout
  loop.train(long.config(seed=1, beta=1.0), tmp_path / 'whole')
  assert rows(second) == rows(tmp_path / 'whole')
  assert (tmp_path / 'sweep' / 'report.html').is_file()


@pytest.mark.slow
def test_several_devices_have_runs_of_their_own(alone, tmp_path):
  command = [sys.executable, str(ROOT / 'train.py'), '--config', str(ROOT / 'configs/default.py')]
  command += [*TINY_FLAGS, *DENSE_FLAGS, '--workdir', 'sweep']
  done = subprocess.run(
    [*command, '--sweep=beta=0.5,4', '--sweep=seed=0,1'],
    cwd=tmp_path,
    env=os.environ | {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert 'on 1 cpu device(s)' in done.stdout
  for run in alone.iterdir():
    assert_same(tmp_path / 'sweep' / run.name, run)


@pytest.mark.slow
def test_a_longer_list_of_values_trains_what_is_missing(alone, tmp_path, capsys):
  shutil.copytree(alone, tmp_path / 'sweep')
  axes = [Axis('beta', (0.5, 4.0)), Axis('seed', (0, 1, 2))]
  runs = sweep.members(CONFIG, axes, tmp_path / 'sweep')
  assert sweep.train(runs) == {}
  said = capsys.readouterr().out
  assert said.count('training and 50 validation images') == 2
  found = sweep_report.collect(runs, {})
  header, lines = sweep_report.table(sweep_report.settings(found))
  assert header[:3] == ('setting', 'runs', '−ELBO')
  assert [line[:2] for line in lines] == [('beta=0.5', '3'), ('beta=4', '3')]
  bounds = [row.values['negative_elbo'] for row in found[:3]]
  assert lines[0][2] == f'{np.mean(bounds):.2f} ± {np.std(bounds, ddof=1):.2f}'
