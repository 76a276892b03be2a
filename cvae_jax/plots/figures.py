"""Arrays in, matplotlib figures out: one style for reports, sample.py and the notebook."""

import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from cvae_jax.plots import fonts, grids
from cvae_jax.plots.style import DPI, Figure, Text, styled
from cvae_jax.runtime import paths

# Paul Tol's muted scheme, which colour-blind readers can tell apart.
COLOURS = ('#332288', '#88CCEE', '#44AA99', '#117733', '#999933',
           '#DDCC77', '#CC6677', '#882255', '#AA4499', '#888888')  # fmt: skip
MAIN, CONTRAST, PALE, QUIET = '#332288', '#CC6677', '#88CCEE', '#888888'
UNKNOWN = '#CCCCCC'
TILE_PIXELS = 93  # small images are enlarged to about this size
FEW_COLUMNS = 4  # leave room for long names
MAX_NAME_INCHES, MAX_NAME_INCHES_IF_MANY = 2.2, 1.3
MAX_TITLE_INCHES = 5.0
CHARACTER_INCHES = 0.085  # twice that for a wide one
SMALLEST_POINT, LARGEST_POINT = 3.0, 30.0
NAME_ROOM = (0.2, 0.05)  # width and height of a name, as fractions of the span of all points
NAME_BOX = {'boxstyle': 'round,pad=0.2', 'facecolor': 'white', 'alpha': 0.75, 'linewidth': 0}
NAME_STYLE = {'ha': 'center', 'va': 'center', 'fontsize': 9, 'fontweight': 'bold', 'bbox': NAME_BOX}
MAX_LEGEND = 24  # classes
MAX_MARGINALS = 16  # latent dimensions


