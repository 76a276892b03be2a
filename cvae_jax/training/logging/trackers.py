"""All that a run's numbers and pictures are written to, in one call."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax import config as config_lib
from cvae_jax.runtime import libraries, paths, quiet_tensorflow
from cvae_jax.runtime.errors import reason
from cvae_jax.training.logging.metrics_file import CSV_NAME, EVENTS_PATTERN, CsvWriter

Log = Callable[[str], None]


class Tracker:
  """One of CLU's writers. Where it fails, that is logged once and nothing more is written to it."""

  def __init__(self, name: str, open_writer: Callable[[], Any], log: Log):
    """Opens it.

    Args:
      name: for people.
      open_writer: gives one of CLU's writers; called where TensorFlow is quiet.
      log: receives a line where it fails.
    """
    self._name, self._log, self._writer = name, log, None
    if not quiet_tensorflow.installed('tensorboard'):
      log(f'TensorFlow is not installed: nothing for {name}; the numbers are in metrics.csv.')
      return
    try:
      with quiet_tensorflow.quiet():
        self._writer = open_writer()
    except Exception as error:  # whatever a broken installation raises
      self._give_up(error)

  def write(self, action: Callable[[Any], None]) -> None:
    """Does something with the writer, while there is one."""
    if self._writer is None:
      return
    try:
      with quiet_tensorflow.quiet():
        action(self._writer)
        self._writer.flush()
    except Exception as error:  # those of TensorFlow and wandb share no base class with Python's
      self._give_up(error)

  def _give_up(self, error: Exception) -> None:
    self._writer = None
    self._log(
      f'{self._name} fails ({reason(error)}): no more logs for it; the numbers are in metrics.csv.'
    )


class Writers:
  """metrics.csv, TensorBoard where it is installed, and the tracker of the config."""

  def __init__(self, workdir: Path, config, columns: tuple[str, ...], log: Log):
    """Opens them; `log` receives a line where a tracker cannot be written to."""
    # TensorBoard has the config once for a run, however often resumed.
    first = 1 if any(workdir.glob(EVENTS_PATTERN)) else 0
    self._csv = CsvWriter(workdir / CSV_NAME, columns)
    self._trackers = [Tracker('TensorBoard', lambda: _open_tensorboard(workdir), log)]
    if config.tracker == 'wandb' and not libraries.installed('wandb'):
      log('tracker=wandb needs a package that is not installed: pip install wandb')
    elif config.tracker == 'wandb':
      self._trackers.append(
        Tracker('Weights & Biases', lambda: _open_wandb(workdir, config.name, log), log)
      )
    plain = (bool, int, float)
    hparams = {
      name: value if isinstance(value, plain) else paths.printable(str(value))
      for name, value in config_lib.fields(config)
    }
    for tracker in self._trackers[first:]:
      tracker.write(lambda writer: writer.write_hparams(hparams))

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """One row of metrics.csv, whose columns are the names, and as many points of the trackers."""
    self._csv.write_scalars(step, scalars)
    self._write(lambda writer: writer.write_scalars(step, scalars))

  def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """uint8 [H, W, C] each, for the trackers."""
    self._write(lambda writer: writer.write_images(step, pictures))

  def close(self) -> None:
    """Closes all."""
    self._csv.close()
    self._write(lambda writer: writer.close())

  def _write(self, action: Callable[[Any], None]) -> None:
    for tracker in self._trackers:
      tracker.write(action)


def _open_tensorboard(workdir: Path):
  from clu import metric_writers  # late: it imports TensorFlow

  return metric_writers.SummaryWriter(str(paths.plain(workdir)))


def _open_wandb(workdir: Path, name: str, log: Log):
  from cvae_jax.training.logging import wandb_writer

  if not wandb_writer.is_online():
    log(
      'WANDB_API_KEY is not set: Weights & Biases is written offline, and '
      f'`wandb sync {workdir}/wandb/offline-run-*` sends it'
    )
  return wandb_writer.WandbWriter(paths.plain(workdir), name)
