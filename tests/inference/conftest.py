"""Trained models of tables of conditions. Read only."""

import pytest
import table_models

import cvae_jax


@pytest.fixture(scope='session')
def measured(measured_run):
  """A model of digits, their slant and thickness."""
  return cvae_jax.load(measured_run)


@pytest.fixture(scope='session')
def mixed(tmp_path_factory):
  """A model of a category, a flag with empty cells and a number; it has learned little of them."""
  workdir = tmp_path_factory.mktemp('runs') / 'mixed'
  table_models.train(workdir, missing='bar', num_epochs=2)
  return cvae_jax.load(workdir)


@pytest.fixture(scope='session')
def inferring(tmp_path_factory):
  """A good model of the same, but categories are missing, not flags: it has a q(c | x)."""
  workdir = tmp_path_factory.mktemp('runs') / 'inferring'
  table_models.train(workdir, missing='side', num_epochs=40)
  return cvae_jax.load(workdir)
