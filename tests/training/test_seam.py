"""Training knows `Task` and no model: it trains one that is no autoencoder, unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvae_jax.runtime import tensor_files
from cvae_jax.tasks import TASKS, Task
from cvae_jax.tasks.task import Artifact
from cvae_jax.training import loop, restoring, sweep, sweep_plan
from cvae_jax.training.sweep_plan import Axis
from tiny import rows, state_at, steps, stopped_at, tiny_config

CHANCE = np.log(10)  # cross-entropy of equal probabilities


class Logistic(Task):
  """Logistic regression of the labels, from images with pixels left out at random."""

  terms = ('cross_entropy', 'accuracy')
  validation_terms = ('cross_entropy', 'accuracy', 'weight_norm')
  score = 'cross_entropy'
  artifacts = ('mean_images',)
  commands = (('to look at it', 'python look.py {}'),)
  note = 'a linear model'
  warmup_steps = 3

  def __init__(self, config, steps_per_epoch):
    self.num_pixels = config.data.image_size**2
    self.num_classes = config.data.num_classes

  def init(self, key):
    weights = 0.01 * jax.random.normal(key, (self.num_pixels, self.num_classes))
    return {'params': {'weights': weights}, 'seen': {'images': jnp.zeros(())}}

  def _terms(self, variables, images, labels):
    logits = images.reshape(len(images), -1) @ variables['params']['weights']
    return {
      'cross_entropy': optax.softmax_cross_entropy_with_integer_labels(logits, labels),
      'accuracy': jnp.float32(logits.argmax(axis=-1) == labels),
    }

  def loss(self, variables, batch, hyper, key, step):
    images, labels = batch
    images = images / 255.0 * jax.random.bernoulli(key, 0.9, images.shape)
    terms = {name: x.mean() for name, x in self._terms(variables, images, labels).items()}
    seen = {'images': variables['seen']['images'] + len(labels)}
    return terms['cross_entropy'], (terms, {'seen': seen})

  def evaluate(self, variables, batch, keys):
    images, labels = batch
    norm = optax.tree.norm(variables['params'])
    terms = self._terms(variables, images / 255.0, labels)
    return terms | {'weight_norm': jnp.broadcast_to(norm, labels.shape)}

  def pictures(self, variables, batch, key):
    weights = np.asarray(variables['params']['weights'])
    return {'weights': np.clip(weights.T.reshape(2, 5, 8, 8, 1), 0, 1)}

  def warning(self, variables, batch):
    return f'{len(batch[1])} images may be wrong'

  def finish(self, variables, dataset, key):
    means = [dataset.images[dataset.labels == label].mean(0) for label in range(10)]
    return {'mean_images': Artifact({'means': np.float32(means)}, '10 means')}


class Smallest(Logistic):
  """Its best weights are the smallest, which are those of the first validation."""

  score = 'weight_norm'


@pytest.fixture(scope='module', autouse=True)
def registered():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(TASKS, '_entries', dict(TASKS._loaded()))
    TASKS.register('logistic')(Logistic)
    TASKS.register('smallest')(Smallest)
    yield


def config_of(objective='logistic', **changes):
  fields = {'checkpoint_every_steps': 2, 'keep_checkpoints': 10, 'learning_rate': 0.05}
  return tiny_config(objective=objective, **(fields | changes))


@pytest.fixture(scope='module')
def run(tmp_path_factory, registered):
  workdir = tmp_path_factory.mktemp('logistic') / 'run'
  loop.train(config_of(), workdir)
  return workdir


def test_its_terms_are_columns_and_it_learns(run):
  first, *_, last = rows(run)
  assert list(last) == [
    'step',
    'epoch',
    'train/loss',
    'train/cross_entropy',
    'train/accuracy',
    'train/gradient_norm',
    'train/learning_rate',
    'validation/cross_entropy',
    'validation/accuracy',
    'validation/weight_norm',
  ]
  assert first['train/loss'] == first['train/cross_entropy']
  assert float(last['validation/cross_entropy']) < CHANCE - 0.1
  assert float(last['validation/accuracy']) > 0.3


def test_its_terms_are_in_the_log_with_what_it_shows_to_people(run):
  log = (run / 'train.log').read_text()
  validations = [line for line in log.splitlines() if ' validation  ' in line]
  assert len(validations) == 2 + 1  # two epochs, and the best
  for line in validations:
    assert all(f' {name} ' in line for name in Logistic.validation_terms)
  assert log.count(' a linear model\n') == 1
  assert log.count(' 50 images may be wrong\n') == 1
  assert f'python look.py {run}\n' in log


def test_it_leaves_its_picture_and_artifact_and_nothing_of_an_encoder(run):
  assert (run / 'samples' / 'step_6.png').is_file()
  assert not (run / 'projector').exists()
  arrays, _ = tensor_files.read_arrays(run / 'checkpoints' / '6' / 'mean_images.safetensors')
  assert arrays['means'].shape == (10, 8, 8, 1)


def test_it_resumes_bit_for_bit(run, tmp_path):
  stopped_at(run, tmp_path / 'run', 4)
  loop.train(config_of(), tmp_path / 'run')
  assert rows(tmp_path / 'run') == rows(run)
  one, two = (state_at(folder, config_of(), 6) for folder in (run, tmp_path / 'run'))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert float(one.variables['seen']['images']) == 6 * 32


@pytest.mark.parametrize(('objective', 'best'), [('logistic', 6), ('smallest', 3)])
def test_its_score_picks_the_best_checkpoint(objective, best, tmp_path):
  config = config_of(objective, keep_checkpoints=1, checkpoint_every_steps=0)
  loop.train(config, tmp_path / 'run')
  assert restoring.choose(tmp_path / 'run', 'best', config) == best
  assert steps(tmp_path / 'run') == sorted({best, 6})


def test_a_sweep_of_it_is_made_of_the_same_runs(run, tmp_path):
  members = sweep_plan.members(config_of(), [Axis('seed', (0, 1))], tmp_path)
  assert sweep.train(members) == {}
  assert rows(tmp_path / 'seed=0') == rows(run)
  assert rows(tmp_path / 'seed=1') != rows(run)


def test_a_smoke_test_shows_its_terms(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  loop.smoke(config_of())
  training, validation, picture, _ = capsys.readouterr().out.splitlines()
  assert all(f' {name} ' in training for name in Logistic.terms)
  assert all(f' {name} ' in validation for name in Logistic.validation_terms)
  assert picture.startswith('weights: ')
  assert list(tmp_path.iterdir()) == []
