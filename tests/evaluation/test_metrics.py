"""The ELBO of a split: every image once, whatever the batches."""

import jax
import numpy as np
import pytest

from cvae_jax.evaluation import metrics
from cvae_jax.models import cvae
from cvae_jax.models.likelihoods import Bernoulli
from cvae_jax.runtime import devices
from tiny import DENSE, tiny_config


@pytest.fixture(scope='module')
def model_and_variables():
  model = cvae.build(tiny_config(**DENSE))
  return model, jax.jit(lambda key: cvae.init(model, key))(jax.random.key(0))


IMAGES = np.random.RandomState(0).randint(0, 256, (11, 8, 8, 1), np.uint8)
LABELS = np.arange(11, dtype=np.int32) % 10


def evaluate(model_and_variables, batch_size, binarize='dynamic', rows=slice(None)):
  model, variables = model_and_variables
  run = metrics.make_evaluate(
    model, Bernoulli(), binarize, batch_size, devices.mesh(batch_size), {}
  )
  images, labels = jax.device_put((IMAGES[rows], LABELS[rows]))
  return run(variables, images, labels, jax.random.key(5))


def test_masking_gives_the_same_as_batches_of_one(model_and_variables):
  single = evaluate(model_and_variables, 1)
  for batch_size in (4, 16):
    assert evaluate(model_and_variables, batch_size) == pytest.approx(single, rel=1e-5)


def test_it_is_the_mean_over_images(model_and_variables):
  """Grey values and a network whose posterior is nearly exact zero noise: a plain NumPy sum."""
  model, variables = model_and_variables
  narrow = jax.tree.map(lambda leaf: leaf, variables)
  narrow['params']['logvar_head'] = {
    'kernel': np.zeros_like(variables['params']['logvar_head']['kernel']),
    'bias': np.full_like(variables['params']['logvar_head']['bias'], -40.0),
  }
  result = evaluate((model, narrow), 4, 'none')
  pixels = IMAGES / np.float32(255)
  mean, _ = model.apply(narrow, pixels, LABELS, train=False, method='encode')
  logits = model.apply(narrow, mean, LABELS, train=False, method='decode')
  probabilities = 1 / (1 + np.exp(-np.float64(logits)))
  cross_entropy = -(pixels * np.log(probabilities) + (1 - pixels) * np.log1p(-probabilities))
  kl = 0.5 * (np.float64(mean) ** 2 + np.exp(-40.0) - 1 + 40.0)
  assert result['reconstruction'] == pytest.approx(cross_entropy.sum() / 11, rel=1e-4)
  assert result['kl'] == pytest.approx(kl.sum() / 11, rel=1e-5)
  assert result['negative_elbo'] == pytest.approx(result['reconstruction'] + result['kl'], rel=1e-6)


def test_the_loop_of_an_accelerator_gives_the_same(model_and_variables, monkeypatch):
  dispatched = evaluate(model_and_variables, 4)
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 8)
  assert evaluate(model_and_variables, 4) == pytest.approx(dispatched, rel=1e-5)


def test_bits_per_dimension():
  # A fair coin for each of 784 pixels costs one bit each.
  assert metrics.bits_per_dimension(784 * np.log(2), (28, 28, 1)) == pytest.approx(1)


def test_images_on_the_host_are_evaluated_piece_by_piece(model_and_variables, monkeypatch):
  whole = evaluate(model_and_variables, 4)
  monkeypatch.setattr(metrics, 'PIECE_BYTES', 5 * 64)  # pieces of 5, 5 and 1 images
  model, variables = model_and_variables
  run = metrics.make_evaluate(model, Bernoulli(), 'dynamic', 4, devices.mesh(4), {})
  assert run(variables, IMAGES, LABELS, jax.random.key(5)) == pytest.approx(whole, rel=1e-5)
