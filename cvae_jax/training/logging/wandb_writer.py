"""Weights & Biases as one more of CLU's metric writers. Imports TensorFlow, as all of CLU's do."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from clu.metric_writers import MetricWriter

from cvae_jax.runtime import paths

INIT_TIMEOUT_SECONDS = 30


def is_online() -> bool:
  """Whether wandb can send; otherwise its files wait for `wandb sync`."""
  return bool(os.environ.get('WANDB_API_KEY') or os.environ.get('WANDB_MODE'))


def _id(workdir: Path) -> str:
  """The id of the run in this folder, wherever it is moved; a new one is made for a new run."""
  path = workdir / '.wandb_id'
  if not path.is_file():
    with paths.whole(path) as temporary:
      temporary.write_text(uuid.uuid4().hex, encoding='utf-8')
  return path.read_text(encoding='utf-8').strip()


class WandbWriter(MetricWriter):
  """Sends scalars and pictures to one run of Weights & Biases, which a resumed run goes on with.

  The key, the project and the mode come from the environment: WANDB_API_KEY, WANDB_PROJECT
  (cvae_jax if not given), WANDB_MODE. Files lie in the run's folder.
  """

  def __init__(self, workdir: Path, name: str):
    """Begins or resumes it.

    Raises:
      Exception: whatever wandb raises where it cannot be reached.
    """
    self._run = wandb.init(
      project=os.environ.get('WANDB_PROJECT', 'cvae_jax'),
      name=paths.printable(f'{name}-{workdir.name}' if workdir.name != name else name),
      id=_id(workdir),
      resume='allow',
      reinit='create_new',  # runs of a sweep share this process
      dir=str(workdir),
      mode=None if is_online() else 'offline',
      settings=wandb.Settings(silent=True, console='off', init_timeout=INIT_TIMEOUT_SECONDS),
    )

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """The config."""
    self._run.config.update(dict(hparams), allow_val_change=True)

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Numbers of a step."""
    self._run.log({name: float(value) for name, value in scalars.items()}, step=step)

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """uint8 [N, H, W, C], or one [H, W, C], each."""
    shown = {}
    for name, several in images.items():
      several = np.asarray(several)
      several = several[None] if several.ndim == 3 else several
      shown[name] = [wandb.Image(image.squeeze()) for image in several]
    self._run.log(shown, step=step)

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Texts of a step."""
    self._run.log(dict(texts), step=step)

  def write_histograms(self, step, arrays, num_buckets=None) -> None:
    """Arrays, as their histograms."""
    shown = {
      name: wandb.Histogram(np.asarray(values), num_bins=(num_buckets or {}).get(name, 64))
      for name, values in arrays.items()
    }
    self._run.log(shown, step=step)

  def _write_nothing(self, *_, **__) -> None:
    """Not used by training."""

  write_summaries = write_videos = write_audios = write_pointcloud = _write_nothing

  def flush(self) -> None:
    """Nothing: wandb writes in the background."""

  def close(self) -> None:
    """Ends it."""
    self._run.finish()
