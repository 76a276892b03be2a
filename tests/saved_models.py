"""Folders of small models that were never trained: all that a trained one has, in no time."""

import jax
import numpy as np

import cvae_jax
from cvae_jax import config as config_lib
from cvae_jax.config import Column, SavedConfig
from cvae_jax.inference import shipped
from cvae_jax.models import cvae, fitted_prior
from cvae_jax.models.fitted_prior import FittedPrior
from cvae_jax.runtime import tensor_files
from cvae_jax.training import training_table
from tiny import task_of, tiny_config

NAMES = ('three', 'four', 'five')
COLUMNS = (
  Column('class', 'category', NAMES),
  Column('bar', 'flag', has_empty=True),
  Column('grey', 'number', unit='%', mean=50.0, std=20.0, low=10.0, high=90.0),
)


def save(folder, fitted=False, columns=(), **changes):
  """Writes a model with random weights into `folder`, and returns it as it is loaded.

  Args:
    folder: a new one.
    fitted: whether it has a fitted prior, of 1 or 2 Gaussians for each class.
    columns: of its table; () for a model of labels.
    **changes: fields of its config, see `tiny_config`.
  """
  if columns:
    inputs = tuple(map(config_lib.inputs_text, columns))
    changes |= {'data__conditions': 'all', 'data__columns': inputs}
  config = tiny_config(data__num_classes=len(NAMES), **changes)
  config_lib.check(config)
  network = task_of(config).network
  random = np.random.RandomState(0)
  # Biases, and the last layers of flows, begin as zeros.
  variables = jax.tree.map(
    lambda leaf: np.asarray(leaf) + 0.05 * random.randn(*leaf.shape).astype(np.float32),
    cvae.init(network, jax.random.key(0)),
  )
  folder.mkdir(parents=True)
  names = NAMES if config.conditional else ()
  config_lib.save(folder, SavedConfig(config, names, None, None, columns))
  tensor_files.save(folder / shipped.WEIGHTS_FILE, variables, step=7)
  if columns:
    rows = np.float32([[0, 1, -1], [1, 0, 0], [2, np.nan, 1]])[:, -len(columns) :]
    tensor_files.save(folder / training_table.FILE_NAME, {'values': rows})
  if fitted:
    fitted_prior.save(folder, _fitted(config, random), variables)
  return cvae_jax.load(folder)


def _fitted(config, random):
  count, size = fitted_prior.num_classes(config), config.latent_dim
  weights = np.float32([[0.3, 0.7], [1, 0], [0.9, 0.1]][:count])
  means = random.randn(count, 2, size).astype(np.float32)
  factors = np.tril(random.randn(count, 2, size, size)).astype(np.float32)
  return FittedPrior(weights, means, factors)
