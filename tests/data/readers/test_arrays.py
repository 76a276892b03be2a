"""Arrays as a data set: fit for each other, and the same as from other files."""

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS, arrays, file_rows, idx
from cvae_jax.runtime.errors import InputError
from idx_files import write
from made_data import config_of

IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8), np.uint8)
LABELS = np.arange(60) % 4


def content(source):
  return {
    name: (np.asarray(split.images).tobytes(), split.labels.tobytes())
    for name, split in source.splits.items()
  }


def test_the_order_of_rows_has_no_effect():
  order = np.random.RandomState(1).permutation(60)
  one = arrays.source_of({'train': (IMAGES, LABELS)})
  other = arrays.source_of({'train': (IMAGES[order] / 255, LABELS[order].astype(str))})
  assert content(one) == content(other)
  assert one.class_names == other.class_names == ('0', '1', '2', '3')
  images, labels = one.splits['train']
  pairs = {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}
  assert pairs == {(image.tobytes(), label) for image, label in zip(IMAGES, LABELS, strict=True)}


def test_arrays_are_as_the_same_images_in_idx_files(tmp_path):
  labels = (np.arange(60) % 10).astype(np.uint8)
  write(tmp_path, IMAGES, labels)
  config = config_of('mnist', tmp_path, conditional=False)
  read = idx.read_split(*idx.find(tmp_path, 'mnist')['train'])
  from_files = DATASETS['mnist'](config.data)
  source = arrays.source_of({'train': read, 'test': (IMAGES, labels)})
  assert content(source) == content(from_files)
  assert source.class_names == from_files.class_names
  assert source.is_mixed is from_files.is_mixed


def test_arrays_in_files_stay_there(tmp_path, monkeypatch):
  in_memory = arrays.source_of({'train': (IMAGES, LABELS)})
  np.save(tmp_path / 'images.npy', IMAGES)
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)
  mapped = np.load(tmp_path / 'images.npy', mmap_mode='r')
  source = arrays.source_of({'train': (mapped, LABELS)})
  assert isinstance(source.splits['train'].images, file_rows.FileRows)
  assert content(source) == content(in_memory)


def test_without_labels_there_are_no_classes():
  source = arrays.source_of({'train': (IMAGES, None), 'test': (IMAGES, None)})
  assert source.class_names == ()
  assert not source.splits['test'].labels.any()


@pytest.mark.parametrize(
  ('splits', 'message'),
  [
    ({'train': (IMAGES, LABELS[:-1])}, 'train images .*60 images, 59 labels'),
    ({'train': (IMAGES, LABELS), 'test': (IMAGES, None)}, 'test images have no labels'),
    ({'train': (IMAGES, None), 'test': (IMAGES, LABELS)}, 'train images have no labels'),
    ({'train': (IMAGES, LABELS), 'test': (IMAGES[:, 2:], LABELS)}, r'test .*\[6, 8, 1\]'),
    ({'train': (IMAGES, LABELS), 'validation': (IMAGES, LABELS + 1)}, "validation .*'4'"),
    ({'train': (IMAGES, LABELS), 'test': (IMAGES * 1.0, LABELS)}, 'test images .*255'),
  ],
  ids=range(6),
)
def test_arrays_that_do_not_fit_are_refused(splits, message):
  with pytest.raises(InputError, match=message):
    arrays.source_of(splits)


def test_one_class_alone_tells_a_model_nothing(monkeypatch):
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  source = arrays.source_of({'train': (IMAGES, np.full(60, 'cat'))})
  DATASETS.register('cats')(lambda data: source)
  for num_classes in (0, 10):
    with pytest.raises(InputError, match=r"'cats' .*'cat'.*--config\.conditional=False"):
      datasets.load(config_of('cats', '', data__num_classes=num_classes))
  assert len(datasets.load(config_of('cats', '', conditional=False)).train.labels) == 56
  # As a run of an earlier version, or for those who mean it.
  assert datasets.load(config_of('cats', '', data__num_classes=1)).train.class_names == ('cat',)
