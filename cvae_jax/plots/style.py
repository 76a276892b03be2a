"""Matplotlib without the settings of the user: a figure looks the same on every machine.

Other modules take matplotlib's classes from here, so that it is imported in this way.
"""

import contextlib
from collections.abc import Iterator

from cvae_jax.runtime import quiet_matplotlib

with quiet_matplotlib.first_import():
  import matplotlib
  from matplotlib import colormaps, font_manager, ft2font, ticker
  from matplotlib.axes import Axes
  from matplotlib.axis import Axis
  from matplotlib.figure import Figure
  from matplotlib.text import Text

__all__ = [
  'Axes',
  'Axis',
  'Figure',
  'Text',
  'colormaps',
  'font_manager',
  'ft2font',
  'styled',
  'ticker',
]

DPI = 150
FONT = 'DejaVu Sans'  # comes with matplotlib
STYLE = {
  'figure.dpi': DPI,
  'font.family': FONT,
  'font.size': 10,
  'axes.titlesize': 11,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'legend.frameon': False,
  'text.parse_math': False,  # a dollar sign in the name of a class stands for itself
}
_SETTINGS = {name: x for name, x in matplotlib.rcParamsDefault.items() if name != 'backend'} | STYLE


@contextlib.contextmanager
def styled() -> Iterator[None]:
  """The settings under which figures are made, and drawn: matplotlib reads them both times."""
  with matplotlib.rc_context(_SETTINGS), quiet_matplotlib.muted():
    yield
