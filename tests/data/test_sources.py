"""Where sets are found, and what is said where they are not."""

import socket
import time
from pathlib import Path

import numpy as np
import pytest

from configs import mnist
from cvae_jax.data.datasets import load
from cvae_jax.data.readers import tfds
from cvae_jax.runtime.errors import InputError
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


@pytest.mark.parametrize('inside', ['.', 'mnist'])
def test_idx_files_are_found_in_the_folder_or_one_named_after_the_set(tmp_path, inside):
  write(tmp_path)
  if inside == 'mnist':
    tmp_path = tmp_path.rename(tmp_path.with_name('mnist')).parent
  splits = load(mnist_config(tmp_path))
  assert (len(splits.train.labels), len(splits.validation.labels)) == (5, 2)
  assert len(splits.test.labels) == 7


def test_the_default_folder_comes_from_the_environment(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert len(load(mnist_config('')).test.labels) == 7


@pytest.mark.parametrize('exists', [True, False])
def test_a_failed_download_says_what_else_to_do_and_leaves_nothing(tmp_path, exists):
  folder = tmp_path / 'not' / 'yet'
  if exists:
    folder.mkdir(parents=True)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match=r'download failed .* the four IDX files .* prepared by'):
    load(mnist_config(folder))
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
    load(mnist_config(folder))
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
    load(mnist_config(tmp_path))
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
  assert (
    tfds.download(tmp_path / 'new', 'mnist', 'the files') == tmp_path / 'new' / 'mnist' / '3.0.1'
  )
  assert [path.name for path in (tmp_path / 'new').iterdir()] == ['mnist']


def test_a_stray_file_does_not_hide_a_whole_set(tmp_path):
  write(tmp_path / 'mnist')
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(b'')
  assert len(load(mnist_config(tmp_path)).test.labels) == 7
  (tmp_path / 'mnist' / 'train-images-idx3-ubyte.gz').unlink()
  with pytest.raises(InputError, match='holds some of the four IDX files'):
    load(mnist_config(tmp_path))


def test_a_folder_of_other_things_is_refused_at_once(tmp_path, monkeypatch):
  (tmp_path / 'thesis.tex').write_text('')
  monkeypatch.setattr(tfds, 'download', None)
  with pytest.raises(InputError, match=r'holds other files \(thesis.tex\), but no .mnist.'):
    load(mnist_config(tmp_path))


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='is a file, expected a folder'):
    load(mnist_config(tmp_path / 'file'))


def test_the_folder_of_another_set_is_refused(tmp_path):
  write(tmp_path / 'fashion_mnist')
  with pytest.raises(InputError, match='named after another set'):
    load(mnist_config(tmp_path / 'fashion_mnist'))


def test_labels_outside_the_classes_are_refused(tmp_path):
  write(tmp_path, labels=np.array([0, 1, 2, 3, 4, 5, 77], np.uint8))
  with pytest.raises(InputError, match='label 77, expected 0 to 9'):
    load(mnist_config(tmp_path))


def test_prepared_sets_without_tensorflow_name_the_other_way(tmp_path, monkeypatch):
  version = tmp_path / 'mnist' / '3.0.1'
  version.mkdir(parents=True)
  (version / 'dataset_info.json').write_text('{}')
  monkeypatch.setattr(tfds, 'readable', lambda: False)
  with pytest.raises(InputError, match=r'cannot be read without TensorFlow.* IDX files'):
    load(mnist_config(tmp_path))
  write(tmp_path)  # with the files beside it, those are read
  assert len(load(mnist_config(tmp_path)).test.labels) == 7


def real_config(folder):
  config = mnist.get_config()
  config.data.dir = str(folder)
  return config


@pytest.mark.data('fashion_mnist')
def test_real_fashion_mnist(real_data):
  config = real_config(real_data)
  config.data.name = 'fashion_mnist'
  splits = load(config)
  assert [len(part.labels) for part in splits] == [55_000, 5_000, 10_000]
  assert splits.train.class_names[9] == 'Ankle boot'


def cifar_config(folder, **changes):
  config = tiny_config(
    data__name='cifar10',
    data__channels=3,
    data__validation_examples=2,
    data__max_examples=0,
    batch_size=2,
    data__dir=str(folder),
  )
  for name, value in changes.items():
    config.data[name] = value
  return config


def write_binary_cifar(folder, labels=(0, 3, 9)):
  folder.mkdir(parents=True)
  rng = np.random.RandomState(0)
  for name in [f'data_batch_{number}' for number in range(1, 6)] + ['test_batch']:
    rows = rng.randint(0, 256, (len(labels), 3073), np.uint8)
    rows[:, 0] = labels
    (folder / f'{name}.bin').write_bytes(rows.tobytes())


