"""Curves of runs over epochs, from their metrics.csv; curves through named points."""

import contextlib
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cvae_jax.plots import fonts
from cvae_jax.plots.figures import CONTRAST, MAIN, shortened
from cvae_jax.plots.style import Axes, Axis, Figure, colormaps, styled, ticker

MAX_LEGEND = 24  # names of lines
MAX_NAME_INCHES = 4.0
# Columns of train/ and validation/ that are no terms of a loss, or a term in other units.
NO_TERMS = {'gradient_norm', 'learning_rate', 'bits_per_dim'}

Row = Mapping[str, str]  # of a metrics.csv: column -> text


# Terms as people read them, and as titles of panels.
NAMES = {'negative_elbo': '−ELBO', 'kl': 'KL', 'beta': 'β'}
TITLES = {'negative_elbo': '−ELBO (β = 1), nats', 'reconstruction': 'reconstruction, nats',
          'kl': 'KL, nats', 'perceptual': 'perceptual distance', 'beta': 'β'}  # fmt: skip


@styled()
def learning_rate_ramp(rates: np.ndarray, losses: np.ndarray, suggestion: float) -> Figure:
  """The averaged losses [n] of a ramp of learning rates [n], with the suggested rate marked."""
  figure = Figure(figsize=(6, 3.6), layout='constrained')
  axes = figure.add_subplot(xscale='log', xlabel='learning rate', ylabel='loss, nats')
  _show_plain_numbers(axes.xaxis)
  axes.set_title('The loss falls fastest at the line')
  axes.plot(rates, losses, color=MAIN, linewidth=1.5)
  axes.axvline(suggestion, color=CONTRAST, linewidth=1)
  at_the_top = {'xycoords': ('data', 'axes fraction'), 'textcoords': 'offset points'}
  axes.annotate(f'{suggestion:.1e}', (suggestion, 1), (4, -12), color=CONTRAST, **at_the_top)
  # The diverging losses at the end would flatten the rest.
  fall = losses[0] - losses.min()
  axes.set_ylim(losses.min() - 0.1 * fall, losses[0] + 0.5 * fall)
  return figure


def _number(text: str | None) -> float | None:
  """A number that an axis can show, or None."""
  try:
    value = float(text or 'nan')
  except ValueError:
    return None
  return value if abs(value) < 1e30 else None


def _rows(metrics_csv: Path) -> list[Row]:
  if metrics_csv.is_file():
    with (
      open(metrics_csv, newline='', encoding='utf-8', errors='replace') as file,
      contextlib.suppress(csv.Error),
    ):
      return list(csv.DictReader(file))
  return []


def _series(rows: Sequence[Row], name: str) -> np.ndarray:
  """Epochs and values of a column, [2, n], where both are numbers."""
  pairs = [(_number(row.get('epoch')), _number(row.get(name))) for row in rows]
  return np.array([pair for pair in pairs if None not in pair]).reshape(-1, 2).T


def column(metrics_csv: Path, name: str) -> np.ndarray:
  """Epochs and values of a column of a run's metrics.csv, [2, n]; n = 0 if there is none."""
  return _series(_rows(metrics_csv), name)


def _columns(rows: Iterable[Row]) -> list[str]:
  return list(dict.fromkeys(name for row in rows for name in row if name))


def _terms(columns: Sequence[str], *prefixes: str) -> list[str]:
  """The terms that have a column with one of these prefixes."""
  found = (name.partition('/')[2] for name in columns if name.startswith(prefixes))
  return [term for term in dict.fromkeys(found) if term not in NO_TERMS]


def _training_panels(columns: Sequence[str]) -> dict[str, dict[str, str]]:
  """Title of a panel -> name of a line -> column."""
  panels, terms = {}, _terms(columns, 'train/', 'validation/')
  loss = {'training loss': 'train/loss', 'validation −ELBO': 'validation/negative_elbo'}
  if set(columns).issuperset(loss.values()):  # comparable, so in one panel
    panels['loss (β-weighted) and −ELBO, nats'] = loss
    terms = [term for term in terms if term not in ('loss', 'negative_elbo')]
  for term in terms:
    lines = {'training': f'train/{term}', 'validation': f'validation/{term}'}
    panels[TITLES.get(term, term)] = {line: name for line, name in lines.items() if name in columns}
  return panels


