"""Finds the texts of a matplotlib figure, and checks that none is cut off or covered."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from cvae_jax.plots import figures


def ticks_beyond_the_limits(figure):
  labels = []
  for axes in figure.axes:
    for axis in (axes.xaxis, axes.yaxis):
      low, high = sorted(axis.get_view_interval())
      for tick in axis.get_major_ticks():
        if not low <= tick.get_loc() <= high:
          labels += [tick.label1, tick.label2]
  return labels


def check_text(figure):
  """Every text lies inside the figure."""
  png = figures.to_png(figure)  # lays the figure out
  width, height = figure.get_size_inches() * figure.dpi
  renderer = FigureCanvasAgg(figure).get_renderer()
  seen, not_drawn = [], ticks_beyond_the_limits(figure)
  for text in figure.findobj(Text):
    if text.get_visible() and text.get_text().strip() and text not in not_drawn:
      if text.axes is not None and not text.axes.get_visible():
        continue
      box = text.get_window_extent(renderer)
      seen.append(text.get_text())
      inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
      assert inside, (text.get_text(), box, (width, height))
  return seen, np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))


def overlapping(figure):
  """Pairs of texts that lie on each other."""
  figures.to_png(figure)
  renderer = FigureCanvasAgg(figure).get_renderer()
  not_drawn = ticks_beyond_the_limits(figure)
  boxes = [
    (text.get_text(), text.get_window_extent(renderer))
    for text in figure.findobj(Text)
    if text.get_visible() and text.get_text().strip() and text not in not_drawn
  ]
  return [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[:i] if x.overlaps(y)]
