"""How good, and how varied, samples are: as a reference classifier sees them."""

import numpy as np
from scipy.spatial import distance

NEIGHBOURS = 5
MAX_PER_CLASS = 1_000  # images of a class whose pairs are looked at


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
  """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), of Gaussians fitted to two sets of features.

  Heusel et al. 2017, whose features are Inception's; in those of another network it is comparable
  with itself alone.

  Args:
    first: [N, features].
    second: [M, features].

  Returns:
    The distance; nan where a set has fewer than two rows, and so no covariance.
  """
  if min(len(first), len(second)) < 2:
    return float('nan')
  first, second = (np.asarray(x, np.float64) for x in (first, second))
  means = [x.mean(axis=0) for x in (first, second)]
  covariances = [np.atleast_2d(np.cov(x.T)) for x in (first, second)]
  # The eigenvalues of Σ₁ Σ₂ are those of Σ₁^½ Σ₂ Σ₁^½, which is symmetric: no complex roots.
  values, vectors = np.linalg.eigh(covariances[0])
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  product = np.linalg.eigvalsh(root @ covariances[1] @ root)
  trace = sum(np.trace(covariance) for covariance in covariances)
  trace -= 2 * np.sum(np.sqrt(np.maximum(product, 0)))
  return float(max(np.sum((means[0] - means[1]) ** 2) + trace, 0.0))


def coverage(real: np.ndarray, drawn: np.ndarray) -> float:
  """The share of real images with a sample among their neighbours (Naeem et al. 2020, k = 5).

  Args:
    real: [N, features].
    drawn: [M, features].

  Returns:
    How many of the N have a sample no farther than their NEIGHBOURS-th nearest real image; nan
    where there are not so many. Of as many real images in place of samples, 1 − 2^−NEIGHBOURS.
  """
  from sklearn.neighbors import NearestNeighbors  # late: half a second

  if len(real) <= NEIGHBOURS or not len(drawn):
    return float('nan')
  # The nearest of its own set is the image itself.
  radii = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(real).kneighbors(real)[0][:, -1]
  nearest = NearestNeighbors(n_neighbors=1).fit(drawn).kneighbors(real)[0][:, 0]
  return float(np.mean(nearest <= radii))


def diversity(features: np.ndarray, labels: np.ndarray) -> float:
  """The mean distance of two images of one class, averaged over classes.

  Args:
    features: [N, features]; of each class the first MAX_PER_CLASS are taken.
    labels: [N] the classes; one with fewer than two images does not count.

  Returns:
    The Euclidean distance; nan where no class has two images.
  """
  means = []
  for label in np.unique(labels):
    own = features[labels == label][:MAX_PER_CLASS]
    if len(own) > 1:
      means.append(distance.pdist(np.asarray(own, np.float64)).mean())
  return float(np.mean(means)) if means else float('nan')
