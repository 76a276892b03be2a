"""Means over images with their 95 % confidence intervals."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
  """A mean over images, and between which bounds it lies with 95 % confidence."""

  mean: float
  low: float
  high: float


def interval(values: np.ndarray) -> Interval:
  """The mean of [N] values and its 95 % interval, mean ± 1.96 standard errors."""
  values = np.asarray(values, np.float64)
  error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
  return Interval(values.mean(), values.mean() - error, values.mean() + error)


def difference_estimate(cheap: np.ndarray, dear: np.ndarray, rows: np.ndarray) -> Interval:
  """The mean of a dear quantity over N images, known of n of them, with its 95 % interval.

  The mean of a cheap one over all, plus the mean difference of the two where both are known (the
  difference estimator; Särndal, Swensson & Wretman 1992, section 6.3): the closer they follow each
  other, the more of the N images count. The n are taken to be like the others.

  Args:
    cheap: [N].
    dear: [n], n < N.
    rows: [n] which of the N these are.
  """
  cheap, dear = np.asarray(cheap, np.float64), np.asarray(dear, np.float64)
  difference = dear - cheap[rows]
  mean = cheap.mean() + difference.mean()
  variance = dear.var(ddof=1) / len(cheap)
  variance += difference.var(ddof=1) * (1 / len(dear) - 1 / len(cheap))
  error = 1.96 * np.sqrt(variance)
  return Interval(mean, mean - error, mean + error)


def proportion(outcomes: np.ndarray) -> Interval:
  """The share of [N] outcomes that are True, with Wilson's 95 % interval."""
  from scipy import stats  # late: half a second that a command which draws need not wait

  share = stats.binomtest(int(np.sum(outcomes)), len(outcomes)).proportion_ci(0.95, 'wilson')
  return Interval(float(np.mean(outcomes)), share.low, share.high)
