"""The small run that most tests train: as a config, as flags of train.py, and what it wrote."""

import csv
import functools
import json

from configs import default
from cvae_jax.training import checkpoint_items, settings, state


def set_fields(config, changes):
  """Sets fields, those of a group with two underscores (`data__binarize`); returns the config."""
  for name, value in changes.items():
    *groups, field = name.split('__')
    setattr(functools.reduce(getattr, groups, config), field, value)
  return config


def tiny_config(**changes):
  """A run of 2 epochs of 3 steps on 8×8 digits, with a network of a few thousand parameters.

  Args:
    **changes: fields; those of `data` and `model` with two underscores, `data__binarize`.
  """
  config = default.get_config()
  config.update(
    {
      'name': 'tiny',
      'num_epochs': 2,
      'batch_size': 32,
      'latent_dim': 3,
      'log_every_steps': 2,
      'beta_warmup_epochs': 1.0,
      'data': {'image_size': 8, 'max_examples': 100, 'validation_examples': 50},
      'model': {'channels': (4, 8), 'groups': 2, 'embed_dim': 3},
    }
  )
  return set_fields(config, changes)


def build_optimizer(config):
  """That of a run of `config` with epochs of 3 steps."""
  learning_rate = state.learning_rate_schedule(config, config.learning_rate, 3)
  return state.build_optimizer(config.optimizer, learning_rate, settings.of(config, 3))


# Changes that make a network quick to compile, where the architecture does not matter.
DENSE = {'model__name': 'mlp', 'model__norm': 'none'}
DENSE_FLAGS = ['--config.model.name=mlp', '--config.model.norm=none']

TINY_FLAGS = [
  '--config.name=tiny',
  '--config.num_epochs=2',
  '--config.batch_size=32',
  '--config.latent_dim=3',
  '--config.log_every_steps=2',
  '--config.beta_warmup_epochs=1',
  '--config.data.image_size=8',
  '--config.data.max_examples=100',
  '--config.data.validation_examples=50',
  '--config.model.channels=4,8',
  '--config.model.groups=2',
  '--config.model.embed_dim=3',
]


def rows(workdir):
  """metrics.csv of a run, without what the clock says: a dict of texts for each line."""
  with open(workdir / 'metrics.csv', newline='') as file:
    return [
      {name: value for name, value in row.items() if name not in ('seconds', 'images_per_second')}
      for row in csv.DictReader(file)
    ]


def make_best(run, step):
  """Makes a checkpoint the best, as if its validation had been better than all others."""
  folder = run / 'checkpoints' / str(step)
  path = folder / 'metrics' / 'metrics'
  metrics = json.loads(path.read_text()) | {'negative_elbo': 1.0}
  path.write_text(json.dumps(metrics))
  path = folder / 'digests' / 'metadata'
  digests = json.loads(path.read_text()) | {'metrics': checkpoint_items.digest(metrics)}
  path.write_text(json.dumps(digests))
