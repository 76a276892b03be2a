"""Projections of latents onto a plane."""

import numpy as np

from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError, did_you_mean

METHODS = ('pca', 'tsne', 'umap')


def check(method: str) -> None:
  """Raises InputError for an unknown method, or one whose library is not installed."""
  if method not in METHODS:
    raise InputError(
      f'projection {method!r} is not one of: {", ".join(METHODS)}.{did_you_mean(method, METHODS)}'
    )
  if method == 'umap' and not libraries.has_distribution('umap-learn'):  # not pip's `umap`
    raise InputError("The projection 'umap' needs umap-learn: pip install umap-learn.")


def to_plane(latents: np.ndarray, method: str = 'pca') -> tuple[np.ndarray, tuple[str, str]]:
  """Projects latents [N, latent] onto a plane, [N, 2], and names its axes.

  The method is 'pca', 'tsne' (about a minute for 10,000 points), or 'umap', which needs umap-learn.
  Latents with one or two dimensions are left as they are.

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

    name, fit = 'PCA', PCA(2, svd_solver='full').fit_transform
  elif method == 'tsne':
    from sklearn.manifold import TSNE

    name, fit = 't-SNE', TSNE(init='pca', random_state=0).fit_transform
  else:
    import umap

    name, fit = 'UMAP', umap.UMAP(random_state=0, n_jobs=1).fit_transform
  return fit(latents) if len(latents) > 1 else latents[:, :2], (f'{name} 1', f'{name} 2')
