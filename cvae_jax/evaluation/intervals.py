"""Means over images with their 95 % confidence intervals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Interval(NamedTuple):
  """A mean over images and its 95 % confidence interval."""

  mean: float
  low: float
  high: float


def interval(values: Float[np.ndarray, ' images']) -> Interval:
  """The mean ± 1.96 standard errors."""
  values = np.asarray(values, np.float64)
  error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
  return Interval(values.mean(), values.mean() - error, values.mean() + error)


def difference_estimate(
  cheap: Float[np.ndarray, ' images'],
  costly: Float[np.ndarray, ' rows'],
  rows: Int[np.ndarray, ' rows'],
) -> Interval:
  """The mean of a costly quantity over all images, from measurements of some of them.

  It is the mean of a cheap quantity over all images plus the mean difference of the two where both
  are known, at the indices `rows` (difference estimator; Särndal, Swensson & Wretman 1992, section
  6.3). The interval is the narrower, the more closely they are correlated.
  """
  cheap, costly = np.asarray(cheap, np.float64), np.asarray(costly, np.float64)
  difference = costly - cheap[rows]
  mean = cheap.mean() + difference.mean()
  variance = costly.var(ddof=1) / len(cheap)
  variance += difference.var(ddof=1) * (1 / len(costly) - 1 / len(cheap))
  error = 1.96 * np.sqrt(variance)
  return Interval(mean, mean - error, mean + error)


def proportion(outcomes: Bool[np.ndarray, ' images']) -> Interval:
  """The fraction of True outcomes, with Wilson's interval."""
  from scipy import stats  # late: half a second to import

  found = stats.binomtest(int(np.sum(outcomes)), len(outcomes)).proportion_ci(0.95, 'wilson')
  return Interval(float(np.mean(outcomes)), found.low, found.high)