def _panels(width: float, height: float, titles: Sequence[str], rows: Sequence[Row]) -> Figure:
  """Two panels to a row, each `height` inches high, over the epochs of all `rows`."""
  num_rows = -(-len(titles) // 2)
  figure = Figure(figsize=(width, height * num_rows), layout='constrained')
  epochs = [epoch for row in rows if (epoch := _number(row.get('epoch'))) is not None] or [0.0]
  # From 0, or from where a run went on with the weights of another.
  first = min(epochs) if min(epochs) > 1 else 0.0
  span = max(1.0, max(epochs) - first, 1e-6 * first)  # wide enough for any float
  limits = first - 0.02 * span, first + 1.02 * span
  for number, title in enumerate(titles, start=1):
    place = num_rows, min(len(titles), 2), number
    axes = figure.add_subplot(*place, title=title, xlabel='epoch', xlim=limits)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  return figure


def _show_plain_numbers(axis: Axis) -> None:
  """For a logarithmic axis, whose usual numbers are formulas: `styled` shows these as they are."""
  axis.set_major_formatter(ticker.LogFormatter())
  axis.set_minor_formatter(ticker.LogFormatter())


def _plot(axes: Axes, rows: Sequence[Row], name: str, **options) -> np.ndarray:
  """Draws a column over the epochs; returns its values."""
  epochs, values = _series(rows, name)
  axes.plot(epochs, values, 'o-' if len(epochs) < 30 else '-', **options)
  return values


@styled()
def training_curves(metrics_csv: Path) -> Figure | None:
  """The terms of a run's metrics.csv over its epochs, a panel for each; None if it has no rows.

  Cells that are not numbers, such as those of a row that is being written, are left out.
  """
  rows = _rows(metrics_csv)
  panels = _training_panels(_columns(rows))
  if not panels:
    return None
  figure = _panels(9, 2.8, list(panels), rows)
  for axes, lines in zip(figure.axes, panels.values(), strict=True):
    drawn = []
    for line, name in lines.items():
      options = {'label': line, 'color': MAIN if name.startswith('train/') else CONTRAST}
      drawn.append(_plot(axes, rows, name, linewidth=1.3, markersize=3, **options))
    top = max((np.quantile(values, 0.97) for values in drawn if len(values)), default=0)
    low, high = axes.get_ylim()
    if 'train/beta' not in lines.values() and max(map(len, drawn)) > 20 and low < top:
      # The first steps, a hundred times above the rest, would flatten it.
      axes.set_ylim(low, min(high, top + 0.05 * (top - low)))
    if len(lines) > 1:
      axes.legend()
  return figure


@styled()
def compared(runs: Mapping[str, Sequence[Path]]) -> Figure | None:
  """The validation terms and the gradient norm of several runs, each setting in its own colour.

  A setting has a name and the metrics.csv of its runs. None if there is nothing to draw.
  """
  logs = {name: [_rows(path) for path in metrics] for name, metrics in runs.items()}
  settings = shortened(fonts.drawable(list(runs)), MAX_NAME_INCHES)
  every_row = [row for several in logs.values() for rows in several for row in rows]
  columns = _columns(every_row)
  panels = {f'validation/{term}': f'validation {TITLES.get(term, term)}'
            for term in _terms(columns, 'validation/')}  # fmt: skip
  if 'train/gradient_norm' in columns:
    panels['train/gradient_norm'] = 'gradient norm, before the clip'
  if not panels:
    return None
  # In the order of the settings, which is that of their numbers, from dark to light.
  colours = colormaps['viridis'](np.linspace(0, 0.9, len(logs)))
  figure = _panels(10.5, 3.1, list(panels.values()), every_row)
  for axes, name in zip(figure.axes, panels, strict=True):
    drawn = []
    for setting, several, colour in zip(settings, logs.values(), colours, strict=True):
      for position, rows in enumerate(several):
        # The space: a name that begins with _ is left out, as those after the first are to be.
        options = {'color': colour, 'label': '_' if position else f' {setting}'}
        drawn.append(_plot(axes, rows, name, linewidth=1.2, markersize=2.5, **options))
    values = np.concatenate(drawn)
    if len(values) and values.min() > 0 and values.max() > 20 * np.median(values):
      axes.set_yscale('log')
      _show_plain_numbers(axes.yaxis)
  if len(logs) <= MAX_LEGEND:
    figure.legend(*axes.get_legend_handles_labels(), loc='outside right upper')
  return figure


@styled()
def plane(points: Mapping[str, tuple[float, float]], axis_names: tuple[str, str]) -> Figure:
  """A line through named points, in the given order."""
  figure = Figure(figsize=(6.5, 4.5), layout='constrained')
  axes = figure.add_subplot(xlabel=axis_names[0], ylabel=axis_names[1])
  across, up = np.array(list(points.values())).reshape(-1, 2).T
  axes.plot(across, up, 'o-', color=MAIN, linewidth=1.2, markersize=5)
  names = shortened(fonts.drawable(list(points)), MAX_NAME_INCHES)
  for name, place in zip(names, points.values(), strict=True):
    axes.annotate(name, place, xytext=(6, 5), textcoords='offset points', fontsize=9)
  axes.margins(0.15)
  return figure
