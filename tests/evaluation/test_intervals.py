"""Intervals of means over images."""

import numpy as np
import pytest
from sklearn import metrics

from cvae_jax.evaluation import intervals


def test_the_difference_estimator_is_centred_and_its_interval_holds_the_truth():
  random, rows = np.random.RandomState(0), np.arange(0, 2000, 10)
  for noise in (0.3, 20.0):  # how closely the dear one follows
    held, errors = [], []
    for _ in range(1000):
      cheap = 90 + 20 * random.randn(2000)
      dear = cheap - 4 + noise * random.randn(2000)
      estimate = intervals.difference_estimate(cheap, dear[rows], rows)
      held.append(estimate.low <= 86 <= estimate.high)
      errors.append((estimate.high - estimate.low) / 3.92)
    assert 0.93 < np.mean(held) < 0.97
    if noise < 1:  # nearly as sure as all 2,000 would be, 20 / √2000, not as 200
      assert np.mean(errors) == pytest.approx(20 / np.sqrt(2000), rel=0.1)


def test_an_interval_holds_the_mean_95_times_of_100():
  random = np.random.RandomState(0)
  held = [
    low <= 3.0 <= high
    for _, low, high in (intervals.interval(3 + 2 * random.randn(400)) for _ in range(1000))
  ]
  assert 0.93 < np.mean(held) < 0.97


def test_a_proportion_lies_in_its_interval_even_when_all_are_right():
  mean, low, high = intervals.proportion(np.ones(300, bool))
  assert (mean, high) == (1.0, 1.0)
  assert 0.98 < low < 0.99  # Wilson: n / (n + z²)
  assert low == pytest.approx(300 / (300 + 1.96**2), abs=1e-4)


def test_one_image_has_no_interval():
  assert np.isnan(intervals.interval(np.array([2.0])).low)


def test_auroc_is_that_of_scikit_learn_and_its_interval_holds_the_truth():
  random = np.random.RandomState(0)
  is_positive = np.arange(300) % 3 == 0
  tied = 1.0 * random.randint(0, 5, 300) + is_positive
  found = intervals.auroc(tied, is_positive)
  assert found.mean == pytest.approx(metrics.roc_auc_score(is_positive, tied))
  truth = 0.76024994  # Φ(1 / √2), of normals whose means are one apart
  held = []
  for _ in range(500):
    low, high = intervals.auroc(random.randn(300) + is_positive, is_positive)[1:]
    held.append(low <= truth <= high)
  assert 0.92 < np.mean(held) < 0.98
  assert intervals.auroc(is_positive.astype(float), is_positive) == (1, 1, 1)
  assert intervals.auroc(-1.0 * is_positive, is_positive).mean == 0
  for one_kind in (np.ones(5, bool), np.zeros(5, bool)):
    assert np.isnan(intervals.auroc(np.arange(5.0), one_kind)).all()


def test_r_squared_is_that_of_scikit_learn_and_its_interval_holds_the_truth():
  random, held = np.random.RandomState(0), []
  for _ in range(500):
    truth = 3 * random.randn(400)
    predicted = 0.9 * truth + random.randn(400)
    mean, low, high = intervals.r_squared(truth, predicted)
    assert mean == pytest.approx(metrics.r2_score(truth, predicted))
    held.append(low <= 1 - (0.01 * 9 + 1) / 9 <= high)
  assert 0.92 < np.mean(held) < 0.98
  assert intervals.r_squared(truth, truth) == (1, 1, 1)
  assert intervals.r_squared(truth, np.full(400, truth.mean())).mean == pytest.approx(0)
  assert np.isnan(intervals.r_squared(np.ones(4), np.arange(4.0))).all()


def test_the_interval_of_a_ratio_of_medians_is_as_wide_as_that_of_large_samples():
  random = np.random.RandomState(0)
  values, others = np.exp(random.randn(3000)), np.exp(0.5 + random.randn(2000))
  ratio, low, high = intervals.ratio_of_medians(values, others)
  assert ratio == np.median(values) / np.median(others)
  assert low < np.exp(-0.5) < high
  # The median of N normal variables has a variance of π / 2N.
  error = np.sqrt(np.pi / 2 * (1 / 3000 + 1 / 2000))
  assert np.log(high / low) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_ratio_to_a_median_of_0_is_undefined_and_one_value_has_no_interval():
  assert np.isnan(intervals.ratio_of_medians(np.ones(5), np.zeros(5))).all()
  ratio, *ends = intervals.ratio_of_medians(np.array([3.0]), np.array([2.0, 2.0]))
  assert ratio == 1.5
  assert np.isnan(ends).all()
