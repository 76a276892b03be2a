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


@pytest.mark.parametrize('num_examples', [1, 9, 10, 11, 20])
def test_padded_batches_hold_every_example_once(num_examples):
  rows, mask = batches.padded(num_examples, 10)
  assert rows.shape == mask.shape
  assert rows.shape[1] == 10
  assert rows[mask].tolist() == list(range(num_examples))
  assert rows.max() == num_examples - 1
