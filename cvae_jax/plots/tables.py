"""Tables as text and CSV; see `html.table` for those of a page."""

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # header and lines


def as_text(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Aligned columns: the first to the left, numbers to the right."""
  widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
  form = f'{{:<{widths[0]}}}' + ''.join(f'  {{:>{width}}}' for width in widths[1:])
  return '\n'.join(form.format(*line).rstrip() for line in (header, *lines))


def as_csv(header: Sequence[str], lines: Iterable[Sequence]) -> str:
  """The content of a CSV file; None becomes an empty cell, a float keeps all its digits."""
  buffer = io.StringIO()
  csv.writer(buffer, lineterminator='\n').writerows([header, *lines])
  return buffer.getvalue()


def mean_and_std(values: Sequence[float], digits: int = 2) -> str:
  """'mean ± sample standard deviation' over runs; the mean alone of one run, – of none."""
  if not len(values):
    return '–'
  spread = f' ± {np.std(values, ddof=1):.{digits}f}' if len(values) > 1 else ''
  return f'{np.mean(values):z.{digits}f}{spread}'
