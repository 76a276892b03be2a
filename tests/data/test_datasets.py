"""Which images are in which split, and in which size."""

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data.datasets import (
  FEW_IMAGES,
  Dataset,
  Splits,
  class_counts,
  fingerprint,
  load,
)
from cvae_jax.data.readers import DATASETS, Source, Split, file_rows
from cvae_jax.runtime.errors import InputError
from idx_files import write
from made_data import config_of
from tiny import tiny_config


def test_traits_of_data_sets():
  def having(trait, default, value):
    return {name for name in DATASETS if DATASETS.trait(name, trait, default) is value}

  assert having('binary', False, True) == {'binarized_mnist'}
  assert having('mirrored', False, True) == {'fashion_mnist', 'cifar10', 'celeba'}
  assert having('own_test_split', True, False) == {'arrays', 'digits', 'folder', 'idx', 'parquet'}


def test_a_data_set_of_the_user_s(monkeypatch):
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))

  @DATASETS.register('ramps')
  def ramps(data):
    labels = np.arange(40, dtype=np.int32) % 2
    images = np.broadcast_to(labels[:, None, None, None] * np.uint8(200), (40, 9, 9, 1))
    return Source({'train': Split(images, labels)}, ('dark', 'bright'))

  config = config_of('ramps', '', data__num_classes=2, data__validation_examples=5)
  splits = load(config)
  assert [len(split.labels) for split in splits] == [30, 5, 5]
  for images, labels, *_ in splits:
    np.testing.assert_array_equal(images, np.tile(200 * labels[:, None, None, None], (8, 8, 1)))


def source_of(labels, class_names, monkeypatch):
  """Registers 'sorted': images whose pixels are the number of their class, in the order given."""
  monkeypatch.setattr(DATASETS, '_entries', dict(DATASETS._loaded()))
  images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), 8, 8, 1))
  DATASETS.register('sorted')(lambda data: Source({'train': Split(images, labels)}, class_names))


def test_a_source_that_lies_class_by_class_is_shuffled(monkeypatch):
  source_of(np.repeat(np.arange(3, dtype=np.int32), 100), ('a', 'b', 'c'), monkeypatch)
  splits = load(config_of('sorted', '', data__num_classes=3, data__max_examples=60))
  assert np.bincount(splits.train.labels).min() >= 10
  np.testing.assert_array_equal(splits.train.images[:, 0, 0, 0], splits.train.labels)


def test_a_class_without_training_images_is_refused(monkeypatch):
  labels = np.r_[np.zeros(200, np.int32), np.ones(1, np.int32)]
  source_of(labels, ('many', 'one'), monkeypatch)
  fields = {'data__num_classes': 2, 'data__split_seed': 1}
  assert set(load(config_of('sorted', '', **fields)).train.labels) == {0, 1}
  with pytest.raises(InputError, match=r"'one'.*--config\.data\.max_examples=9"):
    load(config_of('sorted', '', **fields, data__max_examples=9))
  splits = load(config_of('sorted', '', **fields, data__max_examples=9, conditional=False))
  assert set(splits.train.labels) == {0}


def test_a_class_that_the_other_splits_took_names_their_size(monkeypatch):
  labels = np.r_[np.zeros(40, np.int32), np.ones(1, np.int32)]
  source_of(labels, ('many', 'one'), monkeypatch)
  fields = {'data__num_classes': 2, 'data__validation_examples': 15}
  refused = []
  for seed in range(8):
    try:
      load(config_of('sorted', '', data__split_seed=seed, **fields))
    except InputError as error:
      refused.append(str(error))
  assert 0 < len(refused) < 8
  for text in refused:
    assert '--config.data.validation_examples' in text
    assert '--config.data.split_seed' in text


def test_images_of_each_class_are_counted_and_few_are_named():
  def split(*counts):
    return Dataset(None, np.repeat(np.arange(len(counts)), counts), ('cat', 'dog'))

  lines = class_counts(Splits(split(30, FEW_IMAGES - 1), split(4, 0), split(0, 5)))
  assert 'cat 30/4/0, dog 19/0/5' in lines[0]
  assert "'dog' (19)" in lines[1]
  assert 'cat' not in lines[1]
  assert len(class_counts(Splits(*[split(FEW_IMAGES, FEW_IMAGES)] * 3))) == 1


def test_a_tenth_of_a_small_set_is_held_out_of_each_class_for_each_missing_split(monkeypatch):
  source_of(np.repeat(np.arange(3, dtype=np.int32), (100, 50, 10)), ('a', 'b', 'c'), monkeypatch)
  splits = load(config_of('sorted', '', data__num_classes=0, data__validation_examples=0))
  counts = [np.bincount(split.labels).tolist() for split in splits]
  assert counts == [[80, 40, 8], [10, 5, 1], [10, 5, 1]]


