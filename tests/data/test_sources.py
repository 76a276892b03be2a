"""Where sets are found, how they split, and what is said where they are not."""

import socket
import time
from pathlib import Path

import numpy as np
import pytest

from configs import mnist
from cvae_jax.data import sources, tfds
from cvae_jax.errors import InputError
from idx_files import write
from tiny import tiny_config


def mnist_config(folder, **changes):
  return tiny_config(
    data__name='mnist',
    data__validation_examples=2,
    data__max_examples=0,
    batch_size=2,
    data__dir=str(folder),
    **changes,
  )


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  """No test of this module may reach out; where a download is tried, it fails like this."""

  def refuse(*_, **__):
    raise OSError('no network in tests')

  monkeypatch.setattr(socket, 'getaddrinfo', refuse)


def test_digits_split_as_documented():
  splits = sources.load(tiny_config(data__max_examples=0, data__validation_examples=200))
  assert [len(split.labels) for split in splits] == [1297, 200, 300]
  for split in splits:
    assert split.images.shape[1:] == (8, 8, 1)
    assert split.images.dtype == np.uint8
    assert np.ptp(np.bincount(split.labels) / len(split.labels)) < 0.02  # stratified
  assert splits.train.images.max() == 255


def test_digits_are_resized():
  assert sources.load(tiny_config(data__image_size=28)).train.images.shape[1:] == (28, 28, 1)


def rows(dataset):
  return [image.tobytes() for image in dataset.images]


def test_split_seed_moves_the_validation_set_and_nothing_else():
  one, two = (sources.load(tiny_config(data__split_seed=seed)) for seed in (0, 1))
  assert set(rows(one.validation)) != set(rows(two.validation))
  assert rows(one.test) == rows(two.test)
  same = sources.load(tiny_config(seed=5))
  assert rows(same.train) == rows(one.train)


def test_max_examples_keeps_the_first_of_the_same_order():
  few, more = (sources.load(tiny_config(data__max_examples=count)) for count in (50, 70))
  assert rows(few.train) == rows(more.train)[:50]
  assert rows(few.validation) == rows(more.validation)
  assert rows(few.test) == rows(more.test)


@pytest.mark.parametrize('inside', ['.', 'mnist'])
def test_idx_files_are_found_in_the_folder_or_one_named_after_the_set(tmp_path, inside):
  write(tmp_path)
  if inside == 'mnist':
    tmp_path = tmp_path.rename(tmp_path.with_name('mnist')).parent
  splits = sources.load(mnist_config(tmp_path))
  assert (len(splits.train.labels), len(splits.validation.labels)) == (5, 2)
  assert len(splits.test.labels) == 7


def test_the_default_folder_comes_from_the_environment(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert len(sources.load(mnist_config('')).test.labels) == 7


@pytest.mark.parametrize('exists', [True, False])
def test_a_failed_download_says_what_else_to_do_and_leaves_nothing(tmp_path, exists):
  folder = tmp_path / 'not' / 'yet'
  if exists:
    folder.mkdir(parents=True)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match=r'download failed .* the four IDX files .* prepared by'):
    sources.load(mnist_config(folder))
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('exists', [True, False])
def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, exists):
  import requests
  import tensorflow_datasets

  class Builder:
    def __init__(self, name, data_dir):
      self.folder = Path(data_dir) / name

    def download_and_prepare(self):
      (self.folder.parent / 'downloads').mkdir(parents=True)
      (self.folder.parent / 'downloads' / 'half').write_text('...')
      raise OSError('connection reset')

  class Answer:
    def raise_for_status(self):
      pass

  monkeypatch.setattr(requests, 'head', lambda *_, **__: Answer())
  monkeypatch.setattr(tensorflow_datasets, 'builder', Builder)
  folder = tmp_path / 'sets'
  if exists:
    (folder / 'other' / '1.0.0').mkdir(parents=True)
    (folder / 'other' / '1.0.0' / 'dataset_info.json').write_text('{}')
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match='failed: connection reset'):
    sources.load(mnist_config(folder))
  assert sorted(tmp_path.rglob('*')) == before


