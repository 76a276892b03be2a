"""Quality and variety of samples, measured in the features of a reference classifier."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import distance

from cvae_jax.runtime.registry import Registry

NEIGHBOURS = 5
MAX_PER_CLASS = 1_000  # images whose pairwise distances are averaged

Real = Float[np.ndarray, 'real features']
Drawn = Float[np.ndarray, 'drawn features']

# Metrics of samples: (features of real images [N, F], features of samples [M, F]) -> float; nan
# where it is undefined. Traits, all of them optional: `unit`, `protocol`, and `undefined` for the
# reason of a nan, texts in which {real}, {drawn} and {features} stand for N, M and F; and
# `steady_from`, the N and M from which it is reliable: below them it carries a warning.
SAMPLE_METRICS = Registry('sample metric')


@SAMPLE_METRICS.register(
  'frechet_distance',
  undefined='{real:,} real images and {drawn:,} samples have no covariance of {features} features, '
  'which takes more of either than features',
  steady_from=1_000,
)
def frechet_distance(real: Real, drawn: Drawn) -> float:
  """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of Gaussians fitted to both (Heusel et al. 2017).

  The paper takes Inception's features; values in those of another network compare only with each
  other. It is nan if either side has no more rows than features, whose covariance is singular.
  """
  if min(len(real), len(drawn)) <= real.shape[1]:
    return float('nan')
  both = [np.asarray(x, np.float64) for x in (real, drawn)]
  means = [x.mean(axis=0) for x in both]
  covariances = [np.atleast_2d(np.cov(x.T)) for x in both]
  # The eigenvalues of Σ₁ Σ₂ are those of Σ₁^½ Σ₂ Σ₁^½, which is symmetric: no complex roots.
  values, vectors = np.linalg.eigh(covariances[0])
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  product = np.linalg.eigvalsh(root @ covariances[1] @ root)
  trace = sum(np.trace(covariance) for covariance in covariances)
  trace -= 2 * np.sum(np.sqrt(np.maximum(product, 0)))
  return float(max(np.sum((means[0] - means[1]) ** 2) + trace, 0.0))


@SAMPLE_METRICS.register(
  'coverage',
  protocol=f'k = {NEIGHBOURS} (Naeem et al. 2020)',
  undefined=f'{{real:,}} real images have no {NEIGHBOURS} neighbours each',
  steady_from=100,
)
def coverage(real: Real, drawn: Drawn) -> float:
  """The fraction of real images with a sample in their neighbourhood (Naeem et al. 2020).

  A neighbourhood reaches to the `NEIGHBOURS`-th nearest real image; nan if there are too few. As
  many further real images in place of the samples would give 1 − 2^−NEIGHBOURS; more samples than
  images come near 1 whatever they show.
  """
  from sklearn.neighbors import NearestNeighbors  # late: half a second

  if len(real) <= NEIGHBOURS or not len(drawn):
    return float('nan')
  # Each image is its own nearest neighbour.
  radii = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(real).kneighbors(real)[0][:, -1]
  nearest = NearestNeighbors(n_neighbors=1).fit(drawn).kneighbors(real)[0][:, 0]
  return float(np.mean(nearest <= radii))


def diversity(
  features: Float[np.ndarray, 'images features'], labels: Int[np.ndarray, ' images']
) -> float:
  """The mean Euclidean distance of two images of one class, averaged over classes.

  Only the first `MAX_PER_CLASS` images of a class count, and none of class −1; nan if no class has
  two.
  """
  means = []
  for label in np.unique(labels[labels >= 0]):
    own = features[labels == label][:MAX_PER_CLASS]
    if len(own) > 1:
      means.append(distance.pdist(np.asarray(own, np.float64)).mean())
  return float(np.mean(means)) if means else float('nan')
