"""Matplotlib, imported without the settings of the user, and without its messages."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def muted() -> Iterator[None]:
  """Without matplotlib's messages: about a cache that cannot be written, a font without bold."""
  logger = logging.getLogger('matplotlib')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


@contextlib.contextmanager
def first_import() -> Iterator[None]:
  """For the first import of matplotlib, which fails where it cannot use a setting of the user.

  A program that draws figures of its own finds the settings afterwards, as far as they are usable.
  """
  if 'matplotlib' in sys.modules:
    with muted():
      yield
    return
  hidden = {'MPLBACKEND': 'agg', 'MATPLOTLIBRC': os.devnull}
  given = {name: os.environ.get(name) for name in hidden}
  with muted():
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
