"""Means over a split: every image counts once, whatever the batches."""

import functools

import jax
import numpy as np
import pytest

from cvae_jax.runtime import devices
from cvae_jax.training import validation
from tiny import task_of, tiny_config

IMAGES = np.random.RandomState(0).randint(0, 256, (11, 8, 8, 1), np.uint8)
LABELS = np.arange(11, dtype=np.int32) % 10
KEY = jax.random.key(5)


@pytest.fixture(scope='module')
def variables():
  return jax.jit(task_of(tiny_config()).init)(jax.random.key(0))


def make(batch_size, binarize='dynamic'):
  task = task_of(tiny_config(data__binarize=binarize))
  return validation.make_evaluate(task, batch_size, devices.mesh(batch_size))


made = functools.cache(make)


def evaluate(variables, *arguments, make=made, put=jax.device_put):
  return make(*arguments)(variables, *put((IMAGES, LABELS)), KEY)


def test_masking_gives_the_same_as_batches_of_one(variables):
  single = evaluate(variables, 1)
  for batch_size in (4, 16):
    assert evaluate(variables, batch_size) == pytest.approx(single, rel=1e-5)


def test_it_is_the_mean_over_images(variables):
  """Grey values and a network whose posterior is nearly exact zero noise: a plain NumPy sum."""
  narrow = jax.tree.map(lambda leaf: leaf, variables)
  narrow['params']['logvar_head'] = {
    'kernel': np.zeros_like(variables['params']['logvar_head']['kernel']),
    'bias': np.full_like(variables['params']['logvar_head']['bias'], -40.0),
  }
  result = evaluate(narrow, 4, 'none')
  network, pixels = task_of(tiny_config()).network, IMAGES / np.float32(255)
  mean, _ = network.apply(narrow, pixels, LABELS, train=False, method='encode')
  logits = network.apply(narrow, mean, LABELS, train=False, method='decode')
  probabilities = 1 / (1 + np.exp(-np.float64(logits)))
  cross_entropy = -(pixels * np.log(probabilities) + (1 - pixels) * np.log1p(-probabilities))
  kl = 0.5 * (np.float64(mean) ** 2 + np.exp(-40.0) - 1 + 40.0)
  assert result['reconstruction'] == pytest.approx(cross_entropy.sum() / 11, rel=1e-4)
  assert result['kl'] == pytest.approx(kl.sum() / 11, rel=1e-5)
  assert result['negative_elbo'] == pytest.approx(result['reconstruction'] + result['kl'], rel=1e-6)


def test_the_loop_of_an_accelerator_gives_the_same(variables, monkeypatch):
  dispatched = evaluate(variables, 4)
  monkeypatch.setattr(devices, 'chunk_steps', lambda: 8)
  assert evaluate(variables, 4, make=make) == pytest.approx(dispatched, rel=1e-5)


def test_images_on_the_host_are_evaluated_piece_by_piece(variables, monkeypatch):
  whole = evaluate(variables, 4)
  monkeypatch.setattr(validation, 'PIECE_BYTES', 5 * 64)  # 5 images, of which whole batches are 4
  assert evaluate(variables, 4, put=tuple) == pytest.approx(whole, rel=1e-5)
