"""The result that `make train` promises; it trains for minutes."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets, model_selection, svm

from conftest import ROOT


def eight_by_eight(tile):
  """A tile of the grid in the form of load_digits: 8×8, 0 to 16."""
  return np.asarray(Image.fromarray(tile).resize((8, 8), Image.Resampling.BOX)) / 255 * 16


@pytest.mark.slow
def test_a_classifier_of_real_digits_recognizes_those_in_the_grid(tmp_path):
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  done = subprocess.run(
    [sys.executable, str(ROOT / 'train.py'), '--config', 'configs/digits.py'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  with Image.open(
    tmp_path / re.search(r'pictures of its last step: (.*)', done.stdout)[1]
  ) as image:
    grid = np.asarray(image)
  side = grid.shape[0] // 10
  tiles = grid.reshape(10, side, 10, side).swapaxes(1, 2).reshape(100, side, side)

  digits = datasets.load_digits()
  train_images, test_images, train_labels, test_labels = model_selection.train_test_split(
    digits.images.reshape(-1, 64), digits.target, test_size=0.2, random_state=0
  )
  classifier = svm.SVC(gamma=0.001).fit(train_images, train_labels)
  assert classifier.score(test_images, test_labels) >= 0.97
  seen = classifier.predict([eight_by_eight(tile).ravel() for tile in tiles])
  assert (seen == np.repeat(np.arange(10), 10)).sum() >= 90
