"""Means over images with their 95 % confidence intervals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_RESAMPLES, RESAMPLES_AT_ONCE = 1_000, 50  # of a bootstrap


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


def auroc(
  scores: Float[np.ndarray, ' images'], is_positive: Bool[np.ndarray, ' images']
) -> Interval:
  """How often a positive image has a higher score than a negative one; ties count half.

  The interval is that of DeLong et al. 1988. All are nan where one of the two kinds is missing.
  """
  from scipy import stats  # late: half a second to import

  if is_positive.all() or not is_positive.any():
    return Interval(np.nan, np.nan, np.nan)
  # Of each image the fraction of the other kind on the right side of it.
  fractions, ranks = [], stats.rankdata(scores)
  for own in (is_positive, ~is_positive):
    fractions.append((ranks[own] - stats.rankdata(scores[own])) / np.sum(~own))
  above, below = fractions
  mean = float(above.mean())
  variances = [x.var(ddof=1) / len(x) if len(x) > 1 else np.nan for x in (above, below)]
  error = 1.96 * np.sqrt(sum(variances))
  return Interval(mean, max(mean - error, 0.0), min(mean + error, 1.0))


def r_squared(
  truth: Float[np.ndarray, ' images'], predicted: Float[np.ndarray, ' images']
) -> Interval:
  """R² = 1 − Σ(truth − predicted)² / Σ(truth − its mean)²; nan where all truths are equal.

  The interval takes the ratio of the two means as linear in both (delta method).
  """
  truth, predicted = (np.asarray(x, np.float64) for x in (truth, predicted))
  errors, spread = np.square(truth - predicted), np.square(truth - truth.mean())
  if not spread.any():
    return Interval(np.nan, np.nan, np.nan)
  ratio = errors.mean() / spread.mean()
  linear = (errors - ratio * spread) / spread.mean()
  error = 1.96 * linear.std(ddof=1) / np.sqrt(len(linear))
  return Interval(float(1 - ratio), float(1 - ratio - error), float(1 - ratio + error))


def ratio_of_medians(
  values: Float[np.ndarray, ' images'], others: Float[np.ndarray, ' others']
) -> Interval:
  """The median of some values over that of others; nan where that is 0.

  The interval has the percentiles of NUM_RESAMPLES resamples of both (bootstrap; Efron 1979).
  """
  from scipy import stats  # late: half a second to import

  def ratio(values, others, axis):
    return np.median(values, axis=axis) / np.median(others, axis=axis)

  if not np.median(others):
    return Interval(np.nan, np.nan, np.nan)
  mean = float(ratio(values, others, 0))
  if min(len(values), len(others)) < 2:
    return Interval(mean, np.nan, np.nan)
  with np.errstate(divide='ignore', invalid='ignore'):  # a resample may have a median of 0
    found = stats.bootstrap(
      (values, others),
      ratio,
      n_resamples=NUM_RESAMPLES,
      batch=RESAMPLES_AT_ONCE,
      method='percentile',
      rng=np.random.default_rng(0),
    )
  return Interval(mean, *map(float, found.confidence_interval))
