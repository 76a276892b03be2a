"""sample.py and evaluate.py --predict with a model of columns of conditions."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import cvae_jax


@pytest.fixture
def run(measured_run, tmp_path):
  """A copy of the run, where the commands find it."""
  workdir = tmp_path / 'runs' / 'measured'
  shutil.copytree(measured_run, workdir)
  return workdir


@pytest.fixture
def pictures(tmp_path):
  """Two digits; one is in a folder of its class."""
  for row, name in enumerate(('a.png', '1/b.png')):
    path = tmp_path / 'pictures' / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.uint8(datasets.load_digits().images[row] * 15.9)).save(path)
  return tmp_path / 'pictures'


def test_samples_of_conditions_by_name(forked_command, run, tmp_path):
  done = forked_command(
    'sample.py', '--condition', 'digit=3,slant=0.2', '--num_images=4', '--output=a.npz'
  )
  assert done.returncode == 0, done.stderr
  assert 'digit 3, slant 0.2' in done.stdout
  saved = np.load(tmp_path / 'a.npz')
  np.testing.assert_allclose(saved['condition_slant'], 0.2, atol=1e-6)
  assert saved['labels'].tolist() == [3] * 4
  given = {'digit': '3', 'slant': 0.2, 'thickness': saved['condition_thickness']}
  model = cvae_jax.load(run)
  np.testing.assert_allclose(saved['images'], model.sample(conditions=given), atol=1e-5)
  # The rows that are drawn are those of Python.
  drawn = model.conditions(conditions={'digit': '3', 'slant': 0.2}, count=4)
  thickness = model.columns[2].mean + model.columns[2].std * drawn.values[:, 2]
  np.testing.assert_allclose(saved['condition_thickness'], thickness, atol=1e-5)


def test_sweeps_move(forked_command, run):
  ranges = 'digit=all,slant=-0.2:0.4:3,thickness=1.5'
  for suffix in ('png', 'gif'):
    done = forked_command(
      'sample.py', '--mode=sweep', '--condition', ranges, '--format', suffix, '--seed=1'
    )
    assert done.returncode == 0, done.stderr
    (path,) = (run / 'samples').glob(f'sweep-*.{suffix}')
    with Image.open(path) as image:
      assert getattr(image, 'n_frames', 1) == (4 if suffix == 'gif' else 1)
  assert 'digit_all' in path.name


def test_an_edit_of_pictures(forked_command, run, pictures, tmp_path):
  flags = ('--mode=edit', '--condition=digit=7', '--output=a.npz', '--images')
  done = forked_command('sample.py', *flags, pictures)
  assert done.returncode == 0, done.stderr
  lines = [line for line in done.stdout.splitlines() if '.png: ' in line]
  assert 'b.png: 1, from its folder 1, slant ' in lines[0]
  assert 'a.png: taken for ' in lines[1]
  saved = np.load(tmp_path / 'a.npz')
  assert saved['labels'][:, 2].tolist() == [7, 7]
  assert saved['labels'][0].tolist() == [1, 1, 7]
  assert saved['column_names'].tolist() == ['image', 'recon.', 'digit 7']
  model = cvae_jax.load(run)
  images = saved['images'][:, 0]
  own = {name: saved[f'condition_{name}'][:, 0] for name in ('digit', 'slant', 'thickness')}
  mean, _ = model.encode(images, conditions=own)
  np.testing.assert_allclose(
    saved['images'][:, 2], model.decode(mean, conditions=own | {'digit': 7}), atol=1e-5
  )
  measured = model.conditions(own['digit'], images=images).values[:, 1:]
  found = np.stack([own['slant'], own['thickness']], axis=1)
  scale = [(column.mean, column.std) for column in model.columns[1:]]
  mean, std = np.array(scale).T
  np.testing.assert_allclose(mean + std * measured, found, atol=1e-4)


def test_an_edit_of_the_run_s_images(forked_command, run, tmp_path):
  done = forked_command(
    'sample.py', '--mode=edit', '--condition=slant=0:0.3:3', '--indices=0,4', '--output=a.gif'
  )
  assert done.returncode == 0, done.stderr
  with Image.open(tmp_path / 'a.gif') as animation:
    assert animation.n_frames == 8  # five there, three back


@pytest.mark.parametrize(
  ('arguments', 'named'),
  [
    (['--condition=slent=1'], ["'slent'", "'slant'"]),
    (['--condition=digit=x'], ["'x'", 'digit']),
    (['--condition=slant=left'], ["slant='left'"]),
    (['--condition=slant=0:1:3'], ['range', 'sweep']),
    (['--condition=digit=3', '--label=3'], ['--label', '--condition']),
    (['--condition='], ['--condition']),
    (['--mode=sweep', '--condition=slant=0:1'], ['slant=0:1', 'steps']),
    (['--mode=sweep', '--condition=digit=3'], ['0 ranges']),
    (['--mode=edit', '--condition=digit=3'], ['--mode=edit', '--images']),
    (['--mode=edit', '--indices=0'], ['--condition']),
    (['--mode=edit', '--images=none.png', '--condition=digit=3'], ['none.png']),
    (['--mode=style', '--condition=digit=3'], ['--condition', '--mode=style']),
  ],
)
def test_mistakes_get_one_line(refused, run, arguments, named):
  message = refused('sample.py', *arguments)
  assert all(text in message for text in named), message


def test_a_warning_far_outside_of_the_trained_range(forked_command, run, tmp_path):
  done = forked_command(
    'sample.py', '--condition=digit=3,slant=9', '--num_images=1', '--output=a.npz'
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('Warning: slant=9 ') == 1


def test_predictions_have_every_column(forked_command, run, pictures):
  done = forked_command('evaluate.py', '--predict', pictures)
  assert done.returncode == 0, done.stderr
  (table,) = (run / 'predictions').glob('*.csv')
  with open(table, newline='', encoding='utf-8') as file:
    rows = {row['file']: row for row in csv.DictReader(file)}
  assert rows['1/b.png']['class'] == '1'
  assert rows['1/b.png']['class_from'] == 'folder'
  assert rows['a.png']['class_from'] == 'model'
  saved = np.load(table.with_suffix('.npz'))
  for row, name in enumerate(saved['files']):
    assert float(rows[name]['slant'].split()[0]) == pytest.approx(
      saved['condition_slant'][row], abs=1e-3
    )
  model = cvae_jax.load(run)
  given = {name: saved[f'condition_{name}'] for name in ('slant', 'thickness')}
  given['digit'] = [str(label) for label in saved['labels']]
  np.testing.assert_allclose(
    saved['reconstructions'], model.decode(saved['mean'], conditions=given), atol=1e-5
  )
