"""Files of decoded pictures: written whole or not at all, read where they lie."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cvae_jax.runtime.paths import whole

STALE_SECONDS = 24 * 3600


def load(file: Path, row_type: np.dtype, num_rows: int) -> np.ndarray | None:
  """The rows in `file`, a read-only memory map; None where it is missing or damaged."""
  try:
    rows = np.lib.format.open_memmap(file, mode='r')
  except Exception:  # NumPy raises many kinds for a damaged header.
    return None
  return rows if rows.dtype == row_type and rows.shape == (num_rows,) else None


def save(file: Path, rows: np.ndarray) -> np.ndarray:
  """Writes `rows`; returns them as they lie in the file, where that is possible."""
  kept = write(file, rows.dtype, len(rows), iter([rows]), lambda: True)
  return rows if kept is None else kept


def write(
  file: Path,
  row_type: np.dtype,
  num_rows: int,
  batches: Iterator[np.ndarray],
  is_final: Callable[[], bool],
) -> np.ndarray | None:
  """Writes rows as they come, so that no more than a batch is in memory.

  Args:
    file: moved into place at the end: no reader ever sees half a file.
    row_type: of the rows.
    num_rows: of all batches.
    batches: the rows, in order.
    is_final: asked at the end; False keeps no file.

  Returns:
    All rows, a read-only memory map; None, with a line of output, where they cannot be kept.
  """
  try:
    for stale in file.parent.glob('*.tmp'):  # left by a process that was stopped while writing
      with contextlib.suppress(FileNotFoundError):
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
          stale.unlink()
    with whole(file) as temporary, open(temporary, 'wb') as opened:
      descr = np.lib.format.dtype_to_descr(row_type)
      header = {'descr': descr, 'fortran_order': False, 'shape': (num_rows,)}
      np.lib.format.write_array_header_1_0(opened, header)
      for rows in batches:
        opened.write(rows.tobytes())
      opened.flush()
      os.fsync(opened.fileno())
      if not is_final():
        raise OSError('one could not be read for a moment')
  except OSError as error:
    print(
      f'Decoded pictures cannot be kept in {file.parent} ({error.strerror or error}): '
      'the next start decodes them again.',
      flush=True,
    )
    return None
  return load(file, row_type, num_rows)
