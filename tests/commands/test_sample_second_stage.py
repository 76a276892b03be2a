"""sample.py on a second stage: holes, variations by noise, paths between noises."""

import shutil

import numpy as np
import pytest
from PIL import Image

import cvae_jax


@pytest.fixture
def run(flow_run, tmp_path):
  """A copy of the tiny second stage, where sample.py finds it, and pictures beside it.

  Two test images, a mask of their size with a white square, a black one, and one that is larger.
  """
  workdir = tmp_path / 'runs' / 'flow'
  shutil.copytree(flow_run, workdir)
  images = cvae_jax.load(flow_run).data().test.images
  for name, row in (('a', 0), ('b', 1)):
    Image.fromarray(images[row, ..., 0]).save(tmp_path / f'{name}.png')
  square = np.zeros((8, 8), np.uint8)
  square[4:, 2:6] = 255
  for name, mask in (('m', square), ('black', 0 * square), ('large', np.zeros((12, 16), np.uint8))):
    Image.fromarray(mask).save(tmp_path / f'{name}.png')
  return workdir


def test_a_hole_is_filled(forked_command, run, tmp_path):
  flags = ['sample.py', '--mode=inpaint', '--images=a.png', '--images=b.png', '--mask=m.png']
  flags += ['--num_draws=3', '--seed=2']
  done = forked_command(*flags, '--output=x.npz')
  assert done.returncode == 0, done.stderr
  assert 'a.png: digit unknown' in done.stdout
  saved = np.load(tmp_path / 'x.npz')
  images = cvae_jax.load(run).data().test.images[:2].astype(np.float32) / 255
  hole = np.zeros((8, 8), bool)
  hole[4:, 2:6] = True
  assert saved['column_names'].tolist() == ['image', 'hole', '1', '2', '3']
  np.testing.assert_array_equal(saved['images'][:, 0], images)
  np.testing.assert_array_equal(saved['images'][:, 1:, ~hole], images[:, None, ~hole].repeat(4, 1))
  assert (saved['images'][:, 1, hole] == 0.5).all()
  wanted = cvae_jax.load(run).inpaint(images, hole, num_draws=3, seed=2)
  np.testing.assert_allclose(saved['images'][:, 2:], wanted, atol=1e-4)
  done = forked_command(*flags, '--label=3,4', '--guidance=2', '--steps=5')
  assert done.returncode == 0, done.stderr
  assert 'unknown' not in done.stdout
  (picture,) = (run / 'samples').glob('inpaint-3-4-a-b-*-mask-m-*-seed2-draws3-g2-steps5.png')
  with Image.open(picture) as drawn:
    assert drawn.width > 300


def test_images_of_the_dataset_have_their_class(forked_command, run, tmp_path):
  flags = '--mode=inpaint --indices=0,1 --mask=m.png --num_draws=2 --output=x.npz'
  done = forked_command('sample.py', *flags.split())
  assert done.returncode == 0, done.stderr
  data = cvae_jax.load(run).data().test
  images, mask = data.images[:2], np.asarray(Image.open(tmp_path / 'm.png'))
  wanted = cvae_jax.load(run).inpaint(images, mask, data.labels[:2], num_draws=2)
  np.testing.assert_allclose(np.load(tmp_path / 'x.npz')['images'][:, 2:], wanted, atol=1e-4)


def test_variations_by_noise(forked_command, run, tmp_path):
  flags = '--mode=vary --images=a.png --label=3 --num_draws=2 --noise=1 --seed=4 --output=x.npz'
  done = forked_command('sample.py', *flags.split())
  assert done.returncode == 0, done.stderr
  varied = np.load(tmp_path / 'x.npz')['images'][0, 1:]
  np.testing.assert_allclose(varied, cvae_jax.load(run).sample([3, 3], seed=4), atol=1e-4)
  done = forked_command('sample.py', '--mode=vary', '--images=a.png')
  assert done.returncode == 0, done.stderr
  assert 'Variations: noise 0.5, flow matching, 20 steps: ' in done.stdout


def test_a_path_through_noise(forked_command, run, tmp_path):
  flags = '--mode=interpolate --indices=0,1 --interpolation=spherical --output=x.npz'
  done = forked_command('sample.py', *flags.split())
  assert done.returncode == 0, done.stderr
  assert 'Interpolation in noise, spherical' in done.stdout
  data = cvae_jax.load(run).data().test
  ends = cvae_jax.load(run).reconstruct(data.images[:2], data.labels[:2])
  np.testing.assert_allclose(np.load(tmp_path / 'x.npz')['images'][0, [0, -1]], ends, atol=5e-3)


@pytest.mark.parametrize(
  ('flags', 'named'),
  [
    ('--mode=inpaint --images=a.png', ['--mask']),
    ('--mode=inpaint --mask=m.png', ['--images']),
    ('--mode=inpaint --images=a.png --mask=none.png', ['none.png']),
    ('--mode=inpaint --images=a.png --mask=black.png', ['mask', 'white']),
    ('--mode=inpaint --images=a.png --mask=large.png', ['large.png', '16×12', '8×8']),
    ('--mode=inpaint --images=a.png --mask=m.png --noise=0.5', ['--noise', 'vary']),
    ('--mode=inpaint --images=a.png --mask=m.png --format=gif', ['gif']),
    ('--mode=vary --images=a.png --noise=0', ['noise=0']),
    ('--mode=vary --images=a.png --noise=2', ['noise=2']),
    ('--mode=vary', ['--images']),
    ('--mask=m.png', ['--mask', 'inpaint']),
    ('--mode=vary --images=a.png --workdir=digits', ['second stage', 'latent_flow']),
    ('--mode=inpaint --images=a.png --mask=m.png --workdir=digits', ['second stage']),
  ],
)
def test_mistakes_get_one_line(refused, run, flags, named):
  message = refused('sample.py', *flags.split())
  assert all(text in message for text in named), message


def test_a_model_that_always_knew_the_class_asks_for_it(
  forked_command, refused, told_flow_run, run, tmp_path
):
  told = ('sample.py', '--workdir', shutil.copytree(told_flow_run, tmp_path / 'told'))
  told += ('--mode=inpaint', '--images=a.png', '--mask=m.png')
  message = refused(*told)
  assert all(text in message for text in ('label', '--label')), message
  done = forked_command(*told, '--label=3', '--num_draws=1', '--output=x.npz')
  assert done.returncode == 0, done.stderr
