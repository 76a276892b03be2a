"""The denoising autoencoder against SciPy: a clean image from the latents of a corrupted one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvae_jax.data import corruption
from cvae_jax.data.datasets import Dataset
from tiny import task_of, tiny_config

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
LABELS = np.arange(6, dtype=np.int32)
KEY = jax.random.key(1)


@pytest.fixture(scope='module', params=['gaussian', 'masking'])
def untrained(request):
  """A task, its variables, and its corruption."""
  kind = request.param
  changes = {'likelihood': 'gaussian', 'data__corruption': kind, 'data__corruption_level': 0.3}
  task = task_of(tiny_config(objective='dae', **changes))
  corrupt = lambda key, images: corruption.corrupt(kind, 0.3, key, images)  # noqa: E731
  return task, jax.jit(task.init)(jax.random.key(0)), corrupt


def reconstruction(task, variables, seen):
  """−log p(x | z, c) of each image at z = E[z | seen], without any draw."""
  pixels = jnp.float32(2 * seen - 1)
  mean, _ = task.network.apply(variables, pixels, LABELS, train=False, method='encode')
  outputs = task.network.apply(variables, mean, LABELS, train=False, method='decode')
  return -stats.norm.logpdf(IMAGES / 127.5 - 1, outputs, 0.5).sum((1, 2, 3))


def test_the_loss_is_the_reconstruction_of_the_clean_image(untrained):
  task, variables, corrupt = untrained

  def loss(params):
    return task.loss(variables | {'params': params}, (IMAGES, LABELS), {}, KEY, jnp.int32(0))

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, (terms, _)), gradient = compiled(variables['params'])
  noise_key = jax.random.split(KEY, 5)[4]
  expected = reconstruction(task, variables, corrupt(noise_key, jnp.float32(IMAGES / 255))).mean()
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert terms == {'reconstruction': value}
  assert set(terms) == set(task.terms)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient['logvar_head']))


def test_the_validation_corrupts_each_image_by_its_own_key(untrained):
  task, variables, corrupt = untrained
  keys = jax.random.split(KEY, 6)
  terms = jax.jit(task.evaluate)(variables, (IMAGES, LABELS), keys)
  noise_keys = jax.vmap(jax.random.split)(keys)[:, 1]
  seen = jax.vmap(corrupt)(noise_keys, jnp.float32(IMAGES / 255))
  assert set(terms) == set(task.validation_terms) == {task.score}
  np.testing.assert_allclose(
    terms['reconstruction'], reconstruction(task, variables, seen), rtol=1e-5
  )


def test_pictures_are_corrupted_images_above_their_reconstructions(untrained):
  task, variables, _ = untrained
  pictures = task.pictures(variables, (IMAGES, LABELS), KEY)
  assert list(pictures) == ['reconstructions']
  seen, decoded = pictures['reconstructions']
  assert np.abs(seen - IMAGES / 255).max() > 0.1
  mean, _ = task.encode(variables, seen, LABELS)
  np.testing.assert_allclose(decoded, task.decode(variables, mean, LABELS), atol=1e-5)


def test_it_has_no_distribution_of_latents(untrained):
  task, variables, _ = untrained
  assert not task.is_generative
  assert task.finish(variables, Dataset(IMAGES, LABELS, ()), KEY) == {}
  assert task.warning(variables, (IMAGES, LABELS)) is None