@pytest.mark.parametrize('inside', ['cifar-10-batches-bin', 'cifar10/cifar-10-batches-bin'])
def test_cifar10_batches_are_found_and_resized(tmp_path, inside):
  write_binary_cifar(tmp_path / inside)
  parts = load(cifar_config(tmp_path))
  assert [len(part.labels) for part in parts] == [13, 2, 3]
  assert parts.train.images.shape[1:] == (8, 8, 3)
  assert parts.train.class_names[9] == 'truck'


def test_a_label_outside_the_classes_of_cifar10(tmp_path):
  write_binary_cifar(tmp_path / 'cifar-10-batches-bin', labels=(0, 3, 10))
  with pytest.raises(InputError, match='label 10, expected 0 to 9'):
    load(cifar_config(tmp_path))


def test_what_is_said_where_cifar10_is_not(tmp_path):
  (tmp_path / 'other').mkdir()
  with pytest.raises(InputError, match=r'or the python or binary batches \(cifar-10-batches-py/'):
    load(cifar_config(tmp_path))


@pytest.mark.parametrize('name', ['cifar10', 'celeba'])
def test_sets_prepared_by_tensorflow_datasets(tmp_path, name):
  """Written by TensorFlow Datasets itself, in the layout that its builders give these two sets."""
  write_prepared(tmp_path, name)
  config = cifar_config(tmp_path, name=name, num_classes=10 if name == 'cifar10' else 2)
  if name == 'celeba':
    config.data.label_attribute = 'Young'
    config.data.crop_size = 140
  parts = load(config)
  assert parts.train.images.shape[1:] == (8, 8, 3)
  if name == 'celeba':
    assert [len(part.labels) for part in parts] == [6, 3, 3]
    assert parts.train.class_names == ('not Young', 'Young')
    # Pictures of the attribute are bright within the centre of 140 pixels, and black around it.
    for part in parts:
      means = part.images.mean((1, 2, 3))
      np.testing.assert_array_equal(means > 128, part.labels == 1)
      assert part.images[part.labels == 1].min() == 200
    config.data.label_attribute = 'Yong'
    with pytest.raises(InputError, match="Did you mean 'Young'"):
      load(config)
  else:
    assert [len(part.labels) for part in parts] == [4, 2, 3]


def write_prepared(folder, name):
  from cvae_jax.runtime import quiet_tensorflow as tensorflow_runtime

  with tensorflow_runtime.quiet():
    import tensorflow_datasets

    features = tensorflow_datasets.features
    if name == 'cifar10':
      shape, sizes = (32, 32, 3), {'train': 6, 'test': 3}
      columns = {
        'image': features.Image(shape=shape),
        'label': features.ClassLabel(num_classes=10),
      }
    else:
      shape, sizes = (218, 178, 3), {'train': 6, 'validation': 3, 'test': 3}
      columns = {
        'image': features.Image(shape=shape),
        'attributes': {'Smiling': np.bool_, 'Young': np.bool_},
      }

    def examples(size):
      for number in range(size):
        image = np.zeros(shape, np.uint8)
        if name == 'cifar10':
          yield {'image': image + number, 'label': number}
        else:
          image[39:179, 19:159] = 200 * (number % 2)
          yield {'image': image, 'attributes': {'Smiling': True, 'Young': number % 2 == 1}}

    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
      name=name,
      version='3.0.2',
      features=features.FeaturesDict(columns),
      split_datasets={split: list(enumerate(examples(size))) for split, size in sizes.items()},
      data_dir=str(folder),
    )


def binarized_config(folder, **changes):
  config = cifar_config(folder, name='binarized_mnist', channels=1, image_size=28, num_classes=0)
  config.conditional = False
  for name, value in changes.items():
    config.data[name] = value
  return config


def write_binarized(folder):
  rng = np.random.RandomState(0)
  arrays = {
    name: rng.randint(0, 256, (size, 98), np.uint8)
    for name, size in (('train', 5), ('valid', 3), ('test', 2))
  }
  np.savez(folder / 'binarized_mnist.npz', **arrays)


def test_binarized_mnist_keeps_its_own_splits_and_has_no_classes(tmp_path):
  write_binarized(tmp_path)
  parts = load(binarized_config(tmp_path))
  assert [len(part.labels) for part in parts] == [5, 3, 2]
  assert set(np.unique(parts.train.images)) == {0, 255}
  assert parts.train.class_names == ()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'image_size': 32}, 'would not stay binary'),
  ],
)
def test_binarized_mnist_refuses_what_it_cannot_be(tmp_path, changes, message):
  write_binarized(tmp_path)
  with pytest.raises(InputError, match=message):
    load(binarized_config(tmp_path, **changes))


def test_a_conditional_model_needs_labels(tmp_path):
  write_binarized(tmp_path)
  config = binarized_config(tmp_path)
  config.conditional = True
  with pytest.raises(InputError, match=r'has no labels.* --config.conditional=False'):
    load(config)


def test_a_set_that_is_not_downloaded_says_so(tmp_path):
  with pytest.raises(InputError, match=r"no 'binarized_mnist', which is not downloaded: put"):
    load(binarized_config(tmp_path / 'nowhere'))
