"""scikit-learn's 1,797 digits: 8×8 pixels, 16 grey levels."""

import numpy as np

from cvae_jax.data.readers.sources import DATASETS, Source, Split

NUM_TEST_IMAGES = 300


@DATASETS.register('digits', own_test_split=False, label_column='digit')
def source(_) -> Source:
  """The digits; 300 are the test split, whatever `data.split_seed` is."""
  from sklearn import datasets, model_selection

  digits = datasets.load_digits()
  images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
  split = Split(images, digits.target.astype(np.int32))
  train, test = model_selection.train_test_split(
    np.arange(len(images)), test_size=NUM_TEST_IMAGES, random_state=0, stratify=split.labels
  )
  splits = {'train': split.take(train), 'test': split.take(test)}
  return Source(splits, tuple('0123456789'), is_mixed=True, stratify=True)
