"""The small run that most tests train: as a config, as flags of train.py, and what it wrote."""

import csv
import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax import config as config_lib
from cvae_jax import tasks
from cvae_jax.inference.model import Model
from cvae_jax.training import checkpoint_items, program, restoring, state
from cvae_jax.training.state import TrainState

# The network that compiles quickest, for tests of all else.
DENSE = {'model__name': 'mlp', 'model__norm': 'none'}
RESNET = {'model__name': 'resnet', 'model__norm': 'group'}
STEPS_PER_EPOCH = 3
FIELDS = {
  'name': 'tiny',
  'num_epochs': 2,
  'batch_size': 32,
  'latent_dim': 3,
  'log_every_steps': 2,
  'beta_warmup_epochs': 1.0,
  'data__image_size': 8,
  'data__max_examples': 100,
  'data__validation_examples': 50,
  'model__channels': (4, 8),
  'model__groups': 2,
  'model__embed_dim': 3,
} | DENSE


def flags(fields):
  """Fields, those of a group with two underscores, as flags of train.py."""
  return [f'--config.{name.replace("__", ".")}={value}' for name, value in fields.items()]


DENSE_FLAGS = flags(DENSE)
TINY_FLAGS = flags(FIELDS)


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
  return set_fields(config_lib.default(), FIELDS | changes)


def flow_config(first_stage, **changes):
  """A run of flow matching in the latents of another run."""
  fields = {'objective': 'flow_matching', 'velocity__width': 32, 'velocity__depth': 1}
  return tiny_config(**{**fields, 'first_stage': str(first_stage), **changes})


def task_of(config):
  """The task of a run with epochs of 3 steps."""
  return tasks.build(config, STEPS_PER_EPOCH)


def model_of(config, task, variables, num_classes=10):
  """A model of these variables, which belongs to no run and has no prior to draw from."""
  return Model(
    config=config,
    class_names=tuple(map(str, range(num_classes))),
    image_shape=task.network.image_shape,
    step=0,
    asked_step=None,
    data_fingerprint=None,
    folder=Path(),
    task=task,
    variables=variables,
    prior=None,
  )


def build_optimizer(config):
  """The optimizer of a run with epochs of 3 steps."""
  learning_rate = state.learning_rate_schedule(config, config.learning_rate, STEPS_PER_EPOCH)
  hyper = state.hyperparameters(config, task_of(config))
  return state.build_optimizer(config.optimizer, learning_rate, hyper)


def rows(workdir):
  """metrics.csv of a run, without what the clock says: a dict of texts for each line."""
  with open(workdir / 'metrics.csv', newline='') as file:
    return [
      {name: value for name, value in row.items() if name not in ('seconds', 'images_per_second')}
      for row in csv.DictReader(file)
    ]


def steps(workdir):
  """The steps of a run's checkpoints, in order."""
  return sorted(
    int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()
  )


def stopped_at(run, workdir, step):
  """A copy of `run` as it was when it had written no checkpoint after `step`."""
  shutil.copytree(run, workdir)
  for later in steps(workdir):
    if later > step:
      shutil.rmtree(workdir / 'checkpoints' / str(later))
  shutil.rmtree(workdir / 'samples')


def state_at(workdir, config, step):
  """The state of a run at one of its checkpoints."""
  state, _ = restoring.restore(workdir, step, config, _fresh_state(config.to_json()))
  return state


@functools.cache
def _fresh_state(config_json):
  config = config_lib.from_plain(json.loads(config_json))
  return program.build(config).fresh_state()


def toy_state(step):
  """The state after `step` steps of a model of two arrays, with random numbers."""
  random = np.random.RandomState(step)
  variables = {
    'params': {'w': jnp.float32(random.randn(40, 30)), 'b': jnp.float32(random.randn(3))}
  }
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    variables=variables,
    ema=jax.tree.map(lambda leaf: leaf / 2, variables),
    opt_state=(jnp.asarray(step), {'mu': jnp.float32(random.randn(40, 30))}),
  )


def make_best(run, step):
  """Makes a checkpoint the best, as if its validation had been better than all others."""
  folder = run / 'checkpoints' / str(step)
  path = folder / 'metrics' / 'metrics'
  metrics = json.loads(path.read_text()) | {'negative_elbo': 1.0}
  path.write_text(json.dumps(metrics))
  path = folder / 'digests' / 'metadata'
  digests = json.loads(path.read_text()) | {'metrics': checkpoint_items.digest(metrics)}
  path.write_text(json.dumps(digests))
