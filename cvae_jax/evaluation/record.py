"""What an evaluation holds: numbers with their intervals and protocols, arrays, figures."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cvae_jax.evaluation import IWAE_SAMPLES
from cvae_jax.evaluation.intervals import Interval
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures


@dataclasses.dataclass(frozen=True)
class Metric:
  """One number; `value` is None where it was not measured, and `protocol` says why."""

  group: str
  name: str
  value: float | None
  unit: str
  protocol: str
  low: float | None = None  # of the 95 % interval over images
  high: float | None = None


@dataclasses.dataclass
class Evaluation:
  """What was measured of a model on a split."""

  model: Model
  split: str
  num_images: int
  num_in_split: int  # of which the evaluated ones are the first
  iwae_samples: int  # K
  metrics: list[Metric] = dataclasses.field(default_factory=list)
  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  pictures: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)  # title, PNG

  @property
  def name(self) -> str:
    """Of its files: the split, and what is less than all of it, or other than usual."""
    first = '' if self.num_images == self.num_in_split else f'-first{self.num_images}'
    samples = '' if self.iwae_samples == IWAE_SAMPLES else f'-iwae{self.iwae_samples}'
    return f'{self.split}{first}{samples}{self.model.suffix}'

  def add(
    self, group: str, name: str, value, unit: str, protocol: str, unless_finite: str = ''
  ) -> None:
    """Adds a number, or an `Interval`; one that is not finite could not be measured.

    Args:
      group: of metrics.
      name: of the metric.
      value: of it.
      unit: of the value.
      protocol: how it was measured.
      unless_finite: why it could not be.
    """
    mean, low, high = value if isinstance(value, Interval) else (value, np.nan, np.nan)
    if not np.isfinite(mean):
      self.miss(group, name, unless_finite or f'{mean}, of {self.num_images} images')
      return
    low, high = (float(x) if np.isfinite(x) else None for x in (low, high))
    self.metrics.append(Metric(group, name, float(mean), unit, protocol, low, high))

  def miss(self, group: str, name: str, reason: str) -> None:
    """Notes that something was not measured."""
    self.metrics.append(Metric(group, name, None, '', f'not measured: {reason}'))

  def draw(self, name: str, title: str, figure: Figure) -> None:
    """Adds a figure, as the PNG file that it will be."""
    self.pictures[name] = title, figures.to_png(figure)


def plain(evaluation: Evaluation) -> dict[str, Any]:
  """All numbers, as JSON can hold them."""
  model = evaluation.model
  groups: dict[str, dict[str, Any]] = {}
  for metric in evaluation.metrics:
    fields = dataclasses.asdict(metric)
    groups.setdefault(fields.pop('group'), {})[fields.pop('name')] = fields
  return {
    'model': str(model.folder),
    'config': model.config.name,
    'step': model.step,
    'weights': 'moving average' if model.config.ema_decay else 'not averaged',
    'data': model.config.data.name,
    'split': evaluation.split,
    'num_images': evaluation.num_images,
    'metrics': groups,
    'arrays': {name: array.tolist() for name, array in evaluation.arrays.items()},
  }
