import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy import special

import cvae_jax
import saved_models
from cvae_jax import exporting
from cvae_jax.exporting.page import facts, html, payload
from cvae_jax.runtime.errors import InputError


def test_a_page_of_test_images(tiny_run, tmp_path, capsys):
  model = cvae_jax.load(tiny_run)
  output = exporting.write(model, 'html', tmp_path / 'page.html')
  page = output.read_text('utf-8')
  assert f'{output.stat().st_size / 1e6:.2f} MB' in capsys.readouterr().out
  assert not re.search(r'__[A-Z]+__', page)
  assert 'http:' not in page.replace('http://www.w3.org/', '')  # names of SVG, not addresses
  assert 'https:' not in page
  (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', page)
  assert 'main' in json.loads(imports)['imports']


def test_facts_of_test_images(tiny_run):
  model = cvae_jax.load(tiny_run)
  info, test = facts.info(model, None), model.data().test
  assert info['imageShape'] == [8, 8, 1]
  assert info['columns'][0]['names'] == [*'0123456789']
  assert (info['classColumn'], info['columns'][0]['mayBeUnknown']) == (0, False)

  order = np.random.RandomState(model.config.seed).permutation(len(test.images))
  images, labels = test.images[order], test.labels[order]
  np.testing.assert_array_equal(info['map']['labels'], labels)
  mean, _ = model.encode(images, labels)
  first, second = info['map']['directions']
  np.testing.assert_allclose([first @ first, second @ second, first @ second], [1, 1, 0], atol=1e-5)
  points = info['map']['points'].reshape(-1, 2)
  np.testing.assert_allclose(points[:, 0], (mean - mean.mean(axis=0)) @ first, atol=1e-4)
  variances = np.linalg.eigvalsh(np.cov(mean.T))[::-1]
  np.testing.assert_allclose(points.var(axis=0, ddof=1), variances[:2], rtol=1e-3)

  assert [example['label'] for example in info['examples'][:10]] == [*range(10)]
  for example in info['examples']:
    place = np.flatnonzero((images == example['image']).all(axis=(1, 2, 3)))[0]
    assert labels[place] == example['label']


def test_how_usual_test_images_are(tiny_run, monkeypatch):
  """With many draws, the bounds are those of `Model.elbo`, which has one each, to their noise."""
  model = cvae_jax.load(tiny_run)
  usual = facts.info(model, None)['usual']
  test = model.data().test
  assert len(usual) == len(test.images)
  assert (np.diff(usual) >= 0).all()
  model.task.binarize = 'none'  # a page takes grey values
  bounds = []
  for label in range(10):
    labels = np.full(len(test.images), label)
    bounds.append(np.mean([model.elbo(test.images, labels, s).elbo for s in range(8)], axis=0))
  bounds = special.logsumexp(bounds, axis=0) - np.log(10)
  np.testing.assert_allclose(usual.mean(), -bounds.mean(), rtol=0.005)
  steps = [0.1, 0.5, 0.9]
  np.testing.assert_allclose(np.quantile(usual, steps), np.quantile(-bounds, steps), rtol=0.02)


def test_without_test_images_the_page_has_samples(tmp_path, capsys):
  model = saved_models.save(tmp_path / 'model', columns=saved_models.COLUMNS)
  info = facts.info(model, None)
  assert 'samples' in capsys.readouterr().out
  assert (info['usual'], info['latents'], info['map']['source']) == (None, None, 'samples')
  assert [example['label'] for example in info['examples'][:4]] == [0, 1, 2, 0]
  grey = info['columns'][2]
  assert (grey['kind'], grey['unit'], grey['mean'], grey['std']) == ('number', '%', 50.0, 20.0)
  assert [column['mayBeUnknown'] for column in info['columns']] == [False, True, False]


def test_four_channels_are_refused(tmp_path):
  fields = {'data__channels': 4, 'data__alpha': 'keep', 'likelihood': 'gaussian'}
  model = saved_models.save(tmp_path / 'model', **fields)
  with pytest.raises(InputError, match='have 4'):
    exporting.write(model, 'html', tmp_path / 'page.html')
  assert not (tmp_path / 'page.html').exists()


def test_a_denoising_autoencoder_is_refused(tmp_path):
  model = saved_models.save(tmp_path / 'model', objective='dae')
  with pytest.raises(InputError, match='denoising'):
    exporting.write(model, 'html', tmp_path / 'page.html')
  assert not (tmp_path / 'page.html').exists()


def test_the_same_model_gives_the_same_page(tmp_path):
  model = saved_models.save(tmp_path / 'model')
  first, second = (exporting.write(model, 'html', tmp_path / name) for name in ('1.html', '2.html'))
  assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(shutil.which('clang-14') is None, reason='clang-14 is not installed')
def test_the_kernels_are_those_of_their_source(tmp_path):
  built = tmp_path / 'kernels.wasm'
  subprocess.run(['make', '--silent', 'page-kernels', f'KERNELS={built}'], check=True)
  assert built.read_bytes() == payload.KERNELS.read_bytes()
  assert payload.KERNELS.parent == html.ASSETS
