"""The autoencoder of a small β: its loss against SciPy, its score, its programs."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn import datasets

from cvae_jax.evaluation import perceptual
from cvae_jax.inference import loading
from cvae_jax.models import classifier, gaussians
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop, restoring, sweep, sweep_plan
from cvae_jax.training.sweep_plan import Axis
from tiny import RESNET, rows, state_at, stopped_at, task_of, tiny_config

KEY, STEP = jax.random.key(1), 9
BETA, WEIGHT = 0.25, 3.0
CHANGES = {
  'objective': 'autoencoder',
  'likelihood': 'l2',
  'beta': BETA,
  'beta_schedule': 'constant',
  'perceptual_weight': WEIGHT,
  'data__image_size': 28,
}
LABELS = np.arange(6, dtype=np.int32)


def config_of(**changes):
  return tiny_config(**CHANGES | changes)


@pytest.fixture(scope='module')
def images():
  small = np.float32(datasets.load_digits().images[:6] / 16)
  large = jax.image.resize(small, (6, 28, 28), 'bilinear')[..., None]
  return np.uint8(np.round(255 * np.clip(large, 0, 1)))


@pytest.fixture(scope='module')
def untrained():
  task = task_of(config_of())
  return task, jax.jit(task.init)(jax.random.key(0))


def parts(task, variables, images, noise):
  """−log p, KL and perceptual distance of each image at z = mean + σ ⊙ noise."""
  pixels = np.float32(images / 127.5 - 1)
  mean, logvar = task.network.apply(variables, pixels, LABELS, train=False, method='encode')
  latents = mean + np.exp(logvar / 2) * noise
  outputs = task.network.apply(variables, latents, LABELS, train=False, method='decode')
  reconstruction = -stats.norm.logpdf(pixels, outputs, np.sqrt(0.5)).sum((1, 2, 3))
  kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(1)
  judge = classifier.load(classifier.SHIPPED / 'digits.safetensors')
  distance = classifier.perceptual_distance(judge, np.float32(images / 255), (outputs + 1) / 2)
  return reconstruction, kl, distance


def test_the_loss_has_a_small_kl_and_the_perceptual_distance(untrained, images):
  task, variables = untrained

  def loss(params):
    batch, hyper = (images, LABELS), task.hyperparameters
    return task.loss(variables | {'params': params}, batch, hyper, KEY, jnp.int32(STEP))

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, (terms, _)), gradient = compiled(variables['params'])
  noise = jax.random.normal(jax.random.split(KEY, 5)[1], (6, 3))
  names = ('reconstruction', 'kl', 'perceptual')
  expected = dict(zip(names, map(np.mean, parts(task, variables, images, noise)), strict=True))
  for name, number in expected.items():
    np.testing.assert_allclose(terms[name], number, rtol=1e-4)
  assert terms['beta'] == BETA
  assert set(terms) == set(task.terms)
  total = expected['reconstruction'] + BETA * expected['kl'] + WEIGHT * expected['perceptual']
  np.testing.assert_allclose(value, total - 784 * 0.5 * np.log(np.pi), rtol=1e-4)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient['logvar_head']))


def test_the_perceptual_distance_has_a_gradient_of_its_own(images):
  """Also where a reconstruction leaves [0, 1], as all do at first."""

  def gradient(weight):
    task = task_of(config_of(perceptual_weight=weight))
    variables = jax.jit(task.init)(jax.random.key(0))
    loss = lambda v: task.loss(v, (images, LABELS), task.hyperparameters, KEY, STEP)  # noqa: E731
    return jax.jit(jax.grad(loss, has_aux=True))(variables)[0]['params']['decoder']

  without, once, twice = map(gradient, (0.0, 1.0, 2.0))
  added = jax.tree.map(lambda a, b: a - b, once, without)
  doubled = jax.tree.map(lambda a, b: a - b, twice, without)
  largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(added))
  assert largest > 1e-3
  for one, two in zip(jax.tree.leaves(added), jax.tree.leaves(doubled), strict=True):
    np.testing.assert_allclose(two, 2 * one, atol=0.01 * largest)


def test_the_score_is_the_loss_at_the_beta_of_the_run(untrained, images):
  task, variables = untrained
  keys = jax.random.split(KEY, 6)
  terms = jax.jit(task.evaluate)(variables, (images, LABELS), keys)
  noise_keys = jax.vmap(jax.random.split)(keys)[:, 1]
  noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(noise_keys)
  reconstruction, kl, distance = parts(task, variables, images, noise)
  assert set(terms) == set(task.validation_terms)
  assert task.score == 'loss'
  np.testing.assert_allclose(terms['kl'], kl, rtol=1e-4)
  np.testing.assert_allclose(terms['perceptual'], distance, rtol=1e-4)
  total = reconstruction + BETA * kl + WEIGHT * distance
  np.testing.assert_allclose(terms['loss'], total - 784 * 0.5 * np.log(np.pi), rtol=1e-4)


@pytest.mark.parametrize('changes', [{}, {'conditional': False, 'likelihood': 'gaussian_learned'}])
def test_without_a_perceptual_weight_a_step_is_the_program_of_a_vae(changes, images):
  """The same operations, one by one: the distance is neither computed nor its weights held."""

  def program(objective):
    changed = {'objective': objective, 'perceptual_weight': 0.0, **changes}
    task = task_of(config_of(**changed))
    variables = jax.eval_shape(task.init, jax.random.key(0))

    def step(variables, hyper, key, step):
      loss = lambda v: task.loss(v, (images, LABELS), hyper, key, step)  # noqa: E731
      return jax.value_and_grad(loss, has_aux=True)(variables)

    return jax.jit(step).lower(variables, task.hyperparameters, KEY, jnp.int32(0)).as_text()

  assert program('autoencoder') == program('vae')
  assert 'perceptual' not in task_of(config_of(perceptual_weight=0.0)).validation_terms


def test_its_picture_is_of_reconstructions(untrained, images):
  task, variables = untrained
  pictures = task.pictures(variables, (images, LABELS), KEY)
  assert list(pictures) == ['reconstructions']
  seen, decoded = pictures['reconstructions']
  np.testing.assert_allclose(seen, images / 255, atol=1e-6)
  mean, _ = task.encode(variables, seen, LABELS)
  np.testing.assert_allclose(decoded, task.decode(variables, mean, LABELS), atol=1e-5)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('sharp') / 'run'
  loop.train(config_of(checkpoint_every_steps=2, keep_checkpoints=10), workdir)
  return workdir


def test_it_resumes_bit_for_bit_and_leaves_a_prior(run, tmp_path):
  config = config_of(checkpoint_every_steps=2, keep_checkpoints=10)
  stopped_at(run, tmp_path / 'run', 4)
  loop.train(config, tmp_path / 'run')
  assert rows(tmp_path / 'run') == rows(run)
  one, two = (state_at(folder, config, 6) for folder in (run, tmp_path / 'run'))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert (run / 'checkpoints' / '6' / 'prior.safetensors').is_file()
  assert loading.load(run).sample(np.arange(3)).shape == (3, 28, 28, 1)


def test_the_lowest_loss_is_the_best_checkpoint(run):
  scores = {
    int(row['step']): float(row['validation/loss']) for row in rows(run) if row['validation/loss']
  }
  best = restoring.choose(run, 'best', config_of())
  assert best == min(scores, key=scores.get)


def test_each_run_of_a_sweep_is_scored_at_its_own_beta(run, tmp_path):
  """They share a compiled step, whose β is an argument."""
  config = config_of(checkpoint_every_steps=2, keep_checkpoints=10)
  members = sweep_plan.members(config, [Axis('beta', (4.0, BETA))], tmp_path)
  assert len(sweep.groups(members)) == 1
  assert sweep.train(members) == {}
  assert rows(tmp_path / f'beta={BETA:g}') == rows(run)
  last = {name: float(x or 'nan') for name, x in rows(tmp_path / 'beta=4')[-1].items()}
  loss, *terms = (
    last[f'validation/{name}'] for name in ('loss', 'reconstruction', 'kl', 'perceptual')
  )
  assert loss == pytest.approx(np.dot(terms, (1, 4, WEIGHT)) - 784 * 0.5 * np.log(np.pi), rel=1e-4)


@pytest.mark.slow
def test_latents_that_are_a_map_train_load_and_reconstruct(tmp_path):
  config = config_of(
    num_epochs=3,
    data__max_examples=1000,
    learning_rate=0.01,
    ema_decay=0.0,
    conditional=False,
    latent_dim=7 * 7 * 2,
    model__latent_channels=2,
    **RESNET,
  )
  loop.train(config, tmp_path / 'run')
  model = loading.load(tmp_path / 'run')
  images = model.data().validation.images
  mean, logvar = model.encode(images)
  assert mean.shape == logvar.shape == (len(images), 98)
  errors = np.mean((model.decode(mean) - images / 255) ** 2)
  assert errors < 0.5 * np.mean((images / 255 - (images / 255).mean(0)) ** 2)
  assert model.sample(num_images=3).shape == (3, 28, 28, 1)


LPIPS = {'perceptual_distance': 'lpips', 'data__image_size': 8, 'num_epochs': 1}


@pytest.fixture
def lpips_cache(tmp_path, monkeypatch):
  """A cache with random weights of LPIPS, in files like the official ones."""
  pytest.importorskip('torch', reason='PyTorch is not installed')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  folder = tmp_path / 'cache' / 'cvae_jax' / 'lpips'
  folder.parent.mkdir(parents=True)
  return importlib.import_module('lpips_files').save(folder)


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 2])
def test_with_lpips_the_term_is_that_of_the_evaluation(channels, lpips_cache):
  task = task_of(config_of(**LPIPS, data__channels=channels))
  variables = jax.jit(task.init)(jax.random.key(0))
  pixels = np.random.RandomState(0).randint(0, 256, (6, 8, 8, channels), np.uint8)
  pixels[0] = 0  # where ReLUs may leave nothing
  keys = jax.random.split(KEY, 6)
  terms = jax.jit(task.evaluate)(variables, (pixels, LABELS), keys)
  _, draw_keys = task.observed(pixels, keys)
  mean, logvar = task.encode(variables, pixels / np.float32(255), LABELS)
  latents = jax.vmap(gaussians.reparameterize)(draw_keys, mean, logvar)
  outputs = task.network.apply(variables, latents, LABELS, train=False, method='decode')
  pair = np.float32(pixels / 255), (np.asarray(task.likelihood.mean(outputs)) + 1) / 2
  shown = [0, 1, 1] if channels == 2 else [0]
  weights = perceptual.load(lpips_cache)
  expected = perceptual.lpips(weights, *(array[..., shown] for array in pair))
  assert expected.min() > 0.01
  np.testing.assert_allclose(terms['perceptual'], expected, rtol=1e-3)

  def loss(params):
    batch, hyper = (pixels, LABELS), task.hyperparameters
    return task.loss(variables | {'params': params}, batch, hyper, KEY, jnp.int32(STEP))

  gradient, (terms, _) = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
  assert terms['perceptual'] > 0.01
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_a_run_with_lpips_needs_its_weights_and_its_model_does_not(
  lpips_cache, tmp_path, monkeypatch
):
  config = config_of(**LPIPS)
  loop.train(config, tmp_path / 'run')
  assert float(rows(tmp_path / 'run')[-1]['validation/perceptual']) > 0.01
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'empty'))
  with pytest.raises(InputError, match=r"perceptual_distance='lpips'.*lacks"):
    loop.train(config, tmp_path / 'other')
  assert not (tmp_path / 'other').exists()
  assert loading.load(tmp_path / 'run').reconstruct(np.zeros((1, 8, 8, 1)), [3]).shape == (
    1,
    8,
    8,
    1,
  )