def test_max_examples_limits_the_validation_too(monkeypatch):
  source_of(np.zeros(100, np.int32), ('a',), monkeypatch)
  fields = {'data__num_classes': 1, 'data__validation_examples': 20, 'data__max_examples': 10}
  assert [len(split.labels) for split in load(config_of('sorted', '', **fields))] == [10, 10, 20]


def test_digits_are_split_as_documented():
  splits = load(tiny_config(data__max_examples=0, data__validation_examples=200))
  assert [len(split.labels) for split in splits] == [1297, 200, 300]
  for split in splits:
    assert split.images.shape[1:] == (8, 8, 1)
    assert split.images.dtype == np.uint8
    assert np.ptp(np.bincount(split.labels) / len(split.labels)) < 0.02  # stratified
  assert splits.train.images.max() == 255


def test_digits_are_resized():
  assert load(tiny_config(data__image_size=28)).train.images.shape[1:] == (28, 28, 1)


def rows(dataset):
  return [image.tobytes() for image in dataset.images]


def test_split_seed_changes_the_validation_split_and_no_test_split():
  one, two = (load(tiny_config(data__split_seed=seed)) for seed in (0, 1))
  assert set(rows(one.validation)) != set(rows(two.validation))
  assert rows(one.test) == rows(two.test)
  same = load(tiny_config(seed=5))
  assert rows(same.train) == rows(one.train)


def test_max_examples_keeps_the_first_in_the_same_order():
  few, more = (load(tiny_config(data__max_examples=count)) for count in (50, 70))
  assert rows(few.train) == rows(more.train)[:50]
  assert rows(few.validation) == rows(more.validation)
  assert rows(few.test) == rows(more.test)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data__channels': 3}, "data.channels=3, .*'digits' have 1"),
    ({'data__validation_examples': 1490}, r'data.validation_examples=1490 .* 10 to 1487'),
    ({'data__validation_examples': 5}, r'data.validation_examples=5 .* 10 to 1487'),
    ({'batch_size': 101}, 'batch_size=101 .* 100 training images'),
  ],
)
def test_data_that_do_not_fit_the_config(changes, message):
  with pytest.raises(InputError, match=message):
    load(tiny_config(**changes))


def test_labels_outside_the_classes_are_refused(tmp_path):
  write(tmp_path, labels=np.array([0, 1, 2, 3, 4, 5, 77], np.uint8))
  with pytest.raises(InputError, match=r"'mnist' has a label 77, .* 0 to 9"):
    load(config_of('mnist', tmp_path))


def test_a_trial_has_few_images_of_each_split():
  splits = load(tiny_config(), at_most=40)
  assert [len(split.labels) for split in splits] == [40, 40, 40]
  whole = load(tiny_config())
  assert rows(splits.train) == rows(whole.train)[:40]


def write_pictures(folder, counts):
  """Writes pictures of one grey value each, 40 + 20 × class, in many sizes."""
  for place, count in counts.items():
    (folder / place).mkdir(parents=True)
    level = 40 + 20 * int(place[-1])
    for number in range(count):
      image = Image.new('L', (20 + number, 30), level)
      image.save(folder / place / f'{number}.png')


def folder_config(folder, num_classes=2, **changes):
  fields = {'data__num_classes': num_classes, 'data__validation_examples': 3}
  return config_of('folder', folder, **fields, **changes)


