"""Images that are not square and have four channels, through all of the commands."""

import json

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from cvae_jax.evaluation import perceptual
from cvae_jax.plots import grids
from made_data import save_picture

SIZE, CHANNELS, SHOWN = (64, 48), 4, (3, 1, 0)
FLAGS = (
  '--config.data.name=arrays',
  '--config.data.image_size=64,48',
  '--config.data.channels=4',
  '--config.data.shown_channels=3,1,0',
  '--config.data.augment.rotation=10',
  '--config.data.augment.shift=2',
  '--config.data.augment.brightness=0.2',
  '--config.data.validation_examples=0',
  '--config.data.num_classes=0',
  '--config.likelihood=discretized_logistic',
  '--config.model.name=conv',
  '--config.model.channels=8,16',
  '--config.model.hidden_dim=16',
  '--config.latent_dim=3',
  '--config.batch_size=32',
  '--config.num_epochs=2',
)
MODES = (
  '--label=bee',
  '--draw --num_images=2',
  '--mode=posterior --indices=0,1 --num_draws=3',
  '--mode=posterior --images mine/bee/0.png mine/1.png',
  '--mode=reconstruct --indices=0,1,2',
  '--mode=interpolate --label=ant,bee --num_images=2 --format=gif',
  '--mode=interpolate --indices=0,1 --interpolation=spherical',
  '--mode=traverse --label=ant',
  '--mode=traverse --indices=0',
  '--mode=arithmetic --label=ant,bee,cat',
  '--mode=arithmetic --indices=0,1,2',
  '--mode=manifold --label=cat',
  '--mode=style --num_images=2',
  '--mode=style --indices=0,1',
  '--num_images=2 --format=npz',
)


def made_images():
  """Bright squares, in one of the channels by their class, and their names."""
  rng, labels = np.random.RandomState(0), np.arange(240) % 3
  images = rng.randint(0, 60, (240, *SIZE, CHANNELS), np.uint8)
  for image, label in zip(images, labels, strict=True):
    top, left = rng.randint(0, 40), rng.randint(0, 24)
    image[top : top + 24, left : left + 24, label] = 230
  return images, np.array(['ant', 'bee', 'cat'])[labels]


def pixels(path):
  with Image.open(path) as picture:
    assert picture.mode == 'RGB'
    return np.asarray(picture)


@pytest.mark.slow
def test_every_command_takes_rectangles_of_four_channels(forked_command, tmp_path, monkeypatch):
  lpips_files = pytest.importorskip('lpips_files', reason='PyTorch is not installed')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.chdir(tmp_path)
  images, names = made_images()
  np.savez('data.npz', images=images, labels=names)
  save_picture(tmp_path / 'mine' / 'bee' / '0.png', images[1, :, ::-1])
  save_picture(tmp_path / 'mine' / '1.png', images[2, ..., :3])

  def done(script, *arguments):
    process = forked_command(script, *arguments, timeout=600)
    assert (process.returncode, process.stderr) == (0, ''), process.stderr
    return process.stdout

  done('train.py', '--config=configs/default.py', *FLAGS, '--config.data.dir=data.npz')
  run = tmp_path / 'runs' / 'default'
  model = cvae_jax.load(run)
  assert model.image_shape == (*SIZE, CHANNELS)
  data = model.data()

  rows = len(data.validation.labels)
  sprite = pixels(run / 'projector' / 'sprite.png')
  tiles = sprite.reshape(-1, 64, sprite.shape[1] // 48, 48, 3).swapaxes(1, 2)
  tiles = tiles.reshape(-1, 64, 48, 3)
  np.testing.assert_array_equal(tiles[:rows], data.validation.images[..., SHOWN])
  assert pixels(run / 'samples' / 'step_12.png').any()

  for number, mode in enumerate(MODES):
    suffix = next((name for name in ('gif', 'npz') if name in mode), 'png')
    done('sample.py', *mode.split(), f'--output={number}.{suffix}')
  drawn = grids.grid(model.sample(np.full(64, 1))[..., SHOWN], 8)
  np.testing.assert_allclose(pixels('0.png'), drawn, atol=1)
  with np.load('14.npz') as arrays:
    assert arrays['images'].shape == (3, 2, *SIZE, CHANNELS)
  with Image.open('5.gif') as animation:
    assert animation.n_frames == 20

  save = lpips_files.save(tmp_path / 'lpips')
  (tmp_path / 'quick.py').write_text(
    'from cvae_jax.evaluation import classifier\nclassifier.MIN_STEPS = 30\n'
  )
  flags = ('--import=quick.py', '--iwae_samples=3', '--lpips=lpips')
  output = done('evaluate.py', *flags)
  assert 'left out' not in output
  content = json.loads((run / 'evaluation' / 'test-iwae3.json').read_text())
  metrics = {
    name: metric for group in content['metrics'].values() for name, metric in group.items()
  }
  values = {name for name, metric in metrics.items() if metric['value'] is not None}
  expected = {'iwae', 'bits_per_dim', 'mse', 'psnr', 'ssim', 'active_units', 'accuracy'}
  assert expected <= values
  assert 'channels 3, 1, 0 of 4 as RGB' in metrics['lpips']['protocol']
  inputs = data.test.images.astype(np.float32) / 255
  pair = inputs, model.reconstruct(inputs, data.test.labels)
  np.testing.assert_allclose(metrics['mse']['value'], np.mean((pair[0] - pair[1]) ** 2), rtol=1e-4)
  distances = perceptual.lpips(perceptual.load(save), *(array[..., SHOWN] for array in pair))
  np.testing.assert_allclose(metrics['lpips']['value'], distances.mean(), rtol=1e-3)
  pictures = {path.stem for path in (run / 'evaluation' / 'test-iwae3').glob('*.png')}
  assert {'reconstructions', 'samples', 'styles', 'interpolations', 'traversals'} <= pictures

  done('evaluate.py', '--predict=mine')
  done('evaluate.py', '--scatter')
  done(
    'evaluate.py', '--import=quick.py', '--compare', 'runs/default', 'runs/default/checkpoints/6'
  )
  (comparison,) = (tmp_path / 'runs' / 'comparisons').iterdir()
  assert (comparison / 'comparison.png').is_file()
