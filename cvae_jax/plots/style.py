"""Matplotlib without the settings of the user: a figure looks the same on every machine.

Other modules take matplotlib's classes from here, so that it is imported in this way.
"""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def _muted() -> Iterator[None]:
  """Without matplotlib's messages: about a cache that cannot be written, a font without bold."""
  logger = logging.getLogger('matplotlib')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
  """For the first import of matplotlib, which fails where it cannot use a setting of the user.

  A program that draws figures of its own finds the settings afterwards, as far as they are usable.
  """
  if 'matplotlib' in sys.modules:
    yield
    return
  hidden = {'MPLBACKEND': 'agg', 'MATPLOTLIBRC': os.devnull}
  given = {name: os.environ.get(name) for name in hidden}
  with _muted():
    os.environ.update(hidden)
    try:
      # A file of this name in the current folder comes before that of the environment. No module
      # must lie where the import happens: the current folder may be in sys.path.
      is_here, empty = os.path.exists('matplotlibrc'), Path(os.devnull).parent
      with contextlib.chdir(empty) if is_here else contextlib.nullcontext():
        yield
    finally:
      for name, value in given.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    with contextlib.suppress(Exception):
      package = importlib.import_module('matplotlib')
      package.rcParams.update(package.rc_params())
      if given['MPLBACKEND']:
        package.rcParams['backend'] = given['MPLBACKEND']


with _without_settings():
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
  with matplotlib.rc_context(_SETTINGS), _muted():
    yield
