"""The order of examples, and batches that hold each of them once."""

import numpy as np
import pytest

from cvae_jax.data import batches
from cvae_jax.runtime import keys

KEY = keys.stream(0, 'order')


def test_the_order_is_a_shuffle_by_seed_and_epoch():
  order = np.asarray(batches.epoch_order(KEY, 3, num_examples=103, batch_size=10))
  assert order.shape == (10, 10)
  assert len(set(order.ravel())) == 100
  assert set(order.ravel()) <= set(range(103))
  np.testing.assert_array_equal(order, batches.epoch_order(KEY, 3, 103, 10))
  for key, epoch in ((KEY, 4), (keys.stream(1, 'order'), 3)):
    assert not np.array_equal(order, batches.epoch_order(key, epoch, 103, 10))


def test_each_epoch_leaves_out_other_examples():
  left_out = {
    tuple(set(range(103)) - set(np.asarray(batches.epoch_order(KEY, epoch, 103, 10)).ravel()))
    for epoch in range(4)
  }
  assert len(left_out) == 4


def test_a_balanced_order_has_every_class_equally_often():
  labels = np.repeat(np.int32([0, 1, 2]), [90, 10, 3])
  np.random.RandomState(0).shuffle(labels)
  orders = [
    np.asarray(batches.balanced_order(KEY, epoch, labels, 3, batch_size=10)) for epoch in range(24)
  ]
  for order in orders:
    assert order.shape == (10, 10)
    assert sorted(np.bincount(labels[order.ravel()])) == [33, 33, 34]
    # Of each class, all images before one of them comes again.
    for label, size in enumerate([90, 10, 3]):
      times = np.bincount(order[labels[order] == label], minlength=103)[labels == label]
      assert times.max() - times.min() <= 1
      assert len(times) == size
  assert len({order.tobytes() for order in orders}) == 24
  assert set(np.concatenate(orders).ravel()) == set(range(103))  # the frequent class is all seen
  np.testing.assert_array_equal(orders[3], batches.balanced_order(KEY, 3, labels, 3, 10))


@pytest.mark.parametrize(('num_labelled', 'count'), [(3, 7), (1, 60), (9, 40)])
def test_a_labelled_order_has_as_many_labelled_images_in_each_batch(num_labelled, count):
  is_labelled = np.zeros(103, bool)
  is_labelled[np.random.RandomState(0).permutation(103)[:count]] = True
  orders = [
    np.asarray(batches.labelled_order(KEY, epoch, is_labelled, num_labelled, batch_size=10))
    for epoch in range(4)
  ]
  for order in orders:
    assert order.shape == (10, 10)
    assert np.all(is_labelled[order].sum(axis=1) == num_labelled)
    times = np.bincount(order.ravel(), minlength=103)
    for group in (is_labelled, ~is_labelled):
      assert np.ptp(times[group]) <= 1
  assert len({order.tobytes() for order in orders}) == 4
  np.testing.assert_array_equal(
    orders[3], batches.labelled_order(KEY, 3, is_labelled, num_labelled, 10)
  )


@pytest.mark.parametrize('num_examples', [1, 9, 10, 11, 20])
def test_padded_batches_hold_every_example_once(num_examples):
  rows, mask = batches.padded(num_examples, 10)
  assert rows.shape == mask.shape
  assert rows.shape[1] == 10
  assert rows[mask].tolist() == list(range(num_examples))
  assert rows.max() == num_examples - 1
