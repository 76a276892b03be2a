"""Sweeps: each of their runs is the run that is trained alone."""

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
from cvae_jax.training import loop, program, restoring, run_folder, sweep, sweep_plan
from cvae_jax.training.sweep_plan import Axis
from long_run import LongRun, last_step, wait_until
from tiny import TINY_FLAGS, rows, tiny_config

CONFIG = tiny_config()


def test_runs_that_differ_in_numbers_of_the_step_are_one_group():
  axes = [Axis('latent_dim', (3, 4)), Axis('beta', (1.0, 0.5)), Axis('seed', (0, 1))]
  runs = sweep_plan.members(CONFIG, axes, ROOT)
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
      config = tiny_config(beta=beta, seed=seed)
      loop.train(config, folder / f'beta={beta:g},seed={seed}')
  return folder


AXES = [Axis('beta', (0.5, 4.0)), Axis('seed', (0, 1))]


def assert_same(run, other):
  """Rows and weights agree to float tolerance."""
  for row, expected in zip(rows(run), rows(other), strict=True):
    assert row.keys() == expected.keys()
    numbers = [[float(x[name] or 'nan') for name in x] for x in (row, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-5)
  saved = config_lib.read(run).config
  assert saved == config_lib.read(other).config
  like = program.build(saved).fresh_state().eval_variables
  weights = [restoring.restore_variables(x, 'last', saved, like) for x in (run, other)]
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
  assert sweep.train(sweep_plan.members(CONFIG, AXES, tmp_path)) == {}
  assert ('4 runs ' in capsys.readouterr().out) == at_once
  for run in alone.iterdir():
    assert_same(tmp_path / run.name, run)
  # A second time there is nothing left to train.
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('checkpoints/*')}
  assert sweep.train(sweep_plan.members(CONFIG, AXES, tmp_path)) == {}
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('checkpoints/*')} == before


@pytest.mark.slow
def test_memory_splits_a_sweep(alone, tmp_path, monkeypatch, capsys):
  """If two fit at once, four train in two waves."""
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
  monkeypatch.setattr(sweep, '_runs_at_once', lambda _: 2)
  assert sweep.train(sweep_plan.members(CONFIG, AXES, tmp_path)) == {}
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
def test_a_run_that_fails_ends_no_other(at_once, tmp_path, monkeypatch, capsys):
  if at_once:
    monkeypatch.setattr(devices, 'chunk_steps', lambda: 512)
    monkeypatch.setattr(devices, 'limit_bytes', lambda: 1 << 30)
  occupied = tmp_path / 'learning_rate=0.002'
  occupied.mkdir()
  (occupied / 'notes.txt').write_text('mine')
  with pytest.raises(FailedRunsError) as caught:
    reported_sweep.run(CONFIG, ['learning_rate=0.001,1e30,0.002,0.003'], None, str(tmp_path))
  assert '2 of 4 runs' in str(caught.value)
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


def test_missing_data_end_a_sweep_in_one_line(tmp_path, capsys):
  config = tiny_config(data__name='mnist', data__dir=str(tmp_path / 'nowhere'))
  with pytest.raises(InputError, match='nowhere'):
    reported_sweep.run(config, ['beta=1,2'], None, str(tmp_path / 'sweep'))
  assert not (tmp_path / 'sweep').exists()
  assert 'beta=1, beta=2: ' in capsys.readouterr().out


def test_runs_of_another_config_are_no_results(alone, tmp_path):
  shutil.copytree(alone, tmp_path / 'sweep')
  other = tiny_config(latent_dim=4)
  with pytest.raises(InputError, match='latent_dim is 3 there, 4 here'):
    reported_sweep.run(other, ['beta=0.5,4', 'seed=0,1'], None, str(tmp_path / 'sweep'))
  assert not (tmp_path / 'sweep' / 'report.html').exists()


def test_running_out_of_memory_halves_the_runs_at_once(tmp_path, monkeypatch, capsys):
  tried, train_wave = [], sweep._train_wave

  def out_of_memory(wave, *rest):
    tried.append(len(wave))
    if len(wave) > 1:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')
    train_wave(wave, *rest)

  monkeypatch.setattr(sweep, '_train_wave', out_of_memory)
  monkeypatch.setattr(sweep, '_runs_at_once', lambda _: 4)
  config = tiny_config(num_epochs=1)
  assert sweep.train(sweep_plan.members(config, [Axis('seed', (0, 1))], tmp_path)) == {}
  assert tried == [2, 1, 1]
  assert 'out of memory: 1 runs at once' in capsys.readouterr().out


def sweep_command(long, folder):
  return [*long.command(folder), '--sweep', 'seed=0,1', '--sweep', 'beta=1']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_was_interrupted_resumes(number, tmp_path):
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
    (line,) = errors.splitlines()
    assert line.startswith('train.py: Stopped by SIGTERM')
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
  command += [*TINY_FLAGS, '--workdir', 'sweep']
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
  runs = sweep_plan.members(CONFIG, axes, tmp_path / 'sweep')
  assert sweep.train(runs) == {}
  said = capsys.readouterr().out
  assert said.count('training and 50 validation images') == 2
  found = sweep_report.collect(runs, {})
  header, lines = sweep_report.table(sweep_report.settings(found))
  assert header[:3] == ('setting', 'runs', '−ELBO')
  assert [line[:2] for line in lines] == [('beta=0.5', '3'), ('beta=4', '3')]
  bounds = [row.values['negative_elbo'] for row in found[:3]]
  assert lines[0][2] == f'{np.mean(bounds):.2f} ± {np.std(bounds, ddof=1):.2f}'
