"""Missing classes against sums over all combinations, one image at a time, in NumPy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import missing
from cvae_jax.models.conditions import Input

NAN = math.nan
# Two inferred categories, between columns that are not.
COLUMNS = (
  Input('category', 2, True, False),
  Input('category', 3, False, True),
  Input('number', 0, True, False),
  Input('category', 4, True, True),
)
INFERRED = (1, 3)
ROWS = np.float32(
  [
    [1, 2, 0.5, 3],  # all known
    [NAN, NAN, -1, 1],
    [0, 0, NAN, NAN],
    [1, NAN, 2, NAN],
    [NAN, NAN, NAN, NAN],
  ]
)
TABLE = jnp.asarray(ROWS)
CHOICES = list(itertools.product(range(3), range(4)))


def log_probs_of(seed):
  random = np.random.RandomState(seed)
  logits = (2 * random.randn(len(ROWS), COLUMNS[number].num_names) for number in INFERRED)
  return tuple(jax.nn.log_softmax(jnp.float32(x)) for x in logits)


LOG_PROBS = log_probs_of(0)


def probability(image, place, name):
  return math.exp(np.float64(LOG_PROBS[place][image, name]))


def fits(image, choice):
  """Whether a choice of names agrees with what is known."""
  values = ROWS[image, list(INFERRED)]
  return all(np.isnan(value) or value == name for value, name in zip(values, choice, strict=True))


def test_which_columns_are_inferred():
  assert missing.inferred(COLUMNS) == INFERRED
  assert missing.inferred(COLUMNS[:1]) == ()


def test_completions_are_all_choices_for_what_is_missing():
  actual = np.asarray(missing.completions(COLUMNS, TABLE))
  assert actual.shape == (12, 5, 4)
  for image, row in enumerate(ROWS):
    for choice, completed in zip(CHOICES, actual[:, image], strict=True):
      expected = row.copy()
      for number, name in zip(INFERRED, choice, strict=True):
        expected[number] = name if np.isnan(row[number]) else row[number]
      np.testing.assert_array_equal(completed, expected)


def test_weights_are_the_probabilities_of_the_choices_that_fit():
  actual = np.asarray(missing.weights(COLUMNS, TABLE, LOG_PROBS))
  expected = np.zeros((12, 5))
  for image, row in enumerate(ROWS):
    for k, choice in enumerate(CHOICES):
      factors = [
        probability(image, place, name)
        for place, (number, name) in enumerate(zip(INFERRED, choice, strict=True))
        if np.isnan(row[number])
      ]
      expected[k, image] = math.prod(factors) * fits(image, choice)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  np.testing.assert_allclose(actual.sum(axis=0), 1, rtol=1e-5)


def test_expectations_under_the_weights_are_those_of_the_completions():
  """Rows and weights belong together: E[f(completed row)] by hand."""
  completed = np.asarray(missing.completions(COLUMNS, TABLE))
  values = 10 * completed[..., 1] + completed[..., 3]
  actual = np.sum(np.asarray(missing.weights(COLUMNS, TABLE, LOG_PROBS)) * values, axis=0)
  for image, row in enumerate(ROWS):
    means = [
      sum(name * probability(image, place, name) for name in range(COLUMNS[number].num_names))
      if np.isnan(row[number])
      else row[number]
      for place, number in enumerate(INFERRED)
    ]
    assert actual[image] == pytest.approx(10 * means[0] + means[1], rel=1e-4)


def test_the_kl_to_equally_likely_names():
  actual = missing.kl(COLUMNS, TABLE, LOG_PROBS)
  for image in range(len(ROWS)):
    # Of the joint distribution of what is missing.
    places = [p for p, number in enumerate(INFERRED) if np.isnan(ROWS[image, number])]
    sizes = [COLUMNS[INFERRED[place]].num_names for place in places]
    expected = 0.0
    for names in itertools.product(*map(range, sizes)):
      joint = math.prod(probability(image, p, n) for p, n in zip(places, names, strict=True))
      expected += joint * math.log(joint * math.prod(sizes))
    assert float(actual[image]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
  assert float(actual[0]) == 0


def test_an_even_guess_has_no_kl_and_a_certain_one_the_most():
  names = COLUMNS[1].num_names
  columns, rows = COLUMNS[1:2], np.float32([[NAN], [NAN]])
  log_probs = (jnp.array([[-math.log(names)] * names, [0, -200, -200]]),)
  np.testing.assert_allclose(
    missing.kl(columns, rows, log_probs), [0, math.log(names)], rtol=1e-6, atol=1e-6
  )


def test_the_cross_entropy_is_of_known_names_alone():
  expected = 0.0
  for place, number in enumerate(INFERRED):
    known = [image for image, row in enumerate(ROWS) if not np.isnan(row[number])]
    assert len(known) == 2
    losses = [-LOG_PROBS[place][image, int(ROWS[image, number])] for image in known]
    expected += np.mean(losses)
  assert float(missing.cross_entropy(COLUMNS, TABLE, LOG_PROBS)) == pytest.approx(
    expected, rel=1e-5
  )
  assert float(missing.cross_entropy(COLUMNS, TABLE[4:], tuple(x[4:] for x in LOG_PROBS))) == 0


def test_the_likeliest_names_stand_where_none_do():
  actual = np.asarray(missing.likeliest(COLUMNS, TABLE, LOG_PROBS))
  expected = ROWS.copy()
  for image in range(len(ROWS)):
    for place, number in enumerate(INFERRED):
      if np.isnan(ROWS[image, number]):
        names = range(COLUMNS[number].num_names)
        expected[image, number] = max(names, key=lambda name: LOG_PROBS[place][image, name])
  np.testing.assert_array_equal(actual, expected)
  assert np.isnan(actual[1, 0])  # a category that is not inferred stays empty
  assert np.isnan(actual[2, 2])
