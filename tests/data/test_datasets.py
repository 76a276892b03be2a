"""Which images are in which split, and in which size."""

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data.datasets import fingerprint, load
from cvae_jax.runtime.errors import InputError
from tiny import tiny_config


def test_digits_split_as_documented():
  parts = load(tiny_config(data__max_examples=0, data__validation_examples=200))
  assert [len(part.labels) for part in parts] == [1297, 200, 300]
  for part in parts:
    assert part.images.shape[1:] == (8, 8, 1)
    assert part.images.dtype == np.uint8
    assert np.ptp(np.bincount(part.labels) / len(part.labels)) < 0.02  # stratified
  assert parts.train.images.max() == 255


def test_digits_are_resized():
  assert load(tiny_config(data__image_size=28)).train.images.shape[1:] == (28, 28, 1)


def rows(dataset):
  return [image.tobytes() for image in dataset.images]


def test_split_seed_moves_the_validation_set_and_nothing_else():
  one, two = (load(tiny_config(data__split_seed=seed)) for seed in (0, 1))
  assert set(rows(one.validation)) != set(rows(two.validation))
  assert rows(one.test) == rows(two.test)
  same = load(tiny_config(seed=5))
  assert rows(same.train) == rows(one.train)


def test_max_examples_keeps_the_first_of_the_same_order():
  few, more = (load(tiny_config(data__max_examples=count)) for count in (50, 70))
  assert rows(few.train) == rows(more.train)[:50]
  assert rows(few.validation) == rows(more.validation)
  assert rows(few.test) == rows(more.test)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data__channels': 3}, 'data.channels=3, but the images .* have 1'),
    ({'data__validation_examples': 1490}, r'cannot be split off 1,497 .* expected 10 to 1487'),
    ({'data__validation_examples': 5}, r'cannot be split off 1,497 .* expected 10 to 1487'),
    ({'batch_size': 101}, 'batch_size=101 is more than the 100 training images'),
  ],
)
def test_data_that_does_not_fit_the_config(changes, message):
  with pytest.raises(InputError, match=message):
    load(tiny_config(**changes))


def test_a_trial_takes_few_images_of_each_split():
  parts = load(tiny_config(), at_most=40)
  assert [len(part.labels) for part in parts] == [40, 40, 40]
  whole = load(tiny_config())
  assert rows(parts.train) == rows(whole.train)[:40]


def write_pictures(folder, counts):
  """Pictures of one grey value each, 40 + 20 × class, of other sizes."""
  for place, count in counts.items():
    (folder / place).mkdir(parents=True)
    level = 40 + 20 * int(place[-1])
    for number in range(count):
      image = Image.new('L', (20 + number, 30), level)
      image.save(folder / place / f'{number}.png')


def folder_config(folder, num_classes=2, **changes):
  config = tiny_config(data__name='folder', batch_size=2, data__dir=str(folder), **changes)
  config.data.max_examples = 0
  config.data.num_classes = num_classes
  config.data.validation_examples = 3
  return config


def assert_labels_fit(parts):
  for part in parts:
    levels = part.images.reshape(len(part.labels), -1)
    expected = np.broadcast_to(40 + 20 * part.labels[:, None], levels.shape)
    np.testing.assert_array_equal(levels, expected)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
  """The cache of decoded pictures in a folder of the test's own."""
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
def test_a_folder_is_split_as_it_lies_or_by_the_seed(tmp_path, layout, sizes):
  write_pictures(tmp_path / 'mine', layout)
  parts = load(folder_config(tmp_path / 'mine'))
  assert [len(part.labels) for part in parts] == sizes
  assert parts.train.class_names == ('a0', 'b1')
  assert_labels_fit(parts)
  assert (np.diff(parts.train.labels) < 0).any()  # no class after the other


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
def test_a_broken_picture_stops_or_is_left_out(tmp_path, capsys):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  broken = tmp_path / 'mine' / 'a0' / '3.png'
  broken.write_bytes(b'no picture')
  with pytest.raises(InputError, match=r'a0/3\.png cannot be read .*skip_broken=True'):
    load(folder_config(tmp_path / 'mine'))
  parts = load(folder_config(tmp_path / 'mine', data__skip_broken=True))
  assert sum(len(part.labels) for part in parts) == 16
  assert_labels_fit(parts)
  assert f'{broken}' in capsys.readouterr().out


@pytest.mark.usefixtures('own_cache')
def test_a_split_of_which_nothing_can_be_read(tmp_path):
  write_pictures(tmp_path / 'mine', {'train/a0': 9, 'test/a0': 1})
  (tmp_path / 'mine' / 'test' / 'a0' / '0.png').write_bytes(b'')
  config = folder_config(tmp_path / 'mine', 1, data__skip_broken=True)
  with pytest.raises(InputError, match='No picture of the test split'):
    load(config)


def test_a_trial_does_with_what_can_be_read(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 30, 'b1': 30})
  for path in sorted((tmp_path / 'mine' / 'a0').iterdir())[:20]:
    path.write_bytes(b'')
  parts = load(folder_config(tmp_path / 'mine', data__skip_broken=True), at_most=30)
  assert len(parts.train.labels) == 30


def test_the_labels_of_an_unconditional_model_need_no_count(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  config = folder_config(tmp_path / 'mine', num_classes=0, conditional=False)
  assert load(config, at_most=2).train.class_names == ('a0', 'b1')


def test_the_number_of_classes_must_be_the_config_s(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 9, 'b1': 8})
  with pytest.raises(InputError, match=r'num_classes=3, but .folder. has 2.*num_classes=2'):
    load(folder_config(tmp_path / 'mine', num_classes=3))


def test_a_folder_must_be_named():
  with pytest.raises(InputError, match='needs a folder of pictures'):
    load(folder_config(''))


def test_a_share_for_validation_and_for_testing_must_leave_some(tmp_path):
  write_pictures(tmp_path / 'mine', {'a0': 3, 'b1': 3})
  with pytest.raises(InputError, match=r'as many for testing leave none of 6 .* expected 1 to 2'):
    load(folder_config(tmp_path / 'mine'))


def test_a_fingerprint_is_that_of_images_labels_and_names():
  part = load(tiny_config(), at_most=40).train
  same = fingerprint(part._replace(images=part.images.copy()))
  assert fingerprint(part) == same
  changed = part.images.copy()
  changed[3, 2, 1] ^= 1
  others = [
    part._replace(images=changed),
    part._replace(labels=part.labels[::-1]),
    part._replace(class_names=tuple('abcdefghij')),
    part._replace(images=part.images.reshape(40, 4, 16, 1)),
  ]
  assert len({same, *(fingerprint(other) for other in others)}) == 5