@styled()
def image_grid(
  images: np.ndarray,
  row_names: Sequence[str] = (),
  column_names: Sequence[str] = (),
  title: str = '',
  headings: Mapping[int, str] | None = None,
  class_names: Sequence[str] = (),
) -> Figure:
  """Images in named rows and columns.

  Args:
    images: [rows, columns, H, W, C] floats in [0, 1]; a tile of NaN stays empty.
    row_names: one for each row, or none.
    column_names: one for each column, or none.
    title: of the figure.
    headings: first column of a group of columns -> the heading of the group.
    class_names: of all classes; one that no font shows is called by its number in any of the texts.
  """
  rows, columns, height, width, _ = images.shape
  tile_height, tile_width = height + 2, width + 2
  # White between the images and where there is none.
  missing = np.isnan(images).any(axis=(2, 3, 4), keepdims=True)
  canvas = grids.tile(np.where(missing, 1, images).astype(np.float32), colour=1)
  max_inches = MAX_NAME_INCHES if columns <= FEW_COLUMNS else MAX_NAME_INCHES_IF_MANY
  headings = headings or {}
  names = [*row_names, *column_names, *headings.values(), title]
  texts = iter(fonts.drawable(names, class_names))
  row_names = shortened([next(texts) for _ in row_names], 2 * MAX_NAME_INCHES)
  column_names = shortened([next(texts) for _ in column_names], max_inches)
  headings = {column: next(texts) for column in headings}
  title = next(texts)
  name_pixels = max(map(_inches, column_names), default=0) * DPI
  # A whole number, so that all pixels of an image have the same size in the figure.
  scale = round(TILE_PIXELS / max(tile_width, tile_height))
  scale = max(1, scale, int(np.ceil(name_pixels / tile_width)))
  size = np.array([columns * tile_width, rows * tile_height]) * scale / DPI
  left = max(map(_inches, row_names), default=0.05) + 0.1
  names_height = 0.28 if column_names else 0
  top = 0.15 + (0.3 if title else 0) + names_height + (0.28 if headings else 0)
  places = {name: left + column * tile_width * scale / DPI for column, name in headings.items()}
  right = max([left + size[0], *(x + _inches(name) for name, x in places.items())])
  total = np.array([max(right + 0.15, _inches(title) + 0.3), size[1] + top + 0.15])
  figure = Figure(figsize=total)
  axes = figure.add_axes((left / total[0], 0.15 / total[1], *(size / total)))
  axes.imshow(canvas, 'gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0, labeltop=True, labelbottom=False)
  axes.set_xticks((np.arange(len(column_names)) + 0.5) * tile_width - 0.5, column_names)
  axes.set_yticks((np.arange(len(row_names)) + 0.5) * tile_height - 0.5, row_names)
  for name, x in places.items():
    figure.text(x / total[0], (0.2 + size[1] + names_height) / total[1], name, va='bottom')
  if title:
    figure.text(0.15 / total[0], 1 - 0.1 / total[1], title, va='top', fontsize=11)
  return figure


def _inches(name: str) -> float:
  wide = sum(unicodedata.east_asian_width(character) in 'WF' for character in name)
  return CHARACTER_INCHES * (len(name) + wide) + 0.1


def shortened(names: Sequence[str], inches: float) -> list[str]:
  """The beginnings of names, as far as there is room for them."""

  def cut(name):
    if _inches(name) <= inches:
      return name
    beginnings = (f'{name[:length]}…' for length in range(len(name), -1, -1))
    return next(beginning for beginning in beginnings if _inches(beginning) <= inches)

  return [cut(name) for name in names]


@styled()
def latent_scatter(
  points: np.ndarray,
  labels: np.ndarray | None,
  class_names: Sequence[str],
  axis_names: tuple[str, str],
  of: str = '',
) -> Figure:
  """Latents in two dimensions, coloured by class, with the classes named among their points.

  Args:
    points: [N, 2].
    labels: [N] classes; −1 is none, a grey point.
    class_names: of all classes; () leaves the points in one colour, whatever the labels.
    axis_names: of the two dimensions.
    of: name of the model, for the title.
  """
  figure = Figure(figsize=(7.6, 6), layout='constrained')
  axes = figure.add_subplot(xlabel=axis_names[0], ylabel=axis_names[1])
  class_names = fonts.drawable(class_names, class_names)
  (of,) = shortened(fonts.drawable([of]), MAX_TITLE_INCHES)
  axes.set_title(f'{of}\n' * bool(of) + f"The encoder's means of {len(points):,} images")
  size = float(np.clip(30_000 / len(points), SMALLEST_POINT, LARGEST_POINT))
  options = {'s': size, 'linewidths': 0, 'alpha': 0.6, 'rasterized': True}
  if not class_names:
    axes.scatter(*points.T, color=MAIN, **options)
  else:
    unknown = labels < 0
    axes.scatter(*points[unknown].T, color=UNKNOWN, **options)
    # In random order, so that the last class does not cover the others.
    order = np.random.RandomState(0).permutation(len(points))
    order = order[~unknown[order]]
    colours = np.array([COLOURS[label % len(COLOURS)] for label in labels])
    axes.scatter(*points[order].T, c=colours[order], **options)
    _name_classes(axes, points, labels, shortened(class_names, MAX_NAME_INCHES))
  return figure


def _name_classes(axes, points, labels, class_names):
  """A legend of all classes; a class whose points lie apart is also named among them."""
  present = [label for label in range(len(class_names)) if np.any(labels == label)][:MAX_LEGEND]
  middles = {label: np.median(points[labels == label], axis=0) for label in present}
  room = np.ptp(points, axis=0) * np.array(NAME_ROOM)
  for label, middle in middles.items():
    # The space: matplotlib leaves names that begin with _ out of the legend.
    name = f' {class_names[label]}'
    axes.scatter([], [], color=COLOURS[label % len(COLOURS)], s=40, label=name)
    others = [other for key, other in middles.items() if key != label]
    if not any(np.all(np.abs(middle - other) < room) for other in others):
      axes.text(*middle, class_names[label], **NAME_STYLE)
  if present:
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), borderaxespad=0.2)


@styled()
def kl_per_dimension(kl: np.ndarray, active: np.ndarray, title: str) -> Figure:
  """The KL [latent], means over images in nats, to the distribution that the title names.

  The largest comes first; `active` [latent] is from `tasks.vae.active_units`.
  """
  figure = Figure(figsize=(np.clip(0.3 * len(kl) + 1.5, 5.0, 16.0), 3.4), layout='constrained')
  axes = figure.add_subplot(xlabel='latent dimension, by its KL')
  axes.set_ylabel('KL, nats (mean over images)')
  axes.set_title(f'{title}:\n{kl.sum():.2f} nats, {int(active.sum())} of {len(kl)} active')
  order, places = np.argsort(-kl), np.arange(len(kl))
  for is_active, colour, name in ((True, MAIN, 'active'), (False, QUIET, 'not active')):
    chosen = active[order] == is_active
    if chosen.any():
      axes.bar(places[chosen], kl[order][chosen], color=colour, label=name)
  if len(kl) <= 40:
    axes.set_xticks(places, [str(dimension) for dimension in order], fontsize=8)
  else:
    axes.set_xticks([])
  axes.legend()
  return figure


