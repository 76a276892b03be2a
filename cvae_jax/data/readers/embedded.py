"""Pictures inside of Parquet files: where each is, and their bytes, read in order."""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cvae_jax.runtime.errors import InputError, reason

BATCH_ROWS = 64
BUFFER_BYTES = 1 << 20  # of a column that are read at once
INSTALL = 'pip install pyarrow'


class Embedded(NamedTuple):
  """A picture in a column of a Parquet file; sorts by file and row."""

  file: Path
  column: str  # of the bytes: 'image.bytes', or 'image' if these are all
  row: int

  def __str__(self) -> str:
    return f'{self.file}, row {self.row} of column {self.column.removesuffix(".bytes")!r}'


def rows_of(files: Sequence[Path], counts: Sequence[int], column: str) -> list[Embedded]:
  """All pictures in a column of files that have so many rows."""
  pairs = zip(files, counts, strict=True)
  return [Embedded(file, column, row) for file, count in pairs for row in range(count)]


def library():
  """The module `pyarrow.parquet`.

  Raises:
    InputError: it is not installed.
  """
  try:
    import pyarrow.parquet
  except ImportError as error:
    raise InputError(f'Parquet files need pyarrow, which is not installed: {INSTALL}.') from error
  return pyarrow.parquet


def contents(pictures: Sequence[Path | Embedded]) -> Iterator[Path | bytes]:
  """For each picture what `decoding.read` takes: the path of a file, or the bytes in a table.

  Rows of one table that lie in order are read in one pass, which holds few of them in memory.

  Raises:
    InputError: a Parquet file cannot be read.
  """
  for place, group in itertools.groupby(pictures, _place):
    if place is None:
      yield from group
    else:
      yield from _cells(*place, [picture.row for picture in group])


def _place(picture):
  return picture[:2] if isinstance(picture, Embedded) else None


def _cells(file, column, rows):
  """The bytes in `rows` of a column, b'' where there are none; one pass for each ascending run."""
  begins = [0, *(i for i in range(1, len(rows)) if rows[i] <= rows[i - 1]), len(rows)]
  for begin, end in itertools.pairwise(begins):
    wanted = iter(rows[begin:end])
    row = next(wanted, None)
    for first, cells in _batches(file, column, rows[begin:end]):
      while row is not None and row < first + len(cells):
        yield cells[row - first].as_py() or b''
        row = next(wanted, None)


def _batches(file, column, rows):
  """The number of the first row, and the cells, of batches that cover `rows`."""
  try:
    with library().ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False) as table:
      end = 0
      for group in range(table.num_row_groups):
        first, end = end, end + table.metadata.row_group(group).num_rows
        if bisect.bisect_left(rows, first) == bisect.bisect_left(rows, end):
          continue
        options = {'batch_size': BATCH_ROWS, 'row_groups': [group], 'use_threads': False}
        for batch in table.iter_batches(columns=[column], **options):
          cells = batch.column(0)
          yield first, cells.field('bytes') if '.' in column else cells
          first += len(cells)
  except InputError:
    raise
  except Exception as error:  # Of Arrow, and of the system.
    raise InputError(f'{file} cannot be read: {reason(error)}. Fetch it again.') from error
