"""Folders prepared by TensorFlow Datasets."""

import shutil

import numpy as np
import pytest

from configs import mnist
from conftest import DATA
from cvae_jax.data.datasets import load
from cvae_jax.data.readers import tfds
from cvae_jax.runtime.errors import InputError


def test_finds_the_newest_version(tmp_path):
  for version in ('3.0.1', '3.0.10', 'incomplete.3.0.11'):
    (tmp_path / 'mnist' / version).mkdir(parents=True)
    (tmp_path / 'mnist' / version / 'dataset_info.json').write_text('{}')
  assert tfds.find(tmp_path, 'mnist').name == '3.0.10'
  assert tfds.find(tmp_path, 'fashion_mnist') is None


@pytest.mark.data('tensorflow_datasets')
@pytest.mark.slow
def test_real_mnist_is_the_same_run_as_from_idx_files(real_data):
  """The two forms hold the images in different orders; a run must not notice."""
  config = mnist.get_config()
  splits = []
  for folder in (real_data, DATA / 'mnist'):
    config.data.dir = str(folder)
    splits.append(load(config))
  for prepared, raw in zip(*splits, strict=True):
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
  with pytest.raises(InputError, match=r'3\.0\.1 cannot be read|is truncated'):
    tfds.read(folder, 'the files', ('train', 'test'))


def test_a_folder_that_is_none(tmp_path):
  (tmp_path / 'dataset_info.json').write_text('{}')
  with pytest.raises(InputError, match='cannot be read'):
    tfds.read(tmp_path, 'the files', ('train', 'test'))
