"""Projections of latents onto a plane."""

import importlib.util

import numpy as np

from cvae_jax.runtime.errors import InputError, did_you_mean

METHODS = ('pca', 'tsne', 'umap')


def check(method: str) -> None:
  """Raises InputError for an unknown method, or one whose library is not installed."""
  if method not in METHODS:
    raise InputError(
      f'projection {method!r} is not one of: {", ".join(METHODS)}.{did_you_mean(method, METHODS)}'
    )
  if method == 'umap' and importlib.util.find_spec('umap') is None:
    raise InputError("The projection 'umap' needs umap-learn: pip install umap-learn.")


def to_plane(latents: np.ndarray, method: str = 'pca') -> tuple[np.ndarray, tuple[str, str]]:
  """Projects latents onto two dimensions; those with one or two are left as they are.

  Args:
    latents: [N, latent].
    method: 'pca'; 'tsne' (about a minute for 10,000 points); 'umap', which needs umap-learn.

  Returns:
    [N, 2], and the names of the axes.

  Raises:
    InputError: see `check`.
  """
  check(method)
  if latents.shape[1] == 1:
    return np.concatenate([latents, np.zeros_like(latents)], axis=1), ('z0', '')
  if latents.shape[1] == 2:
    return latents, ('z0', 'z1')
  # t-SNE and UMAP need more points than a neighbourhood has.
  if method == 'pca' or len(latents) < 50:
    from sklearn.decomposition import PCA

    plane = PCA(2, svd_solver='full').fit_transform(latents) if len(latents) > 1 else latents[:, :2]
    return plane, ('PCA 1', 'PCA 2')
  if method == 'tsne':
    from sklearn.manifold import TSNE

    plane = TSNE(init='pca', random_state=0).fit_transform(latents)
    return plane, ('t-SNE 1', 't-SNE 2')
  import umap

  plane = umap.UMAP(random_state=0, n_jobs=1).fit_transform(latents)
  return plane, ('UMAP 1', 'UMAP 2')
