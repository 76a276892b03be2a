"""The labels of a grid of samples."""

from cvae_jax.models import generation
from tiny import tiny_config


def test_a_row_for_each_class():
  labels, columns = generation.grid_labels(tiny_config(data__num_classes=3))
  assert labels.reshape(-1, columns).tolist() == [[0] * 10, [1] * 10, [2] * 10]
  many, columns = generation.grid_labels(tiny_config(data__num_classes=1000))
  assert len(many) == 20 * columns


def test_an_unconditional_model_has_no_rows_of_classes():
  labels, columns = generation.grid_labels(tiny_config(conditional=False, data__num_classes=0))
  assert labels.tolist() == [0] * 64
  assert columns == 8
