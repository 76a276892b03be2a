"""Picture files become one uint8 array: decoded in parallel, and kept in a cache."""

import contextlib
import functools
import hashlib
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from cvae_jax.data.readers import decoding
from cvae_jax.data.readers.decoding import Geometry
from cvae_jax.runtime import progress
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder, printable, whole

CACHE_FORMAT = 2  # increase whenever the same file becomes another row
BATCH_FILES = 64
# Smaller files spend more time under Python's lock than outside of it: threads would only wait.
PARALLEL_FILE_BYTES = 4096
STALE_SECONDS = 24 * 3600
SHOWN_FILES = 20
DARK_BITS = 14  # if 16-bit files use no more, the scale is probably that of a camera or scanner


def decode(
  paths: Sequence[Path], geometry: Geometry, cache: bool, skip_broken: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Decodes pictures as `decoding.read` does, all into one array.

  Args:
    paths: N files in `decoding.FORMATS`.
    geometry: as in `decoding.read`.
    cache: keep the result in the user's cache folder, and read it from there next time.
    skip_broken: list files that cannot be read instead of raising.

  Returns:
    Images uint8 [N, height, width, channels], read-only, and `readable` bool [N]: False where a
    picture was skipped, whose image is black.

  Raises:
    InputError: a file cannot be read, or there is not enough memory for all.
  """
  shape = geometry.height, geometry.width, geometry.channels
  row_type = np.dtype(
    [('readable', '?'), ('largest', 'u2'), ('has_more', '?'), ('image', 'u1', shape)]
  )
  read = functools.partial(decoding.read, geometry=geometry)
  # Here, as it holds for all threads: errors say what matters of Pillow's warnings. Its plugins are
  # imported here for the same reason.
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    Image.init()
    file = _cache_file(paths, geometry) if cache else None
    rows = _load(file, row_type, len(paths)) if file else None
    if rows is None:
      rows, is_final = _decode_all(paths, row_type, read)
      if file and is_final:
        _save(file, rows)
        kept = _load(file, row_type, len(paths))
        rows = rows if kept is None else kept  # what lies in a file needs no memory
    rows = rows.view(np.ndarray)
    rows.flags.writeable = False
    readable = np.array(rows['readable'])
    if not readable.all():
      _report_broken(paths, readable, read, skip_broken)
  _note_dark(rows['largest'])
  _note_frames(paths, rows['has_more'])
  return rows['image'], readable


def _decode_all(paths, row_type, read):
  """Rows of `row_type`, and whether decoding again would give the same."""
  unit = 'picture' if len(paths) == 1 else 'pictures'
  try:
    rows = np.zeros(len(paths), row_type)
  except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
    raise InputError(
      f'{len(paths):,} {unit} need {len(paths) * row_type.itemsize / 2**30:,.1f} GiB of memory, '
      'more than there is. Choose a smaller --config.data.image_size, or fewer pictures.'
    ) from error
  is_final = True

  def decode_batch(batch):
    nonlocal is_final
    for row in batch:
      try:
        image, largest, has_more = read(paths[row])
        rows[row] = True, largest, has_more, image
      except Exception as error:  # The errors of Pillow's decoders share no base class.
        # The system failed, not the file: memory or a network drive may come back.
        if isinstance(error, MemoryError) or getattr(error, 'errno', None):
          is_final = False
    return batch.stop

  with progress.shown('decoding', len(paths), unit) as advance:
    for completed in _in_threads(decode_batch, paths):
      advance(completed)
  return rows, is_final


def _in_threads(function, paths):
  """Yields the results of `function` for ranges that cover the rows of `paths`, in order."""
  rows = range(len(paths))
  batches = [rows[first : first + BATCH_FILES] for first in rows[::BATCH_FILES]]
  sample = filter(os.path.isfile, paths[:: len(paths) // 50 + 1])
  are_large = np.median(list(map(os.path.getsize, sample)) or 0) >= PARALLEL_FILE_BYTES
  with ThreadPoolExecutor(os.cpu_count() if are_large else 1) as pool:
    yield from pool.map(function, batches)


def _cache_file(paths, geometry):
  """The cache file, named after the content of all pictures; None if one cannot be read."""

  def digest_batch(batch):
    digests = []
    for row in batch:
      with decoding.open_regular(paths[row]) as file:
        digests.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return b''.join(digests)

  settings = (CACHE_FORMAT, PIL.__version__, Image.MAX_IMAGE_PIXELS, *geometry)
  key = hashlib.blake2b(repr(settings).encode(), digest_size=16)
  try:
    for digests in _in_threads(digest_batch, paths):
      key.update(digests)
  except OSError:
    return None
  return cache_folder() / 'pictures' / f'{key.hexdigest()}.npy'


def _load(file, row_type, num_rows):
  """The rows in `file`, or None where it is missing or damaged."""
  try:
    rows = np.lib.format.open_memmap(file, mode='r')
  except Exception:  # NumPy raises many kinds for a damaged header.
    return None
  return rows if rows.dtype == row_type and rows.shape == (num_rows,) else None


def _save(file, rows):
  """Writes `rows` in one move: no reader ever sees half a file."""
  try:
    for stale in file.parent.glob('*.tmp'):  # left by a process that was stopped while writing
      with contextlib.suppress(FileNotFoundError):
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
          stale.unlink()
    with whole(file) as temporary, open(temporary, 'wb') as opened:
      np.save(opened, rows)
      opened.flush()
      os.fsync(opened.fileno())
  except OSError as error:
    print(
      f'Decoded pictures cannot be kept in {file.parent} ({error.strerror or error}): '
      'the next start decodes them again.',
      flush=True,
    )


def _report_broken(paths, readable, read, skip_broken):
  first, *others = broken = [paths[row] for row in np.flatnonzero(~readable)]
  if not skip_broken:
    more = f', nor can {len(others):,} more of the {len(paths):,} pictures' if others else ''
    raise InputError(
      f'{printable(first)} cannot be read ({_reason(first, read)}){more}. '
      'Leave the file out; in training, --config.data.skip_broken=True leaves out and lists all '
      'broken pictures.'
    )
  lines = [f'{len(broken):,} of {len(paths):,} pictures cannot be read and are left out:']
  lines += [f'  {printable(path)}: {_reason(path, read)}' for path in broken[:SHOWN_FILES]]
  if len(broken) > SHOWN_FILES:
    lines.append(f'  and {len(broken) - SHOWN_FILES:,} more')
  print('\n'.join(lines), flush=True)


def _note_dark(largest):
  """Says so where no 16-bit file uses all of its bits: read by its own scale, each is dark."""
  deep, top = np.count_nonzero(largest), int(largest.max(initial=0))
  if 0 < top < 1 << DARK_BITS:
    bits = max(8, top.bit_length() + top.bit_length() % 2)  # 8, 10, 12 or 14
    print(
      f'{deep:,} picture(s) of 16 bits hold no value above {top:,}, so they are dark. If their '
      f'white is {(1 << bits) - 1:,}, train with --config.data.bit_depth={bits} (grey pictures), '
      'or save them with 8 bits.',
      flush=True,
    )


def _note_frames(paths, has_more):
  if len(rows := np.flatnonzero(has_more)):
    print(
      f'{len(rows):,} of {len(paths):,} pictures have several frames or pages; only the '
      f'first is read: {printable(paths[rows[0]])}{", ..." if len(rows) > 1 else ""}',
      flush=True,
    )


def _reason(path, read):
  """Why `path` cannot be read; reads it again."""
  try:
    read(path)
  except Exception as error:
    return decoding.problem(error)
  return 'it could not be read for a moment, try again'
