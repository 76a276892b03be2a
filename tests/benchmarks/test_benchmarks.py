"""The benchmarks, on small problems."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alternate, growth, made_images, scaling, sweep, throughput
from configs import mnist
from conftest import ROOT
from cvae_jax.data import datasets as splits
from cvae_jax.runtime.errors import InputError
from long_run import wait_until


def test_training_reads_the_random_images(tmp_path):
  made_images.write(tmp_path, 120, num_test=10)
  config = mnist.get_config()
  config.data.dir, config.data.validation_examples, config.batch_size = str(tmp_path), 20, 10
  train, validation, test = splits.load(config)
  assert (len(train.labels), len(validation.labels), len(test.labels)) == (100, 20, 10)
  assert len(np.unique(train.images)) == 256


def test_the_table_gives_our_speed_relative_to_each():
  row = {'ms_per_step': 2.0, 'compile_seconds': 1.0, 'peak_bytes': 5_000_000}
  rows = {'other': row | {'images_per_second': 200.0, 'ratios': {'float32': 1.5, 'bfloat16': 1.2}}}
  *_, last = throughput.table(rows, 128).splitlines()
  assert last == '| other | 200 | 2 | 1.0 | 5 | 1.50 | 1.20 |'


def test_a_contender_that_cannot_run_is_printed_and_left_out(capsys):
  broken = scaling.contender(devices=1, batch_size=8) | {'package': 'float7'}
  with alternate.workers({'broken': broken}) as ready:
    assert not ready
  output = capsys.readouterr().out
  assert 'broken' in output
  assert 'float7' in output


@pytest.mark.parametrize('program', ['', '.throughput', '.epoch', '.roofline', '.sweep', '.growth'])
def test_a_missing_gpu_gets_one_line(program):
  done = subprocess.run(
    [sys.executable, '-m', f'benchmarks{program}', '--device', 'gpu'],
    cwd=ROOT,
    env=os.environ | {'PATH': ''},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.startswith(f'python -m benchmarks{program}: No NVIDIA GPU here')
  assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('name', ['throughput', 'epoch', 'roofline', 'sweep', 'growth', 'scaling'])
def test_a_file_that_cannot_be_written_is_refused_at_once(refused, tmp_path, name):
  (tmp_path / 'FILE').touch()
  line = refused('-m', f'benchmarks.{name}', '--output=FILE/x.json')
  assert line.startswith(f'python -m benchmarks.{name}: Cannot write FILE: Not a directory')


@pytest.mark.parametrize('content', ['', '{', '[]', 'null'])
def test_damaged_curves_are_refused(refused, tmp_path, content):
  (tmp_path / 'curves.json').write_text(content)
  line = refused('-m', 'benchmarks.growth', '--quick', '--only=images', '--output=curves.json')
  assert 'curves.json holds no curves' in line
  assert (tmp_path / 'curves.json').read_text() == content


HIDING_PYTORCH = """
import runpy, sys
sys.modules['torch'] = None
runpy.run_module(sys.argv.pop(), run_name='__main__', alter_sys=True)
"""


@pytest.mark.parametrize('name', ['throughput', 'accelerator.contenders'])
def test_pytorch_is_missed_before_anything_is_measured(refused, name):
  line = refused('-c', HIDING_PYTORCH, '--device=cpu', '--output=x.json', f'benchmarks.{name}')
  assert line.startswith(f'python -m benchmarks.{name}: PyTorch')
  assert 'pip install torch' in line


HEEDING = """
import runpy, signal, sys
signal.signal(int(sys.argv.pop(1)), signal.SIG_DFL)  # where pytest ignores it, with nohup
runpy.run_module('benchmarks.growth', run_name='__main__', alter_sys=True)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_program_and_what_it_began(tmp_path, number):
  process = subprocess.Popen(
    [
      sys.executable,
      '-c',
      HEEDING,
      str(int(number)),
      '--quick',
      '--only=images',
      '--output=/dev/null',
    ],
    cwd=ROOT,
    env=os.environ | {'TMPDIR': str(tmp_path)},
    stderr=subprocess.PIPE,
    text=True,
  )

  def children():
    return Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()

  wait_until(lambda: any(tmp_path.iterdir()) and children(), process)
  (child,) = children()
  process.send_signal(number)
  _, errors = process.communicate(timeout=20)
  assert (process.returncode, errors.count('\n')) == (128 + number, 1), errors
  assert errors.startswith('python -m benchmarks.growth: ended by ')
  assert list(tmp_path.iterdir()) == []
  assert not Path(f'/proc/{child}').exists()


def test_a_contender_that_ends_early_is_printed_and_left_out(capsys, monkeypatch):
  class Ending:
    def compute(self, seconds):
      raise BrokenPipeError('gone')

  @contextmanager
  def workers(contenders):
    yield {'ending': (Ending(), 1.0)}

  monkeypatch.setattr(alternate, 'workers', workers)
  assert alternate.measure({'ending': {}}, rounds=2, seconds=1.0) == {}
  output = capsys.readouterr().out
  assert output.count('ending') == output.count('gone') == 1


