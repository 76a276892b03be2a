"""Arrays as a data set: fit for each other, and the same as from other files."""

import numpy as np
import pytest

from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS, arrays, file_rows, mnist
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
  images, labels, _ = one.splits['train']
  pairs = {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}
  assert pairs == {(image.tobytes(), label) for image, label in zip(IMAGES, LABELS, strict=True)}


def test_arrays_are_as_the_same_images_in_idx_files(tmp_path):
  labels = (np.arange(60) % 10).astype(np.uint8)
  write(tmp_path, IMAGES, labels)
  config = config_of('mnist', tmp_path, conditional=False)
  read = mnist.read_split(*mnist.find(tmp_path, 'mnist')['train'])
  from_files = DATASETS['mnist'](config.data)
  source = arrays.source_of({'train': (read.images, read.labels), 'test': (IMAGES, labels)})
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


def load(path, **changes):
  return datasets.load(config_of('arrays', path, data__num_classes=0, **changes))


def save(path, arrays, compress=False):
  path.parent.mkdir(exist_ok=True)
  if path.suffix == '.npz':
    (np.savez_compressed if compress else np.savez)(path, **arrays)
  else:
    path.mkdir()
    for name, array in arrays.items():
      np.save(path / f'{name}.npy', array)
  return path


MEDMNIST = {
  'train_images': IMAGES,
  'train_labels': LABELS[:, None],
  'val_images': IMAGES[:8],
  'val_labels': LABELS[:8, None],
  'test_images': IMAGES[8:20],
  'test_labels': LABELS[8:20, None],
}
KERAS = {'x_train': IMAGES, 'y_train': LABELS, 'x_test': IMAGES[:8], 'y_test': LABELS[:8]}


@pytest.mark.parametrize(
  ('name', 'arrays_in', 'counts'),
  [
    ('pneumonia.npz', MEDMNIST, [60, 8, 12]),
    ('mnist.npz', KERAS, [58, 2, 8]),
    ('mine.npz', {'images': IMAGES, 'labels': LABELS}, [56, 2, 2]),
    ('mine.npz', {'X': IMAGES / 255, 'y': LABELS}, [56, 2, 2]),
    ('alone.npz', {'arr_0': IMAGES}, [56, 2, 2]),
    ('folder', {'images': IMAGES, 'labels': LABELS}, [56, 2, 2]),
    ('folder', MEDMNIST, [60, 8, 12]),
    ('folder', {'kmnist-train-imgs': IMAGES, 'kmnist-train-labels': LABELS}, [56, 2, 2]),
  ],
  ids=range(8),
)
def test_the_arrays_of_a_file_or_folder(tmp_path, name, arrays_in, counts):
  path = save(tmp_path / 'data' / name, arrays_in)
  splits = load(path, conditional=False)
  assert [len(split.labels) for split in splits] == counts
  rows = np.concatenate([split.images for split in splits])
  assert {row.tobytes() for row in rows} == {image.tobytes() for image in IMAGES}
  if len(arrays_in) > 1:
    of_image = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert splits.train.class_names == ('0', '1', '2', '3')
    for images, labels, *_ in splits:
      assert [of_image[image.tobytes()] for image in images] == labels.tolist()


def test_a_folder_with_one_archive_and_others_passed_over(tmp_path, capsys):
  save(tmp_path / 'data' / 'a.npz', MEDMNIST | {'train_masks': IMAGES})
  assert len(load(tmp_path / 'data').train.labels) == 60
  assert 'train_masks' in capsys.readouterr().out


@pytest.mark.parametrize('form', ['npz', 'compressed', 'npy'])
def test_large_arrays_are_streamed_in_the_same_order(tmp_path, monkeypatch, form):
  name = 'a.npz' if form != 'npy' else 'folder'
  path = save(tmp_path / 'data' / name, MEDMNIST, compress=form == 'compressed')
  in_memory = load(path)
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 100)
  in_file = load(path)
  assert isinstance(in_file.train.images, file_rows.FileRows) is (form != 'compressed')
  assert datasets.fingerprint(*in_file) == datasets.fingerprint(*in_memory)
  np.testing.assert_array_equal(in_file.train.images[:6], in_memory.train.images[:6])


@pytest.mark.parametrize(
  ('arrays_in', 'message'),
  [
    ({'pictures': IMAGES, 'classes': LABELS}, 'no training images.*holds classes, pictures'),
    ({'images': IMAGES, 'x': IMAGES}, r'2 candidates for the train images: images, x'),
    ({'images': IMAGES, 'labels': LABELS, 'test_labels': LABELS}, 'test labels, but no test im'),
    ({'images': IMAGES, 'labels': LABELS[1:]}, '60 images, 59 labels'),
    ({'images': IMAGES * 1.0, 'labels': LABELS}, r'Divide by 255\?'),
    ({'images': IMAGES, 'labels': np.array([None] * 60)}, 'never unpickled'),
  ],
  ids=range(6),
)
@pytest.mark.parametrize('name', ['a.npz', 'folder'])
def test_other_arrays_are_refused(tmp_path, name, arrays_in, message):
  path = save(tmp_path / 'data' / name, arrays_in)
  with pytest.raises(InputError, match=message) as error:
    load(path)
  assert str(path) in str(error.value)


def test_other_files_are_refused(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'a.mat').touch()
  for place, message in (('', 'needs'), ('gone.npz', 'found'), ('a.mat', 'no'), ('empty', 'no')):
    with pytest.raises(InputError, match=f'{place}.*{message}.*npz'):
      load(tmp_path / place if place else '')
  for name in 'ab':
    save(tmp_path / 'two' / f'{name}.npz', KERAS)
  with pytest.raises(InputError, match=r'two holds 2 files, and a\.npz has several'):
    load(tmp_path / 'two')


@pytest.mark.data('medmnist')
def test_real_chest_x_rays(real_data):
  splits = load(real_data / 'pneumonia_subset.npz', data__image_size=28)
  assert [np.bincount(split.labels).tolist() for split in splits] == [
    [388, 3494],
    [135, 389],
    [234, 390],
  ]
