"""TensorBoard and Weights & Biases: a run continues without them, and says so in one line."""

import csv
import importlib.util
import sys
import time

import numpy as np
import pytest

from cvae_jax.runtime import paths, quiet_tensorflow
from cvae_jax.training.logging import metrics_file, trackers
from tiny import task_of, tiny_config


def open_writers(folder, log, **changes):
  config = tiny_config(**changes)
  return trackers.Writers(folder, config, metrics_file.columns(task_of(config)), log)


def write(writers, *steps):
  for step in steps:
    writers.write_scalars(step, {'train/loss': 2.5})
  writers.write_pictures(step, {'samples': np.zeros((4, 4, 1), np.uint8)})
  writers.close()


def logged_steps(folder):
  with open(folder / 'metrics.csv', newline='') as file:
    return [int(row['step']) for row in csv.DictReader(file)]


def test_training_continues_without_tensorflow(tmp_path, monkeypatch):
  monkeypatch.setattr(quiet_tensorflow, 'installed', lambda *_: False)
  lines = []
  write(open_writers(tmp_path, lines.append), 1)
  (line,) = lines
  assert 'TensorBoard' in line
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.csv']
  assert logged_steps(tmp_path) == [1]


def test_training_continues_if_tensorboard_breaks(tmp_path, monkeypatch):
  lines = []
  writers = open_writers(tmp_path, lines.append)
  writers.write_scalars(1, {'train/loss': 2.0})
  from clu.metric_writers import SummaryWriter

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(SummaryWriter, 'write_scalars', fail)
  write(writers, 2, 3)
  (line,) = lines
  assert line.startswith('TensorBoard fails (No space left on device)')
  assert logged_steps(tmp_path) == [1, 2, 3]


def test_a_tensorflow_that_cannot_be_imported_costs_one_line(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'clu', None)
  lines = []
  write(open_writers(tmp_path, lines.append), 1)
  (line,) = lines
  assert line.startswith('TensorBoard fails (ModuleNotFoundError: ')
  assert logged_steps(tmp_path) == [1]


@pytest.mark.parametrize('text', ['caf\udce9', '数字\n\x1b', '\u2028'])
def test_a_config_with_any_text_is_written(tmp_path, text):
  lines = []
  write(open_writers(tmp_path, lines.append, name=text, data__dir=text), 1)
  assert lines == []
  (events,) = tmp_path.glob(metrics_file.EVENTS_PATTERN)
  assert paths.printable(text).encode() in events.read_bytes()


def wandb_lines(folder, monkeypatch, **environment):
  """What is logged while a run of Weights & Biases is written in `folder`."""
  pytest.importorskip('wandb')
  for name in ('WANDB_API_KEY', 'WANDB_MODE'):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  lines = []
  write(open_writers(folder, lines.append, tracker='wandb'), 2)
  assert logged_steps(folder) == [2]
  return lines


def test_weights_and_biases_works_offline_and_shows_how_to_send_it(tmp_path, monkeypatch):
  (line,) = wandb_lines(tmp_path, monkeypatch)
  assert 'WANDB_API_KEY' in line
  assert f'wandb sync {tmp_path}/wandb/offline-run-*' in line
  (written,) = tmp_path.glob('wandb/offline-run-*/*.wandb')
  # By wandb's own process, which on a busy machine is not done when it says so.
  expected = (b'train/loss', b'2.5', b'beta_schedule')  # the last of the config
  deadline = time.monotonic() + 60
  while missing := [text for text in expected if text not in written.read_bytes()]:
    assert time.monotonic() < deadline, missing
    time.sleep(0.1)
  assert list(tmp_path.glob('wandb/offline-run-*/files/media/images/samples_2_*.png'))


def test_weights_and_biases_that_cannot_be_reached_costs_one_line(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  with quiet_tensorflow.quiet():
    from cvae_jax.training.logging import wandb_writer
  monkeypatch.setattr(wandb_writer, 'INIT_TIMEOUT_SECONDS', 3)
  nowhere = {'WANDB_API_KEY': 40 * '0', 'WANDB_BASE_URL': 'http://127.0.0.1:9'}
  (line,) = wandb_lines(tmp_path, monkeypatch, **nowhere)
  assert line.startswith('Weights & Biases fails (')


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name: None if name == 'wandb' else find(name)
  )
  lines = []
  write(open_writers(tmp_path, lines.append, tracker='wandb'), 1)
  (line,) = lines
  assert 'wandb' in line
  assert 'pip install' in line
  assert logged_steps(tmp_path) == [1]