def test_a_place_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
  import requests

  def answer_late(*_, **__):
    time.sleep(2)
    raise requests.ConnectionError

  monkeypatch.setattr(tfds, 'ANSWER_TIMEOUT_SECONDS', 0.2)
  monkeypatch.setattr(requests, 'head', answer_late)
  began = time.monotonic()
  with pytest.raises(InputError, match=r'download failed \(no answer from storage'):
    sources.load(mnist_config(tmp_path))
  assert time.monotonic() - began < 1.5


def test_a_complete_download_is_moved_into_place(tmp_path, monkeypatch):
  import requests
  import tensorflow_datasets

  class Builder:
    def __init__(self, name, data_dir):
      self.version = Path(data_dir) / name / '3.0.1'

    def download_and_prepare(self):
      self.version.mkdir(parents=True)
      (self.version / 'dataset_info.json').write_text('{}')

  class Answer:
    def raise_for_status(self):
      pass

  monkeypatch.setattr(requests, 'head', lambda *_, **__: Answer())
  monkeypatch.setattr(tensorflow_datasets, 'builder', Builder)
  assert tfds.download(tmp_path / 'new', 'mnist') == tmp_path / 'new' / 'mnist' / '3.0.1'
  assert [path.name for path in (tmp_path / 'new').iterdir()] == ['mnist']


def test_a_stray_file_does_not_hide_a_whole_set(tmp_path):
  write(tmp_path / 'mnist')
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(b'')
  assert len(sources.load(mnist_config(tmp_path)).test.labels) == 7
  (tmp_path / 'mnist' / 'train-images-idx3-ubyte.gz').unlink()
  with pytest.raises(InputError, match='holds some of the four IDX files'):
    sources.load(mnist_config(tmp_path))


def test_a_folder_of_other_things_is_refused_at_once(tmp_path, monkeypatch):
  (tmp_path / 'thesis.tex').write_text('')
  monkeypatch.setattr(tfds, 'download', None)
  with pytest.raises(InputError, match=r'holds other files \(thesis.tex\), but no .mnist.'):
    sources.load(mnist_config(tmp_path))


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='is a file, expected a folder'):
    sources.load(mnist_config(tmp_path / 'file'))


def test_the_folder_of_another_set_is_refused(tmp_path):
  write(tmp_path / 'fashion_mnist')
  with pytest.raises(InputError, match='named after another set'):
    sources.load(mnist_config(tmp_path / 'fashion_mnist'))


def test_labels_outside_the_classes_are_refused(tmp_path):
  write(tmp_path, labels=np.array([0, 1, 2, 3, 4, 5, 77], np.uint8))
  with pytest.raises(InputError, match='label 77, expected 0 to 9'):
    sources.load(mnist_config(tmp_path))


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
    sources.load(tiny_config(**changes))


def test_prepared_sets_without_tensorflow_name_the_other_way(tmp_path, monkeypatch):
  version = tmp_path / 'mnist' / '3.0.1'
  version.mkdir(parents=True)
  (version / 'dataset_info.json').write_text('{}')
  monkeypatch.setattr(tfds, 'readable', lambda: False)
  with pytest.raises(InputError, match=r'cannot be read without TensorFlow.* IDX files'):
    sources.load(mnist_config(tmp_path))
  write(tmp_path)  # with the files beside it, those are read
  assert len(sources.load(mnist_config(tmp_path)).test.labels) == 7


def real_config(folder):
  config = mnist.get_config()
  config.data.dir = str(folder)
  return config


@pytest.mark.data('fashion_mnist')
def test_real_fashion_mnist(real_data):
  config = real_config(real_data)
  config.data.name = 'fashion_mnist'
  splits = sources.load(config)
  assert [len(split.labels) for split in splits] == [55_000, 5_000, 10_000]
  assert splits.train.class_names[9] == 'Ankle boot'
