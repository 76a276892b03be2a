"""How labels become numbers and names of classes."""

import numpy as np
import pytest

from cvae_jax.data.readers import classes
from cvae_jax.runtime.errors import InputError


@pytest.mark.parametrize(
  ('train', 'names'),
  [
    ([3, -1, 3, 10], ('-1', '3', '10')),
    (np.array([255, 2], np.uint8), ('2', '255')),
    ([True, False], ('False', 'True')),
    (['b', 'a', 'b'], ('a', 'b')),
    (['10', '9', '1'], ('1', '9', '10')),
    (['10', '9', 'x'], ('10', '9', 'x')),
    (['cafe\u0301', 'caf\xe9', 'a\nb'], ('a\\x0ab', 'caf\xe9')),
  ],
  ids=range(7),
)
def test_classes_are_sorted_and_numbered(train, names):
  labels, found = classes.numbered({'train': np.array(train), 'test': np.array(train[:1])})
  assert found == names
  assert labels['train'].dtype == np.int32
  for split, given in (('train', train), ('test', train[:1])):
    texts = [classes.class_name(str(label)) for label in given]
    assert [names[label] for label in labels[split]] == texts


def test_labels_that_training_lacks_are_refused():
  with pytest.raises(InputError, match=r"test labels hold '2', .*'0', '1'"):
    classes.numbered({'train': np.array([0, 1]), 'test': np.array([2, 0])})
  with pytest.raises(InputError, match='2 of the 3 train labels are empty'):
    classes.numbered({'train': np.array(['', 'a', ''])})
