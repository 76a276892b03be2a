"""sample.py as a user runs it."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from cvae_jax import grids


@pytest.fixture
def run(tiny_run, tmp_path):
  """A copy of the tiny run where sample.py looks for one."""
  workdir = tmp_path / 'runs' / 'tiny'
  shutil.copytree(tiny_run, workdir)
  return workdir


def picture(path):
  with Image.open(path) as image:
    return np.asarray(image)[..., None]


def test_a_digit_of_the_newest_run(command, run, tmp_path):
  older = tmp_path / 'runs' / 'older'
  shutil.copytree(run, older)
  for checkpoint in (older / 'checkpoints').iterdir():
    os.utime(checkpoint, (0, 0))
  done = command('sample.py', '--digit', '3')
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  assert done.stdout.splitlines()[0] == 'runs/tiny, weights of step 6'
  assert done.stdout.splitlines()[1] == '64 images: runs/tiny/samples/3-seed0.png'
  expected = cvae_jax.load(run).sample(np.full(64, 3))
  shown = picture(run / 'samples' / '3-seed0.png')
  np.testing.assert_allclose(shown, grids.grid(expected, 8), atol=1)


def test_a_grid_of_all_classes(command, run, tmp_path):
  done = command('sample.py', '--workdir', run, '--checkpoint', '2', '--output', 'all.png')
  assert done.returncode == 0, done.stderr
  assert 'weights of step 2' in done.stdout
  labels = np.repeat(np.arange(10), 10)
  expected = grids.grid(cvae_jax.load(run, 2).sample(labels), 10)
  np.testing.assert_allclose(picture(tmp_path / 'all.png'), expected, atol=1)


def test_a_checkpoint_as_workdir_writes_beside_it(command, run):
  done = command('sample.py', '--digit', '3', '--workdir', 'runs/tiny/checkpoints/4')
  assert done.returncode == 0, done.stderr
  assert (run / 'samples' / '3-seed0.png').is_file()


def test_every_option(command, run, tmp_path):
  options = (
    '--label 7 --num_images 5 --seed 3 --temperature 0.5 --draw --checkpoint last --output x.png'
  )
  for _ in range(2):
    done = command('sample.py', *options.split())
    assert done.returncode == 0, done.stderr
    assert '5 images: x.png' in done.stdout
  expected = cvae_jax.load(run, 'last').sample(np.full(5, 7), 0.5, 3, draw=True)
  np.testing.assert_array_equal(picture(tmp_path / 'x.png'), grids.grid(expected, 3))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--digit', '12'], "'12' is no class of this model, which has 0, 1, 2"),
    (['--digit', 'three'], "'three' is no class of this model"),
    (['--digit', '3', '--label', '3'], 'give one of them'),
    (['--checkpoint', '99'], "checkpoint '99' is not in"),
    (['--num_images', '0'], 'num_images=0'),
    (['--num_images', '10000000'], 'num_images=10000000'),
    (['--checkpoint', '²'], 'is not in'),
    (['--workdir', 'x' * 300], 'cannot be a path: File name too long'),
    (['--workdir', '~nobody_here/x'], 'cannot be a path'),
    (['--temperature', '-1'], 'temperature=-1: -1.0 is not a non-negative number'),
    (['--temperature', 'nan'], 'temperature=nan is not a number'),
    (['--seed', '-1'], 'seed=-1: -1 is not an integer in the range'),
    (['--workdir', 'nowhere'], 'neither a run folder nor a checkpoint'),
    (['--output', 'runs'], 'Cannot write runs'),
    (['--output', '/proc/nothing/x.png'], 'Cannot write /proc/nothing/x.png'),
  ],
)
def test_mistakes_get_one_line(refused, run, arguments, message):
  assert message in refused('sample.py', *arguments)


@pytest.mark.parametrize('damage', [lambda b: b[:0], lambda b: b[:20] + b'?' * 100 + b[120:]])
def test_a_damaged_checkpoint_gets_one_line(refused, run, damage):
  for path in (run / 'checkpoints' / '6').rglob('*'):
    if path.is_file():
      path.write_bytes(damage(path.read_bytes()))
  said = refused('sample.py', '--checkpoint', 'last')
  assert 'checkpoints/6 cannot be read: it is damaged' in said


def test_no_run_yet(refused):
  assert 'No trained run under runs/' in refused('sample.py', '--digit', '3')


def test_a_workdir_with_no_checkpoint(refused, run):
  shutil.rmtree(run / 'checkpoints')
  assert 'has no checkpoint' in refused('sample.py', '--workdir', run)
  assert 'No trained run' in refused('sample.py')
