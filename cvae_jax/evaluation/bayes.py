"""How well the confidence of a classifier is calibrated."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

NUM_BINS = 15  # Guo et al. 2017
STEADY_FROM = 10 * NUM_BINS  # images: of fewer, the error is mostly chance


class Reliability(NamedTuple):
  """Accuracy by confidence; nan in an empty bin."""

  edges: Float[np.ndarray, ' bins+1']  # of the confidence
  confidence: Float[np.ndarray, ' bins']  # means
  accuracy: Float[np.ndarray, ' bins']
  counts: Int[np.ndarray, ' bins']

  @property
  def calibration_error(self) -> float:
    """Σ fraction · |accuracy − confidence| (ECE; Guo et al. 2017)."""
    gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
    return float(np.sum(self.counts[self.counts > 0] * gaps) / np.sum(self.counts))


def reliability(
  log_probabilities: Float[np.ndarray, 'images classes'], labels: Int[np.ndarray, ' images']
) -> Reliability:
  """Bins predictions by their confidence, into NUM_BINS bins of equal width."""
  confidence = np.exp(log_probabilities.max(axis=1))
  correct = log_probabilities.argmax(axis=1) == labels
  edges = np.linspace(0, 1, NUM_BINS + 1)
  bins = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, NUM_BINS - 1)
  counts = np.bincount(bins, minlength=NUM_BINS)
  with np.errstate(invalid='ignore'):
    sums = [np.bincount(bins, weights, NUM_BINS) / counts for weights in (confidence, correct)]
  return Reliability(edges, *sums, counts)
