"""Data that are not those that a run began with."""

import shutil

import pytest

from cvae_jax import config as config_lib
from cvae_jax.data.readers import DATASETS
from cvae_jax.runtime.errors import OccupiedError
from cvae_jax.training import loop
from tiny import tiny_config


def change_digits(monkeypatch, change):
  """Replaces the reader of 'digits': `change` maps its `Source` to another."""
  entry = DATASETS._entries['digits']
  changed = entry._replace(value=lambda data: change(entry.value(data)))
  monkeypatch.setitem(DATASETS._entries, 'digits', changed)


def with_other_pixels(splits):
  for split in splits.values():
    split.images[:, 0, 0] ^= 1
  return splits


def with_other_labels(splits):
  return {name: split._replace(labels=(split.labels + 1) % 10) for name, split in splits.items()}


def with_fewer_images(splits):
  return splits | {'train': splits['train'].take(slice(130))}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (with_other_pixels, 'as many images with the same labels, but other pixels'),
    (with_other_labels, 'as many images, but other labels, or in another order'),
    (with_fewer_images, '100 training images then, 80 now'),
  ],
)
def test_changed_data_are_no_resumption(change, message, tiny_run, tmp_path, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  change_digits(monkeypatch, lambda source: source._replace(splits=change(source.splits)))
  with pytest.raises(OccupiedError, match=f'holds a run on other data: {message}'):
    loop.train(tiny_config(), run)
  after = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  assert after | {run / '.lock': b''} == before | {run / '.lock': b''}


def test_other_classes_are_no_resumption(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'run')
  others = tuple('abcdefghij')
  change_digits(monkeypatch, lambda source: source._replace(class_names=others))
  with pytest.raises(OccupiedError, match=r'a run on other data: its classes are 0, 1'):
    loop.train(tiny_config(), tmp_path / 'run')
  assert config_lib.read(tmp_path / 'run').class_names == tuple('0123456789')


def test_a_run_of_before_the_parts_were_kept_says_what_it_can(tiny_run, tmp_path, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  config_lib.save(run, config_lib.read(run)._replace(data_parts=None, data_fingerprint='f00d'))
  with pytest.raises(OccupiedError, match='images or labels have changed since it began'):
    loop.train(tiny_config(), run)
  config_lib.save(run, config_lib.read(run)._replace(data_fingerprint=None))
  loop.train(tiny_config(), run)
  assert config_lib.read(run).data_parts['training images'] == 100
