"""Data that are not those that a run began with."""

import shutil

import pytest

from cvae_jax import config as config_lib
from cvae_jax.data import sources
from cvae_jax.data.sources import Part
from cvae_jax.runtime.errors import OccupiedError
from cvae_jax.training import loop
from tiny import tiny_config


def with_other_pixels(parts):
  for part in parts.values():
    part.images[:, 0, 0] ^= 1
  return parts


def with_other_labels(parts):
  return {name: part._replace(labels=(part.labels + 1) % 10) for name, part in parts.items()}


def with_fewer_images(parts):
  return parts | {'train': Part(*(rows[:130] for rows in parts['train']))}


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
  read = sources.read

  def changed(data):
    source = read(data)
    return source._replace(parts=change(dict(source.parts)))

  monkeypatch.setattr(sources, 'read', changed)
  with pytest.raises(OccupiedError, match=f'holds a run on other data: {message}'):
    loop.train(tiny_config(), run)
  after = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  assert after | {run / '.lock': b''} == before | {run / '.lock': b''}


def test_other_classes_are_no_resumption(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'run')
  others = tuple('abcdefghij')
  monkeypatch.setitem(sources.CLASS_NAMES, 'digits', others)
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
