"""sample.py, run as a user does."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from cvae_jax.plots import grids


@pytest.fixture
def run(tiny_run, tmp_path):
  """A copy of the tiny run, where sample.py finds it."""
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
  line = 'Samples of 3, z ~ fitted prior: runs/tiny/samples/3-seed0-fitted_prior.png'
  assert done.stdout.splitlines()[1] == line
  expected = cvae_jax.load(run).sample(np.full(64, 3))
  shown = picture(run / 'samples' / '3-seed0-fitted_prior.png')
  np.testing.assert_allclose(shown, grids.grid(expected, 8), atol=1)


def test_the_environment_of_jax_does_not_change_a_picture(command, tmp_path):
  arguments = ('sample.py', '--workdir=mnist', '--num_images=2', '--output=a.npz')
  done = command(
    *arguments,
    JAX_ENABLE_X64='1',
    JAX_DEFAULT_PRNG_IMPL='rbg',
    JAX_THREEFRY_PARTITIONABLE='0',
    JAX_RANDOM_SEED_OFFSET='3',
  )
  assert done.returncode == 0, done.stderr
  shown = np.load(tmp_path / 'a.npz')
  expected = cvae_jax.load('mnist').sample(np.repeat(np.arange(10), 2))
  np.testing.assert_allclose(shown['images'].reshape(expected.shape), expected, atol=1e-5)


def test_a_platform_that_jax_lacks_gets_one_line(refused):
  for platforms in ('cuda', 'abacus'):
    assert f"JAX_PLATFORMS='{platforms}'" in refused('sample.py', JAX_PLATFORMS=platforms)


def test_all_classes_have_a_row_each(forked_command, run, tmp_path):
  done = forked_command('sample.py', '--workdir', run, '--checkpoint', '2', '--output', 'all.npz')
  assert done.returncode == 0, done.stderr
  assert 'weights of step 2' in done.stdout
  assert 'Samples, z ~ N(0, I)' in done.stdout  # only the best and the last have a fitted prior
  model = cvae_jax.load(run, 2)
  saved = np.load(tmp_path / 'all.npz')
  np.testing.assert_array_equal(saved['labels'], np.repeat(np.arange(10), 10).reshape(10, 10))
  expected = model.sample(saved['labels'].ravel())
  np.testing.assert_allclose(saved['images'].reshape(expected.shape), expected, atol=1e-5)
  decoded = model.decode(saved['latents'].reshape(100, -1), saved['labels'].ravel())
  np.testing.assert_allclose(decoded, expected, atol=1e-5)
  assert saved['row_names'].tolist() == [str(digit) for digit in range(10)]
  assert forked_command('sample.py', '--workdir', run).returncode == 0
  assert (run / 'samples' / 'all-seed0-fitted_prior.png').is_file()


def test_a_checkpoint_as_workdir_writes_beside_it(forked_command, run):
  done = forked_command('sample.py', '--digit', '3', '--workdir', 'runs/tiny/checkpoints/4')
  assert done.returncode == 0, done.stderr
  assert (run / 'samples' / '3-seed0-model_prior-step4.png').is_file()


def test_every_option(forked_command, run, tmp_path):
  options = (
    '--label 7 --num_images 5 --seed 3 --temperature 0.5 --draw --checkpoint last --output x.png'
  )
  for _ in range(2):
    done = forked_command('sample.py', *options.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(': x.png\n')
  expected = cvae_jax.load(run, 'last').sample(np.full(5, 7), 0.5, 3, draw=True)
  np.testing.assert_array_equal(picture(tmp_path / 'x.png'), grids.grid(expected, 3))


@pytest.mark.parametrize(
  ('name', 'value'), [('JAX_ENABLE_X64', 'maybe'), ('JAX_DEFAULT_MATMUL_PRECISION', 'ultra')]
)
def test_a_variable_that_jax_refuses_is_named(refused, name, value):
  line = refused('sample.py', '--digit', 3, **{name: value})
  assert name.lower() in line.lower()
  assert value in line


@pytest.mark.parametrize(
  ('arguments', 'named'),
  [
    # Found in the flags alone, before JAX is imported.
    (['--digit', '3', '--label', '3'], ['--label', '--digit']),
    (['--num_images', '0'], ['num_images=0']),
    (['--num_images', '10000000'], ['num_images=10000000']),
    (['--temperature', '-1'], ['temperature=-1']),
    (['--seed', '-1'], ['seed=-1']),
    (['--mode', 'interpolated'], ['mode=interpolated']),
    (['--images'], ['--images']),
    # Found by `sampling` and `loading`.
    (['--digit', '12'], ["'12'", '0, 1, 2']),
    (['--checkpoint', '99'], ["checkpoint '99'"]),
    (['--workdir', 'x' * 300], ['xxx', 'File name too long']),
    (['--mode', 'posterior', '--images', 'none.png'], ['none.png']),
    (['--output', '/proc/nothing/x.png'], ['/proc/nothing/x.png', '--output']),
  ],
)
def test_mistakes_get_one_line(refused, run, arguments, named):
  message = refused('sample.py', *arguments)
  assert all(text in message for text in named), message


@pytest.mark.parametrize('damage', [lambda b: b[:0], lambda b: b[:20] + b'?' * 100 + b[120:]])
def test_a_damaged_checkpoint_gets_one_line(refused, run, damage):
  for path in (run / 'checkpoints' / '6').rglob('*'):
    if path.is_file():
      path.write_bytes(damage(path.read_bytes()))
  assert 'checkpoints/6' in refused('sample.py', '--checkpoint', 'last')


def test_without_a_run_the_shipped_weights_are_used(forked_command, tmp_path):
  done = forked_command('sample.py', '--digit', '3')
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('No trained run under runs/')
  assert done.stdout.splitlines()[1].startswith('shipped/mnist, weights of step ')
  expected = cvae_jax.load('mnist').sample(np.full(64, 3))
  shown = picture(tmp_path / 'shipped' / 'mnist' / 'samples' / '3-seed0-fitted_prior.png')
  np.testing.assert_allclose(shown, grids.grid(expected, 8), atol=1)


@pytest.fixture
def pictures(tmp_path):
  """Three files of 8×8 digits; one is larger and in colour."""
  from sklearn import datasets

  folder = tmp_path / 'pictures'
  folder.mkdir()
  for row in range(3):
    image = Image.fromarray(np.uint8(datasets.load_digits().images[row] * 15.9))
    if row == 2:
      image = image.resize((40, 40)).convert('RGB')
    image.save(folder / f'{row}.png')
  return sorted(folder.iterdir())


def test_own_pictures_with_and_without_classes(forked_command, run, tmp_path, pictures):
  flags = ('--mode', 'reconstruct', '--format', 'npz', '--images')
  done = forked_command('sample.py', *flags, *pictures)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('taken for') == 3
  (saved,) = (run / 'samples').glob('*.npz')
  content = np.load(saved)
  given = [picture(path)[..., 0] / 255 for path in pictures[:2]]
  np.testing.assert_allclose(content['images'][0, :2, ..., 0], given, atol=1e-6)
  # With classes, and as a folder.
  done = forked_command('sample.py', *flags, pictures[0].parent, '--label=0,1,2', '--output=y.npz')
  assert done.returncode == 0, done.stderr
  assert 'taken for' not in done.stdout
  model = cvae_jax.load(run)
  images = np.load(tmp_path / 'y.npz')['images']
  np.testing.assert_allclose(images[1], model.reconstruct(images[0], np.arange(3)), atol=1e-5)


def test_a_workdir_with_no_checkpoint(refused, run):
  shutil.rmtree(run / 'checkpoints')
  message = refused('sample.py', '--workdir', run)
  assert str(run) in message
  assert 'checkpoint' in message
