"""A conditional model as a classifier: p(c | x) by Bayes, from the bound of every class."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax import Array
from scipy import special

from cvae_jax.evaluation import likelihood
from cvae_jax.evaluation.likelihood import Trained

NUM_BINS = 15  # Guo et al. 2017


class Reliability(NamedTuple):
  """What came true, by how sure the model was."""

  edges: np.ndarray  # [bins + 1] of the confidence
  confidence: np.ndarray  # [bins] its mean; nan in an empty bin
  accuracy: np.ndarray  # [bins]
  counts: np.ndarray  # [bins]

  @property
  def calibration_error(self) -> float:
    """Σ share · |accuracy − confidence| (ECE; Guo et al. 2017)."""
    gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
    return float(np.sum(self.counts[self.counts > 0] * gaps) / np.sum(self.counts))


def class_log_probabilities(
  trained: Trained,
  images: np.ndarray,
  num_classes: int,
  key: Array,
  advance: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
  """log p(c | x) with the ELBO in place of log p(x | c), and every class as likely as another.

  All classes see the same noise.

  Args:
    trained: a conditional model.
    images: uint8 [N, H, W, C].
    num_classes: of the model.
    key: see `likelihood.observe`.
    advance: hears of the share that is done.

  Returns:
    [N, classes].
  """
  elbos = []
  for label in range(num_classes):
    labels = np.full(len(images), label, np.int32)
    elbos.append(-likelihood.elbo_terms(trained, images, labels, key).negative_elbo)
    advance((label + 1) / num_classes)
  return special.log_softmax(np.stack(elbos, axis=1).astype(np.float64), axis=1)


def reliability(log_probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
  """Bins the predictions by their confidence, in NUM_BINS of equal width.

  Args:
    log_probabilities: [N, classes].
    labels: [N].
  """
  confidence = np.exp(log_probabilities.max(axis=1))
  correct = log_probabilities.argmax(axis=1) == labels
  edges = np.linspace(0, 1, NUM_BINS + 1)
  bins = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, NUM_BINS - 1)
  counts = np.bincount(bins, minlength=NUM_BINS)
  with np.errstate(invalid='ignore'):
    sums = [np.bincount(bins, weights, NUM_BINS) / counts for weights in (confidence, correct)]
  return Reliability(edges, *sums, counts)
