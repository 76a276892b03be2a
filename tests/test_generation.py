"""Latents of the prior, and labels of a grid."""

import jax
import numpy as np

from cvae_jax import generation
from tiny import tiny_config


def test_prior_latents_have_the_moments_of_the_prior():
  latents = generation.prior_latents(jax.random.key(0), np.arange(20_000), 2, 0.5)
  np.testing.assert_allclose(latents.mean(0), 0, atol=4 * 0.5 / np.sqrt(20_000))
  np.testing.assert_allclose(np.cov(latents.T), 0.25 * np.eye(2), atol=0.01)


def test_a_latent_belongs_to_its_number_whatever_the_company():
  many = generation.prior_latents(jax.random.key(0), np.arange(10), 3, 1.0)
  some = generation.prior_latents(jax.random.key(0), np.array([7, 2]), 3, 1.0)
  np.testing.assert_array_equal(some, many[np.array([7, 2])])


def test_a_row_for_each_class():
  labels, columns = generation.grid_labels(tiny_config(data__num_classes=3))
  assert labels.reshape(-1, columns).tolist() == [[0] * 10, [1] * 10, [2] * 10]
  many, columns = generation.grid_labels(tiny_config(data__num_classes=1000))
  assert len(many) == 20 * columns


def test_an_unconditional_model_has_no_rows_of_classes():
  labels, columns = generation.grid_labels(tiny_config(conditional=False, data__num_classes=0))
  assert labels.tolist() == [0] * 64
  assert columns == 8
