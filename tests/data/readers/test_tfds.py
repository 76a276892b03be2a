"""Data sets prepared by TensorFlow Datasets: found, downloaded, read."""

import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from configs import mnist
from conftest import DATA
from cvae_jax.config import Column
from cvae_jax.data.datasets import load
from cvae_jax.data.readers import DATASETS, decoding, tfds
from cvae_jax.runtime import quiet_tensorflow
from cvae_jax.runtime.errors import InputError
from idx_files import write
from made_data import config_of


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  """No test of this module reaches the network: a download fails like this."""

  def refuse(*_, **__):
    raise OSError('no network in tests')

  monkeypatch.setattr(socket, 'getaddrinfo', refuse)


@pytest.fixture
def builder(monkeypatch):
  """A server that answers, and a builder of TensorFlow Datasets that calls `prepare(version)`."""
  import requests
  import tensorflow_datasets

  class Answer:
    def raise_for_status(self):
      pass

  class Builder:
    def __init__(self, name, data_dir):
      self.version = Path(data_dir) / name / '3.0.1'

    def download_and_prepare(self):
      self.prepare(self.version)

  monkeypatch.setattr(requests, 'head', lambda *_, **__: Answer())
  monkeypatch.setattr(tensorflow_datasets, 'builder', Builder)
  return Builder


def make_version(folder):
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text('{}')


def test_the_newest_version_is_found(tmp_path):
  for version in ('3.0.1', '3.0.10', 'incomplete.3.0.11'):
    make_version(tmp_path / 'mnist' / version)
  assert tfds.find(tmp_path, 'mnist').name == '3.0.10'
  assert tfds.find(tmp_path / 'mnist', 'mnist').name == '3.0.10'
  assert tfds.find(tmp_path, 'fashion_mnist') is None


@pytest.mark.parametrize('exists', [True, False])
def test_a_failed_download_says_what_else_to_do_and_leaves_nothing(tmp_path, exists):
  folder = tmp_path / 'not' / 'yet'
  if exists:
    folder.mkdir(parents=True)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match=r'mnist.*download failed.*IDX files.*--config.data.dir'):
    load(config_of('mnist', folder))
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('exists', [True, False])
def test_an_interrupted_download_leaves_nothing(tmp_path, builder, exists):
  def prepare(_, version):
    (version.parent.parent / 'downloads').mkdir(parents=True)
    (version.parent.parent / 'downloads' / 'half').write_text('...')
    raise OSError('connection reset')

  builder.prepare = prepare
  folder = tmp_path / 'datasets'
  if exists:
    make_version(folder / 'other' / '1.0.0')
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match=r'mnist.*connection reset'):
    load(config_of('mnist', folder))
  assert sorted(tmp_path.rglob('*')) == before


def test_a_complete_download_is_moved_into_place(tmp_path, builder, monkeypatch):
  for name in ('lost+found', '@eaDir', '.Trash-1000'):  # a disk of its own, on a network drive
    (tmp_path / 'new' / name).mkdir(parents=True)
  builder.prepare = lambda _, version: make_version(version)
  monkeypatch.setattr(tfds, 'read', lambda version_folder: version_folder)
  data = config_of('mnist', tmp_path / 'new').data
  found = tfds.load(data, lambda _: None, None, 'the files', 'https://example.org/file')
  assert found == tmp_path / 'new' / 'mnist' / '3.0.1'
  names = {path.name for path in (tmp_path / 'new').iterdir()}
  assert names == {'mnist', 'lost+found', '@eaDir', '.Trash-1000'}


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
  import requests

  def answer_late(*_, **__):
    time.sleep(2)
    raise requests.ConnectionError

  monkeypatch.setattr(tfds, 'ANSWER_TIMEOUT_SECONDS', 0.2)
  monkeypatch.setattr(requests, 'head', answer_late)
  began = time.monotonic()
  with pytest.raises(InputError, match='no answer from storage'):
    load(config_of('mnist', tmp_path))
  assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
  ('name', 'raw_files'),
  [
    ('mnist', 'train-images-idx3-ubyte.gz'),
    ('cifar10', 'cifar-10-batches-py/'),
    ('celeba', 'list_attr_celeba.txt'),
  ],
)
def test_nothing_is_downloaded_into_a_folder_of_other_files(tmp_path, monkeypatch, name, raw_files):
  (tmp_path / 'thesis.tex').write_text('')
  monkeypatch.setattr(tfds, '_download', None)
  with pytest.raises(InputError, match=rf'data\.dir=.*thesis\.tex.*{name}.*{raw_files}'):
    load(config_of(name, tmp_path))


def test_without_tensorflow_raw_files_are_read_or_asked_for(tmp_path, monkeypatch):
  make_version(tmp_path / 'mnist' / '3.0.1')
  monkeypatch.setattr(quiet_tensorflow, 'installed', lambda *_: False)
  with pytest.raises(InputError, match=r'3\.0\.1 .*TensorFlow.* IDX files'):
    load(config_of('mnist', tmp_path))
  write(tmp_path)
  assert len(load(config_of('mnist', tmp_path, conditional=False)).test.labels) == 7