@styled()
def aggregate_posterior(latents: np.ndarray, kl: np.ndarray, standard: bool) -> Figure:
  """Histograms of the aggregate posterior, for the dimensions with the largest KL [latent].

  The latents [N, latent] are one sample from each image's posterior. A standard prior is drawn too.
  """
  shown = np.argsort(-kl)[:MAX_MARGINALS]
  columns = min(4, len(shown))
  rows = -(-len(shown) // columns)
  reach = max(4.0, float(np.quantile(np.abs(latents[:, shown]), 0.999)))
  grid = np.linspace(-reach, reach, 161)
  figure = Figure(figsize=(max(2.1 * columns, 4.6), 1.6 * rows + 0.9), layout='constrained')
  beside = ' (bars) and N(0, 1) (line)' if standard else ''
  figure.suptitle(f'Aggregate posterior{beside}', fontsize=11)
  panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
  for axes, dimension in zip(panels, shown, strict=False):
    values = latents[:, dimension]
    axes.hist(np.clip(values, -reach, reach), bins=grid[::4], density=True, color=PALE)
    if standard:
      axes.plot(grid, stats.norm.pdf(grid), color=CONTRAST, linewidth=1.5)
    axes.set_title(f'z{dimension}: {values.mean():.2f} ± {values.std():.2f}', fontsize=9, pad=3)
    axes.set_yticks([])
  for axes in panels[len(shown) :]:
    axes.set_visible(False)
  return figure


@styled()
def reliability(edges, confidence, accuracy, counts, calibration_error: float) -> Figure:
  """The accuracy of a classifier against its confidence (reliability diagram).

  Each bin of the confidence has two edges [bins + 1], the means of confidence and accuracy [bins],
  nan if it is empty, and the count of its images [bins].
  """
  full = counts > 0
  figure = Figure(figsize=(5.4, 5.0), layout='constrained')
  axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1), xlabel='confidence p(c | x)')
  axes.set(ylabel='accuracy', title=f'Calibration error {calibration_error:.3f}')
  axes.plot([0, 1], [0, 1], color=QUIET, linestyle='--', label='calibrated')
  bars = {'align': 'edge', 'color': PALE, 'edgecolor': 'white', 'label': 'accuracy'}
  axes.bar(edges[:-1][full], accuracy[full], np.diff(edges)[full], **bars)
  axes.plot(confidence[full], accuracy[full], 'o', color=CONTRAST, label='mean confidence')
  # The bar of a bin with few images means little.
  for x, count in zip((edges[:-1] + edges[1:])[full] / 2, counts[full], strict=True):
    axes.text(x, 0.01, f'{count:,}', rotation=90, ha='center', va='bottom', fontsize=8)
  figure.legend(loc='outside lower center', ncols=3, fontsize=9)
  return figure


@styled()
def asked_against_measured(
  asked: np.ndarray, measured: np.ndarray, name: str, unit: str, r_squared: float
) -> Figure:
  """The number that each sample was to show, and the one that is seen in it.

  Args:
    asked: [N] in the unit.
    measured: [N] likewise, on the samples.
    name: of the number.
    unit: '' is none.
    r_squared: of the two.
  """
  name, unit = shortened(fonts.drawable([name, unit]), MAX_NAME_INCHES)
  named = f'{name}, {unit}' if unit else name
  figure = Figure(figsize=(5.4, 5.2), layout='constrained')
  axes = figure.add_subplot(xlabel=f'asked: {named}', ylabel=f'measured: {named}')
  axes.set_title(f'{name} of {len(asked):,} samples: R² = {r_squared:.3f}')
  both = np.concatenate([asked, measured])
  ends = np.quantile(both, [0.001, 0.999])  # a few far ones would make all others small
  margin = 0.04 * np.ptp(ends) or 1.0
  ends = ends[0] - margin, ends[1] + margin
  axes.set(xlim=ends, ylim=ends, aspect='equal')
  size = float(np.clip(30_000 / len(asked), SMALLEST_POINT, LARGEST_POINT))
  axes.scatter(asked, measured, s=size, linewidths=0, alpha=0.4, color=MAIN, rasterized=True)
  axes.plot(ends, ends, color=CONTRAST, linestyle='--', label='measured = asked')
  axes.legend(loc='upper left')
  return figure


def to_png(figure: Figure) -> bytes:
  """The figure as a PNG file's content."""
  buffer = io.BytesIO()
  with styled():
    for axes in figure.axes:  # labels of ticks are made when they are asked for
      axes.get_xticklabels(), axes.get_yticklabels()
    texts = figure.findobj(Text)
    families = fonts.families(''.join(text.get_text() for text in texts))
    for text in texts if len(families) > 1 else ():
      text.set_family(families)
    figure.savefig(buffer, format='png', dpi='figure')
  return buffer.getvalue()


def save(figures: Mapping[Path, Figure]) -> None:
  """Writes each figure to its path as PNG, whole or not at all."""
  for path, figure in figures.items():
    paths.write(path, to_png(figure))
