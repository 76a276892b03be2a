"""Projections of latents onto a plane."""

import importlib.util

import numpy as np
import pytest

from cvae_jax.plots import projection
from cvae_jax.runtime.errors import InputError

LATENTS = np.random.RandomState(0).randn(60, 5) * np.array([5, 3, 1, 1, 1])


def test_two_dimensions_stay_as_they_are():
  plane, axes = projection.to_plane(LATENTS[:, :2], 'tsne')
  np.testing.assert_array_equal(plane, LATENTS[:, :2])
  assert axes == ('z0', 'z1')


def test_pca_keeps_what_varies_most():
  plane, axes = projection.to_plane(LATENTS)
  assert axes == ('PCA 1', 'PCA 2')
  _, vectors = np.linalg.eigh(np.cov(LATENTS.T))
  expected = (LATENTS - LATENTS.mean(0)) @ vectors[:, ::-1][:, :2]
  np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-8)


def test_tsne_keeps_clusters_apart():
  clusters = np.concatenate([LATENTS[:30] * 0.01, LATENTS[30:] * 0.01 + 50])
  plane, axes = projection.to_plane(clusters, 'tsne')
  assert axes == ('t-SNE 1', 't-SNE 2')
  middle = plane[:30].mean(0), plane[30:].mean(0)
  nearest = np.argmin([np.linalg.norm(plane - m, axis=1) for m in middle], axis=0)
  np.testing.assert_array_equal(nearest, [0] * 30 + [1] * 30)


@pytest.mark.parametrize('count', [1, 2, 10])
@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_few_points(count, method):
  assert projection.to_plane(LATENTS[:count], method)[0].shape == (count, 2)


def test_one_dimension():
  plane, _ = projection.to_plane(LATENTS[:, :1])
  np.testing.assert_array_equal(plane[:, 0], LATENTS[:, 0])


def test_unknown_methods_and_missing_libraries():
  with pytest.raises(
    InputError, match=r"projection 'tnse' is not one of: pca, tsne, umap\..*'tsne'"
  ):
    projection.to_plane(LATENTS, 'tnse')
  if importlib.util.find_spec('umap') is None:
    with pytest.raises(InputError, match='pip install umap-learn'):
      projection.to_plane(LATENTS, 'umap')