@pytest.mark.slow
def test_contenders_take_turns():
  contenders = {
    'one device': scaling.contender(devices=1, batch_size=8),
    'two devices': scaling.contender(devices=2, batch_size=8),
  }
  rows = alternate.measure(contenders, rounds=2, seconds=0.1)
  assert list(rows) == list(contenders)
  for row in rows.values():
    assert len(row['ms_of_rounds']) == 2
    assert row['images_per_second'] == pytest.approx(8e3 / row['ms_per_step'])
    assert row['peak_bytes'] > 1e8
    assert row['compile_seconds'] > 0


@pytest.mark.slow
def test_the_roofline_of_a_step(tmp_path):
  output = tmp_path / 'roofline.json'
  command = [sys.executable, '-m', 'benchmarks.roofline', '--quick', '--output', str(output)]
  subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
  (step,) = json.loads(output.read_text())['precisions']['float32']['steps'].values()
  # 33 million multiply-adds per image, with upsampling folded; three times with the gradient.
  assert step['flops'] == pytest.approx(3 * 2 * 33e6 * 128, rel=0.1)
  assert 0 < step['share_of_arithmetic'] < 1


def test_the_table_of_a_sweep_compares_each_strategy_with_turns():
  rows = {
    name: {'ms_per_step': ms, 'compile_seconds': 1.25}
    for name, ms in (('in turn', 2.0), ('side by side', 1.0), ('batched', 4.0))
  }
  assert sweep.table(rows, 4, 128).splitlines()[2:] == [
    '| in turn | 2 | 1.2 | 1.00 |',
    '| side by side | 1 | 1.2 | 2.00 |',
    '| batched | 4 | 1.2 | 0.50 |',
  ]


@pytest.mark.slow
def test_a_sweep_is_measured_by_every_strategy(tmp_path):
  command = [sys.executable, '-m', 'benchmarks.sweep', '--quick', '--runs', '2']
  subprocess.run([*command, '--output', str(tmp_path / 'sweep.json')], cwd=ROOT, check=True)
  content = json.loads((tmp_path / 'sweep.json').read_text())
  assert list(content['ways']) == ['in turn', 'side by side', 'batched']
  assert min(row['ms_per_step'] for row in content['ways'].values()) > 0


def test_exponents_are_those_of_a_power():
  sizes = [10, 100, 400]
  local, whole = growth.exponents(sizes, [3 * size**1.5 for size in sizes])
  assert [*local, whole] == pytest.approx([1.5] * 3)
  local, whole = growth.exponents(sizes, [5.0, 5.0, 20.0])
  assert local == pytest.approx([0, 1])
  assert 0 < whole < 1


def test_the_table_of_a_curve_has_exponents_between_its_rows():
  row = {'parameters': 1_200, 'compile_seconds': 2.5, 'peak_bytes': 5_000_000}
  rows = {10: row | {'step_seconds': 0.1}, 20: row | {'step_seconds': 0.4}}
  _, _, *lines = growth.table('batch_size', rows).splitlines()
  assert lines == [
    '| 10 | 1,200 | 100 |  | 2.5 | 5 |  |',
    '| 20 | 1,200 | 400 | 2.00 | 2.5 | 5 | 0.00 |',
    '| over the range |  |  | 2.00 |  |  | 0.00 |',
  ]


def test_images_of_the_curve_differ_and_are_read(tmp_path, monkeypatch):
  monkeypatch.setattr(made_images, 'BLOCK', 64)
  made_images.write(tmp_path, 150, growth.NUM_TEST)
  config = growth._config({'data.dir': str(tmp_path), 'data.validation_examples': 20})
  splits_ = splits.load(config)
  assert [len(split.labels) for split in splits_] == [130, 20, growth.NUM_TEST]
  images = np.concatenate([splits_.train.images, splits_.validation.images])
  assert len(np.unique(images.reshape(150, -1), axis=0)) == 150


def test_a_disk_that_is_too_full_gets_one_line(tmp_path):
  with pytest.raises(InputError, match=r'1,000,000,000,000 images need .* \$TMPDIR'):
    growth._check_space(tmp_path, 10**12)


@pytest.mark.slow
def test_every_curve_is_measured(tmp_path):
  output = tmp_path / 'growth.json'
  command = [sys.executable, '-m', 'benchmarks.growth', '--quick', '--output', str(output)]
  subprocess.run(command, cwd=ROOT, check=True, timeout=300)
  subprocess.run([*command, '--only', 'latent_dim'], cwd=ROOT, check=True, timeout=300)
  content = json.loads(output.read_text())
  assert set(content) == set(growth.CURVES)
  for name, curve in growth.CURVES.items():
    assert list(content[name]['points']) == [str(size) for size in curve.quick]
    for point in content[name]['points'].values():
      assert min(point[measure] for measure in curve.columns) > 0