def assert_labels_fit(splits):
  for images, labels, *_ in splits:
    levels = images.reshape(len(labels), -1)
    expected = np.broadcast_to(40 + 20 * labels[:, None], levels.shape)
    np.testing.assert_array_equal(levels, expected)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
  """The cache of decoded pictures, in a folder of the test."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'cvae_jax' / 'pictures'


@pytest.mark.parametrize(
  ('layout', 'sizes'),
  [
    ({'a0': 9, 'b1': 8}, [11, 3, 3]),
    ({'train/a0': 9, 'train/b1': 8}, [11, 3, 3]),
    ({'training/a0': 9, 'training/b1': 8, 'testing/a0': 2, 'testing/b1': 2}, [14, 3, 4]),
    ({'train/a0': 4, 'train/b1': 5, 'val/a0': 1, 'val/b1': 1, 'test/b1': 2}, [9, 2, 2]),
  ],
)
@pytest.mark.usefixtures('own_cache')
def test_a_folder_is_split_as_it_is_or_by_the_seed(tmp_path, layout, sizes):
  write_pictures(tmp_path / 'mine', layout)
  splits = load(folder_config(tmp_path / 'mine'))
  assert [len(split.labels) for split in splits] == sizes
  assert splits.train.class_names == ('a0', 'b1')
  assert_labels_fit(splits)
  assert (np.diff(splits.train.labels) < 0).any()  # classes are mixed


def test_pictures_are_decoded_once_whatever_the_split(tmp_path, own_cache):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  one = load(folder_config(tmp_path / 'mine'))
  two = load(folder_config(tmp_path / 'mine', data__split_seed=1))
  assert len(list(own_cache.iterdir())) == 1
  assert not np.array_equal(one.train.labels, two.train.labels)


def test_a_trial_leaves_no_cache(tmp_path, own_cache):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  load(folder_config(tmp_path / 'mine'), at_most=2)
  assert not own_cache.exists()


@pytest.mark.usefixtures('own_cache')
def test_a_broken_picture_is_an_error_or_skipped(tmp_path, capsys):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  broken = tmp_path / 'mine' / 'a0' / '3.png'
  broken.write_bytes(b'no picture')
  with pytest.raises(InputError, match=r'a0/3\.png .*skip_broken=True'):
    load(folder_config(tmp_path / 'mine'))
  splits = load(folder_config(tmp_path / 'mine', data__skip_broken=True))
  assert sum(len(split.labels) for split in splits) == 16
  assert_labels_fit(splits)
  assert f'{broken}' in capsys.readouterr().out


@pytest.mark.usefixtures('own_cache')
def test_a_split_without_readable_pictures_is_refused(tmp_path):
  write_pictures(tmp_path / 'mine', {'train/a0': 9, 'test/a0': 1})
  (tmp_path / 'mine' / 'test' / 'a0' / '0.png').write_bytes(b'')
  config = folder_config(tmp_path / 'mine', 1, data__skip_broken=True)
  with pytest.raises(InputError, match=f'test split .*{tmp_path}'):
    load(config)


def test_a_trial_skips_broken_pictures(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 30, 'b1': 30})
  for path in sorted((tmp_path / 'mine' / 'a0').iterdir())[:20]:
    path.write_bytes(b'')
  splits = load(folder_config(tmp_path / 'mine', data__skip_broken=True), at_most=30)
  assert len(splits.train.labels) == 30


def test_an_unconditional_model_needs_no_number_of_classes(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  config = folder_config(tmp_path / 'mine', num_classes=0, conditional=False)
  assert load(config, at_most=2).train.class_names == ('a0', 'b1')


@pytest.mark.parametrize('place', ['.', 'train'])
def test_pictures_without_class_folders_are_for_unconditional_models(tmp_path, place):
  write_pictures(tmp_path / 'mine', {f'{place}/a0': 12})
  folder = tmp_path / 'mine' / place
  for path in sorted((folder / 'a0').iterdir()):
    path.rename(folder / path.name)
  (folder / 'a0').rmdir()
  splits = load(folder_config(tmp_path / 'mine', num_classes=0, conditional=False), at_most=4)
  assert splits.train.class_names == ()
  assert (splits.train.images == 40).all()
  assert not splits.train.labels.any()
  with pytest.raises(InputError, match=r'conditional=False.*folder'):
    load(folder_config(tmp_path / 'mine'))


def test_pictures_are_fitted_as_the_config_says(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 12})  # grey, from 20×30 on
  mean = {}
  for fit in ('crop', 'stretch', 'pad'):
    config = folder_config(tmp_path / 'mine', 1, data__fit=fit)
    mean[fit] = load(config, at_most=4).train.images.mean()
  assert mean['crop'] == mean['stretch'] == 40
  assert 20 < mean['pad'] < 40


@pytest.mark.parametrize('fit', ['pad', 'stretch'])
def test_the_fit_of_square_images_changes_nothing(fit):
  usual, other = load(tiny_config()), load(tiny_config(data__fit=fit))
  np.testing.assert_array_equal(other.train.images, usual.train.images)


def test_the_number_of_classes_must_be_the_config_s(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  with pytest.raises(InputError, match=r'num_classes=3, .*num_classes=2'):
    load(folder_config(tmp_path / 'mine', num_classes=3))


def test_a_folder_must_be_named():
  with pytest.raises(InputError, match=r"data\.name='folder'.*--config\.data\.dir"):
    load(folder_config(''))


def test_held_out_images_must_leave_some_to_train_on(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 3, 'b1': 3})
  with pytest.raises(InputError, match=r'data.validation_examples=3 .* 6 images .* 1 to 2'):
    load(folder_config(tmp_path / 'mine'))


def test_a_fingerprint_depends_on_images_labels_and_names(monkeypatch):
  split = load(tiny_config(), at_most=40).train
  same = fingerprint(split._replace(images=split.images.copy()))
  assert fingerprint(split) == same
  monkeypatch.setattr(file_rows, 'PIECE_BYTES', 700)  # hashed in several pieces
  assert fingerprint(split) == same
  changed = split.images.copy()
  changed[3, 2, 1] ^= 1
  others = [
    split._replace(images=changed),
    split._replace(labels=split.labels[::-1]),
    split._replace(class_names=tuple('abcdefghij')),
    split._replace(images=split.images.reshape(40, 4, 16, 1)),
  ]
  assert len({same, *(fingerprint(other) for other in others)}) == 5
