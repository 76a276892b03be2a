"""Curves of runs: over the steps of one, or of several in one picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cvae_jax.plots.figures import CONTRAST, MAIN, STYLE

MAX_LEGEND = 24  # names of lines


def learning_rate_ramp(rates: np.ndarray, losses: np.ndarray, suggestion: float) -> Figure:
  """The loss over the learning rate while that rises, and the rate that was chosen.

  Args:
    rates: [n] learning rates.
    losses: [n] averaged losses.
    suggestion: one of the rates.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=(6, 3.6), layout='constrained')
    axes = figure.subplots()
    axes.plot(rates, losses, color=MAIN, linewidth=1.5)
    axes.axvline(suggestion, color=CONTRAST, linewidth=1)
    axes.annotate(
      f'{suggestion:.1e}',
      (suggestion, 1),
      xycoords=('data', 'axes fraction'),
      color=CONTRAST,
      xytext=(4, -12),
      textcoords='offset points',
    )
    axes.set_xscale('log')
    # The last few, which end the ramp, would flatten all before them.
    fall = losses[0] - losses.min()
    axes.set_ylim(losses.min() - 0.1 * fall, losses[0] + 0.5 * fall)
    axes.set_xlabel('learning rate')
    axes.set_ylabel('loss, nats')
    axes.set_title('The loss falls fastest at the line', fontsize=11)
  return figure


def _number(text: str | None) -> float | None:
  """A number that an axis can bear, or None."""
  try:
    value = float(text or 'nan')
  except ValueError:
    return None
  return value if abs(value) < 1e30 else None


def _rows(metrics_csv: Path) -> list[dict[str, str]]:
  with open(metrics_csv, newline='', encoding='utf-8', errors='replace') as file:
    try:
      return list(csv.DictReader(file))
    except csv.Error:
      return []


def _series(rows: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
  """Epochs and values of a column, [2, n], where both are numbers."""
  pairs = [(_number(row.get('epoch')), _number(row.get(name))) for row in rows]
  return np.array([pair for pair in pairs if None not in pair]).reshape(-1, 2).T


def column(metrics_csv: Path, name: str) -> np.ndarray:
  """Epochs and values of a column of a run's metrics.csv, [2, n]; no rows where there is none."""
  return _series(_rows(metrics_csv) if metrics_csv.is_file() else [], name)


def _count_epochs(axes: Axes, rows: Sequence[Mapping[str, str]]) -> None:
  """The same axis for all columns of `rows`; from 0, unless they go on with another run's."""
  epochs = [epoch for row in rows if (epoch := _number(row.get('epoch'))) is not None] or [0.0]
  first = min(epochs) if min(epochs) > 1 else 0.0
  span = max(1.0, max(epochs) - first, 1e-6 * first)  # wide enough for any float
  axes.set_xlim(first - 0.02 * span, first + 1.02 * span)
  axes.set_xlabel('epoch')
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def training_curves(metrics_csv: Path) -> Figure | None:
  """Loss, its terms and β over the epochs of a run, from its metrics.csv; None of an empty one.

  What is no number there, as in a row that is just being written, is left out.
  """
  rows = _rows(metrics_csv)
  if not rows:
    return None

  def series(name):
    return _series(rows, name)

  panels = {
    'loss (β-weighted) and −ELBO, nats': {
      'training loss': ('train/loss', MAIN),
      'validation −ELBO': ('validation/negative_elbo', CONTRAST),
    },
    'reconstruction, nats': {
      'training': ('train/reconstruction', MAIN),
      'validation': ('validation/reconstruction', CONTRAST),
    },
    'KL, nats': {
      'training': ('train/kl', MAIN),
      'validation': ('validation/kl', CONTRAST),
    },
    'β': {'training': ('train/beta', MAIN)},
  }
  with rc_context(STYLE):
    figure = Figure(figsize=(9, 5.6), layout='constrained')
    for axes, (title, lines) in zip(figure.subplots(2, 2).ravel(), panels.items(), strict=True):
      drawn = []
      for name, (column, colour) in lines.items():
        epochs, values = series(column)
        few = 'o-' if len(epochs) < 30 else '-'
        axes.plot(epochs, values, few, color=colour, label=name, linewidth=1.3, markersize=3)
        drawn.append(values)
      top = max((np.quantile(values, 0.97) for values in drawn if len(values)), default=0)
      low, high = axes.get_ylim()
      if 'nats' in title and max(map(len, drawn)) > 20 and low < top:
        # The first steps, a hundred times above the rest, would flatten it.
        axes.set_ylim(low, min(high, top + 0.05 * (top - low)))
      axes.set_title(title)
      _count_epochs(axes, rows)
      if len(lines) > 1:
        axes.legend()
  return figure


COMPARED = {
  'validation −ELBO (β = 1), nats': 'validation/negative_elbo',
  'validation reconstruction, nats': 'validation/reconstruction',
  'validation KL, nats': 'validation/kl',
  'gradient norm, before the clip': 'train/gradient_norm',
}


def compared(runs: Mapping[str, Sequence[Path]]) -> Figure | None:
  """The curves of several runs, each setting in one colour; None where there are no numbers.

  Args:
    runs: the name of a setting -> the metrics.csv of its runs, which differ in their seeds.
  """
  logs = {name: [_rows(path) for path in paths if path.is_file()] for name, paths in runs.items()}
  if not any(rows for several in logs.values() for rows in several):
    return None
  every_row = [row for several in logs.values() for rows in several for row in rows]
  # From dark to light in the order they were given, which for numbers is theirs.
  colours = colormaps['viridis'](np.linspace(0, 0.9, len(logs)))
  with rc_context(STYLE):
    figure = Figure(figsize=(10.5, 6.2), layout='constrained')
    for axes, (title, column) in zip(figure.subplots(2, 2).ravel(), COMPARED.items(), strict=True):
      ends = []
      for (name, several), colour in zip(logs.items(), colours, strict=True):
        for position, rows in enumerate(several):
          epochs, values = _series(rows, column)
          style = 'o-' if len(epochs) < 30 else '-'
          axes.plot(
            epochs,
            values,
            style,
            color=colour,
            label=name if not position else '_',
            linewidth=1.2,
            markersize=2.5,
          )
          ends.append(values)
      values = np.concatenate(ends) if ends else np.zeros(0)
      if len(values) and values.min() > 0 and values.max() > 20 * np.median(values):
        axes.set_yscale('log')
      axes.set_title(title)
      _count_epochs(axes, every_row)
    if len(logs) <= MAX_LEGEND:
      figure.legend(*axes.get_legend_handles_labels(), loc='outside right upper')
  return figure


def plane(points: Mapping[str, tuple[float, float]], axis_names: tuple[str, str]) -> Figure:
  """A line through named points, in their order."""
  with rc_context(STYLE):
    figure = Figure(figsize=(6.5, 4.5), layout='constrained')
    axes = figure.subplots()
    places = np.array(list(points.values())).reshape(-1, 2)
    axes.plot(*places.T, 'o-', color=MAIN, linewidth=1.2, markersize=5)
    for name, place in points.items():
      axes.annotate(name, place, xytext=(6, 5), textcoords='offset points', fontsize=9)
    axes.margins(0.15)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
  return figure