def write_prepared(folder, name, shape, sizes, columns, examples):
  """Has TensorFlow Datasets itself write a data set, in the layout of its builder `name`."""
  with quiet_tensorflow.quiet():
    import tensorflow_datasets

    features = tensorflow_datasets.features
    columns = {'image': features.Image(shape=shape), **columns(features)}
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
      name=name,
      version='3.0.2',
      features=features.FeaturesDict(columns),
      split_datasets={split: list(enumerate(examples(size))) for split, size in sizes.items()},
      data_dir=str(folder),
    )


def test_prepared_cifar10(tmp_path):
  def examples(size):
    for number in range(size):
      yield {'image': np.full((32, 32, 3), number, np.uint8), 'label': number}

  write_prepared(
    tmp_path,
    'cifar10',
    (32, 32, 3),
    {'train': 6, 'test': 3},
    lambda features: {'label': features.ClassLabel(num_classes=10)},
    examples,
  )
  splits = load(config_of('cifar10', tmp_path, data__channels=3, conditional=False))
  assert [len(split.labels) for split in splits] == [4, 2, 3]
  for images, labels, *_ in splits:
    np.testing.assert_array_equal(images, np.tile(labels[:, None, None, None], (1, 8, 8, 3)))


def test_prepared_celeba(tmp_path):
  """Pictures with the attribute have bright stripes in the central 140 pixels and no other."""
  bright = np.zeros((218, 178, 3), np.uint8)
  bright[39:179, 19:159], bright[39:179, 20:159:2] = 200, 255

  def examples(size):
    for number in range(size):
      has_attribute = number % 2 == 1
      attributes = {'Smiling': True, 'Young': has_attribute}
      yield {'image': bright * np.uint8(has_attribute), 'attributes': attributes}

  write_prepared(
    tmp_path,
    'celeba',
    (218, 178, 3),
    {'train': 6, 'validation': 3, 'test': 3},
    lambda _: {'attributes': {'Smiling': np.bool_, 'Young': np.bool_}},
    examples,
  )
  config = config_of('celeba', tmp_path, data__channels=3, data__num_classes=2)
  config.data.label_attribute, config.data.crop_size = 'Young', 140
  splits = load(config)
  assert [len(split.labels) for split in splits] == [6, 3, 3]
  assert splits.train.class_names == ('not Young', 'Young')
  for images, labels, *_ in splits:
    assert images.shape[1:] == (8, 8, 3)
    np.testing.assert_array_equal(images.mean((1, 2, 3)) > 128, labels == 1)
    assert images[labels == 1].min() >= 200
  config.data.crop_size = 4  # enlarged to 8
  for images, labels, *_ in load(config):
    expected = decoding.fit(
      bright[None] * labels[:, None, None, None].astype(np.uint8), decoding.Geometry(8, 8, 4, 1)
    )
    np.testing.assert_array_equal(images, expected)
  config.data.conditions = 'all'
  source = DATASETS['celeba'](config.data)
  assert source.columns == (Column('Smiling', 'flag'), Column('Young', 'flag'))
  for split in source.splits.values():
    is_young = split.images.mean((1, 2, 3)) > 128
    np.testing.assert_array_equal(split.cells, np.stack([is_young | True, is_young], axis=1))
  config.data.conditions = 'Yong'
  with pytest.raises(InputError, match=r"'Yong'.*Did you mean 'Young'"):
    load(config)
  config.data.conditions, config.data.label_attribute = '', 'Yong'
  with pytest.raises(InputError, match=r"'Yong'.*Did you mean 'Young'"):
    load(config)


@pytest.mark.data('tensorflow_datasets')
@pytest.mark.slow
def test_real_mnist_is_the_same_run_as_from_idx_files(real_data):
  """Both forms hold the same images in different orders; a run must not depend on the form."""
  config = mnist.get_config()
  loaded = []
  for folder in (real_data, DATA / 'mnist'):
    config.data.dir = str(folder)
    loaded.append(load(config))
  for prepared, raw in zip(*loaded, strict=True):
    np.testing.assert_array_equal(prepared.images, raw.images)
    np.testing.assert_array_equal(prepared.labels, raw.labels)


@pytest.mark.slow
@pytest.mark.data('tensorflow_datasets')
def test_truncated_records_are_named(real_data, tmp_path):
  folder = tmp_path / 'mnist' / '3.0.1'
  shutil.copytree(real_data / 'mnist' / '3.0.1', folder)
  records = folder / 'mnist-test.tfrecord-00000-of-00001'
  records.chmod(0o644)
  with open(records, 'r+b') as file:
    file.truncate(100_000)
  with pytest.raises(InputError, match=r'3\.0\.1'):
    tfds.read(folder, ('train', 'test'))


def test_a_broken_folder_is_named(tmp_path):
  (tmp_path / 'dataset_info.json').write_text('{}')
  with pytest.raises(InputError, match=str(tmp_path)):
    tfds.read(tmp_path, ('train', 'test'))
