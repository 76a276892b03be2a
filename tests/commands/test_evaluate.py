"""evaluate.py, run as a user does."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import cvae_jax
from cvae_jax.inference import bounds as bounds_lib
from cvae_jax.inference import shipped
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop
from tiny import DENSE, tiny_config
from tools import ship_weights

QUICK = ('--iwae_samples', '3')
SHORTENED = """
import os, runpy, sys
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
from cvae_jax.evaluation import classifier
classifier.MIN_STEPS = 30
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def evaluated(tiny_run, tmp_path_factory):
  """A tiny run, and the output of evaluate.py for its test split."""
  import os
  import subprocess
  import sys

  from conftest import ROOT

  folder = tmp_path_factory.mktemp('evaluated')
  run = folder / 'runs' / 'tiny'
  shutil.copytree(tiny_run, run)
  done = subprocess.run(
    # The command, with classifiers trained for 30 steps instead of 1,000.
    [sys.executable, '-c', SHORTENED, str(ROOT / 'evaluate.py'), *QUICK],
    cwd=folder,
    # Without a cached classifier: one is trained.
    env=os.environ | {'XDG_CACHE_HOME': str(folder / 'cache')},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  assert 'training a reference classifier for digits, once' in done.stdout
  return run, done.stdout


@pytest.mark.slow
def test_table_json_csv_and_report_agree(evaluated):
  run, output = evaluated
  folder = run / 'evaluation'
  content = json.loads((folder / 'test-iwae3.json').read_text())
  with open(folder / 'test-iwae3.csv', newline='') as file:
    listed = {(row['group'], row['metric']): row for row in csv.DictReader(file)}
  page = (folder / 'test-iwae3.html').read_text()
  for group, metrics in content['metrics'].items():
    for name, metric in metrics.items():
      row = listed[group, name]
      assert row['value'] == ('' if metric['value'] is None else repr(metric['value']))
      assert f'<td>{name}</td>' in page
      assert f'  {name} ' in output
      if metric['value'] is not None:
        assert metric['protocol'] in output
        if metric['low'] is not None:
          assert metric['low'] <= metric['value'] <= metric['high']
  groups = content['metrics']
  both = {'generation, z ~ fitted prior', 'generation, z ~ N(0, I)'}
  others = {'likelihood', 'reconstruction', 'latent', 'generation', 'as a classifier'}
  assert set(groups) == both | others
  assert 'z ~ fitted prior' in groups['generation, z ~ fitted prior']['coverage']['protocol']
  assert 'p(z | c) is its N(0, I)' in groups['likelihood']['iwae']['protocol']
  assert groups['likelihood']['iwae']['value'] < groups['likelihood']['negative_elbo']['value'] + 1
  assert 'K = 3, 300 images' in groups['likelihood']['iwae']['protocol']
  assert groups['reconstruction']['lpips']['value'] is None
  assert '--lpips=download' in groups['reconstruction']['lpips']['protocol']
  assert len(content['arrays']['kl_per_dimension']) == 3
  assert np.shape(content['arrays']['aggregate_covariance']) == (3, 3)


@pytest.mark.slow
def test_a_run_that_was_evaluated_can_ship(evaluated, tmp_path, monkeypatch):
  run, _ = evaluated
  monkeypatch.setattr(shipped, 'FOLDER', tmp_path / 'shipped')
  with pytest.raises(InputError, match=r'no evaluation/test\.json'):  # of 5,000 samples
    ship_weights.ship(run, 'a test machine')
  folder = ship_weights.ship(run, 'a test machine', 'test-iwae3')
  assert folder == tmp_path / 'shipped' / 'tiny'
  card = (folder / 'README.md').read_text(encoding='utf-8')
  assert '`python evaluate.py --workdir tiny --iwae_samples 3`, test split' in card
  assert 'Trained with z ~ N(0, I); fitted afterwards, in `prior.safetensors`: ' in card
  assert re.search(r'safetensors`: \d.* Gaussians? per class\.', card)
  assert 'samples, z ~ N(0, I), decoder means' in card
  monkeypatch.chdir(tmp_path)
  copy, model = cvae_jax.load('tiny'), cvae_jax.load(run)
  np.testing.assert_array_equal(copy.sample([3, 4]), model.sample([3, 4]))


@pytest.mark.slow
def test_chosen_groups_leave_the_whole_evaluation(evaluated, command):
  run, _ = evaluated
  whole = (run / 'evaluation' / 'test-iwae3.json').read_text()
  done = command('evaluate.py', '--workdir', run, '--metrics', 'reconstruction,likelihood')
  assert done.returncode == 0, done.stderr
  content = json.loads(
    (run / 'evaluation' / 'test-only-likelihood-reconstruction.json').read_text()
  )
  assert list(content['metrics']) == ['likelihood', 'reconstruction']
  assert 'iwae' not in content['metrics']['likelihood']
  both = (json.loads(whole)['metrics']['likelihood'], content['metrics']['likelihood'])
  assert both[0]['negative_elbo'] == both[1]['negative_elbo']
  assert (run / 'evaluation' / 'test-iwae3.json').read_text() == whole


@pytest.mark.slow
def test_the_report_is_one_file(evaluated):
  run, _ = evaluated
  page = (run / 'evaluation' / 'test-iwae3.html').read_text()
  sources = re.findall(r'(?:src|href)="(.*?)"', page)
  assert len(sources) == len(list((run / 'evaluation' / 'test-iwae3').glob('*.png'))) == 13
  assert all(source.startswith('data:image/png;base64,') for source in sources)
  assert 'http' not in page


@pytest.mark.slow
def test_few_images_of_a_conditional_model_in_colour(command, tmp_path):
  """Two training images per class and one test image: some metrics cannot be measured."""
  for split, count in (('train', 6), ('validation', 1), ('test', 1)):
    for name in ('$cat$', '_dog'):
      (tmp_path / 'set' / split / name).mkdir(parents=True)
      for number in range(count):
        colour = np.full((20, 16, 3), [20 * number, 90, 200], np.uint8)
        Image.fromarray(colour).save(tmp_path / 'set' / split / name / f'{number}.png')
  config = tiny_config(
    data__name='folder',
    data__dir=str(tmp_path / 'set'),
    data__num_classes=2,
    data__channels=3,
    data__image_size=16,
    data__max_examples=0,
    likelihood='discretized_logistic',
    latent_dim=1,
    batch_size=4,
    num_epochs=1,
    **DENSE,
  )
  loop.train(config, tmp_path / 'runs' / 'pets')
  cache = {'XDG_CACHE_HOME': str(tmp_path / 'cache')}
  done = command('evaluate.py', '--split', 'train', *QUICK, **cache)
  assert done.returncode == 0, done.stderr
  metrics = json.loads((tmp_path / 'runs' / 'pets' / 'evaluation' / 'train-iwae3.json').read_text())
  metrics = metrics['metrics']
  assert metrics['likelihood']['bits_per_dim']['value'] > 0
  assert 'probabilities of 256 levels' in metrics['likelihood']['iwae']['protocol']
  # The pictures of both classes are the same: no classifier can tell them apart.
  reason = metrics['generation']['frechet_distance_of_real_images']['protocol']
  assert 'always naming the most frequent class (50.0%)' in reason
  done = command('evaluate.py', '--max_examples', '2', *QUICK, **cache)
  assert done.returncode == 0, done.stderr
  assert 'training a reference classifier' not in done.stdout  # cached by the run above
  text = (tmp_path / 'runs' / 'pets' / 'evaluation' / 'test-iwae3.json').read_text()
  drawn = json.loads(text)['metrics']['generation, z ~ fitted prior']
  assert {metric['value'] for metric in drawn.values()} == {None}
  assert 'NaN' not in text


@pytest.mark.slow
def test_an_unconditional_model_and_few_images(command, tmp_path):
  run = tmp_path / 'runs' / 'free'
  config = tiny_config(
    conditional=False, data__binarize='dynamic', num_epochs=1, prior='flow', **DENSE
  )
  loop.train(config, run)
  cache = tmp_path / 'cache'
  done = command('evaluate.py', '--max_examples', '20', *QUICK, XDG_CACHE_HOME=str(cache))
  assert done.returncode == 0, done.stderr
  metrics = json.loads((run / 'evaluation' / 'test-first20-iwae3.json').read_text())['metrics']
  assert metrics['as a classifier']['accuracy']['value'] is None
  for prior in ('fitted prior', 'flow prior'):
    drawn = metrics[f'generation, z ~ {prior}']
    assert 'unconditional' in drawn['conditional_accuracy']['protocol']
    assert drawn['coverage']['value'] >= 0
    assert '20 real images and 20 samples' in drawn['frechet_distance']['protocol']
  assert 0 < metrics['generation']['coverage_of_real_images']['value'] <= 1
  elbo = metrics['likelihood']['negative_elbo']
  assert '20 images, dynamically binarized, one draw' in elbo['protocol']
  bits = metrics['likelihood']['bits_per_dim']['value']
  assert bits == pytest.approx(elbo['value'] / 64 / np.log(2))


@pytest.fixture
def pictures(tmp_path):
  folder = tmp_path / 'own pictures'
  (folder / '3').mkdir(parents=True)
  for name, row in (('ä b.png', 0), ('c.png', 1), ('3/d.png', 3)):
    Image.fromarray(np.uint8(datasets.load_digits().images[row] * 15.9)).save(folder / name)
  (folder / 'notes.txt').write_text('no picture')
  return folder


@pytest.mark.slow
@pytest.mark.parametrize('binarize', ['none', 'dynamic'])
def test_predict(command, tmp_path, pictures, binarize):
  run = tmp_path / 'runs' / 'tiny'
  loop.train(tiny_config(data__binarize=binarize, num_epochs=1, **DENSE), run)
  (pictures / 'broken.png').write_text('no picture either')
  done = command('evaluate.py', '--predict', pictures)
  assert done.returncode == 0, done.stderr
  assert '1 of 4 pictures cannot be read and are left out' in done.stdout
  (table,) = (run / 'predictions').glob('own pictures-*.csv')
  with open(table, newline='', encoding='utf-8') as file:
    listed = list(csv.DictReader(file))
  arrays = np.load(table.with_suffix('.npz'))
  assert [row['file'] for row in listed] == ['3/d.png', 'c.png', 'ä b.png']
  assert arrays['files'].tolist() == ['3/d.png', 'c.png', 'ä b.png']
  assert (listed[0]['class'], listed[0]['class_from']) == ('3', 'folder')
  assert listed[1]['class_from'] == 'model'
  model = cvae_jax.load(run)
  images = np.stack(
    [np.asarray(Image.open(pictures / row['file']))[..., None] / np.float32(255) for row in listed]
  )
  mean, logvar = model.encode(images, arrays['labels'])
  np.testing.assert_allclose(arrays['mean'], mean, atol=1e-5)
  np.testing.assert_allclose(arrays['logvar'], logvar, atol=1e-5)
  np.testing.assert_allclose(
    arrays['reconstructions'], model.reconstruct(images, arrays['labels']), atol=1e-5
  )
  for row, latent, elbo in zip(listed, arrays['mean'], arrays['negative_elbo'], strict=True):
    assert [float(row[f'z{d}']) for d in range(3)] == pytest.approx(latent.tolist())
    assert float(row['negative_elbo']) == pytest.approx(float(elbo))


def test_predict_against_another_folder(command, tmp_path, pictures, tiny_run):
  shutil.copytree(tiny_run, tmp_path / 'runs' / 'tiny')
  (tmp_path / 'noise').mkdir()
  for name in ('a', 'b'):
    noise = np.random.RandomState(ord(name)).randint(0, 256, (8, 8), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'noise' / f'{name}.png')
  done = command('evaluate.py', '--predict', pictures, '--against', 'noise')
  assert done.returncode == 0, done.stderr
  bounds, quantiles = {}, {}
  for name in ('own pictures', 'noise'):
    (table,) = (tmp_path / 'runs' / 'tiny' / 'predictions').glob(f'{name}-*.csv')
    with open(table, newline='', encoding='utf-8') as file:
      listed = list(csv.DictReader(file))
    bounds[name] = [float(row['negative_elbo']) for row in listed]
    quantiles[name] = [float(row['quantile']) for row in listed]
  # Every pair of a digit and noise, counted by hand.
  pairs = [b > a for a in bounds['own pictures'] for b in bounds['noise']]
  assert f'AUROC of −ELBO, noise against {pictures}: {np.mean(pairs):.4f}' in done.stdout
  model = cvae_jax.load(tmp_path / 'runs' / 'tiny')
  test = model.data().test
  terms = bounds_lib.elbo(
    model.task, model.variables, test.images, test.labels, keys.stream(0, 'prediction')
  )
  for name, found in quantiles.items():
    expected = [np.mean(terms.negative_elbo <= bound) for bound in bounds[name]]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
  ('arguments', 'named'),
  [
    (['--against', 'empty'], ['--against', '--predict']),
    (['--predict', 'empty', '--against', 'empty'], ['empty']),
    (['--predict', 'empty', '--data_dir', 'x'], ['--data_dir', '--against']),
    (['--iwae_samples', '0'], ['iwae_samples=0']),
    (['--workdir', 'nowhere'], ['nowhere']),
    (['--split', 'tset'], ['split=tset']),
    (['--checkpoint', '99'], ["checkpoint '99'"]),
    (['--predict', 'missing'], ['missing']),
    (['--predict', 'empty'], ['empty']),
    (['--projection', 'pac'], ['projection=pac']),
    (['--predict', 'empty', '--split', 'train'], ['--split', '--predict']),
    (['--scatter', '--predict', 'empty'], ['--scatter', '--predict']),
    (['--lpips', 'missing'], ['missing', 'alexnet']),
    (['--max_examples', '0'], ['max_examples=0']),
    (['--metrics', 'likelihood,recon'], ["metrics='recon'", 'reconstruction']),
    (['--scatter', '--metrics', 'latent'], ['--metrics', '--scatter']),
  ],
)
def test_mistakes_get_one_line(refused, tiny_run, tmp_path, arguments, named):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'tiny').symlink_to(tiny_run)
  message = refused('evaluate.py', *arguments)
  assert all(text in message for text in named), message
