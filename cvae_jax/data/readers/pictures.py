"""Pictures become one uint8 array: decoded in parallel, and kept in a cache."""

import collections
import functools
import hashlib
import itertools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from cvae_jax.data.readers import decoding, embedded, file_rows, picture_cache
from cvae_jax.data.readers.decoding import Geometry
from cvae_jax.data.readers.embedded import Embedded
from cvae_jax.runtime import progress
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder, printable

CACHE_FORMAT = 2  # increase whenever the same file becomes another row
BATCH_FILES = 64
# Smaller files spend more time under Python's lock than outside of it: threads would only wait.
PARALLEL_FILE_BYTES = 4096
SHOWN_FILES = 20
DARK_BITS = 14  # if 16-bit files use no more, the scale is probably that of a camera or scanner


def decode(
  pictures: Sequence[Path | Embedded], geometry: Geometry, cache: bool, skip_broken: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Decodes pictures as `decoding.read` does, all into one array.

  Args:
    pictures: N files in `decoding.FORMATS`, or such files inside of tables.
    geometry: as in `decoding.read`.
    cache: keep the result in the user's cache folder, and read it from there next time.
    skip_broken: list pictures that cannot be read instead of raising.

  Returns:
    Images uint8 [N, height, width, channels], read-only, and `readable` bool [N]: False where a
    picture was skipped, whose image is black.

  Raises:
    InputError: a picture cannot be read, or there is not enough memory for all.
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
    file = _cache_file(pictures, geometry) if cache else None
    rows = picture_cache.load(file, row_type, len(pictures)) if file else None
    if rows is None:
      rows = _decode_all(pictures, row_type, read, file)
    rows = rows.view(np.ndarray)
    rows.flags.writeable = False
    readable, largest, has_more = _columns(rows, ('readable', 'largest', 'has_more'))
    if not readable.all():
      _report_broken(pictures, readable, read, skip_broken)
  _note_dark(largest)
  _note_frames(pictures, has_more)
  return rows['image'], readable


def _columns(rows, names):
  """Copies of some fields; where the rows are a large file, it is not mapped to memory."""
  stored = file_rows.in_file(rows)
  columns = [np.empty(len(rows), rows.dtype[name]) for name in names]
  for piece in file_rows.pieces(stored):
    content = stored[piece]
    for name, column in zip(names, columns, strict=True):
      column[piece] = content[name]
  return columns


def _decode_all(pictures, row_type, read, file):
  """Rows of `row_type`; kept in `file`, if there is one and decoding again would give the same."""
  count, is_final = len(pictures), True

  def decode_batch(sources):
    nonlocal is_final
    rows = np.zeros(len(sources), row_type)
    for row, source in enumerate(sources):
      try:
        image, largest, has_more = read(source)
        rows[row] = True, largest, has_more, image
      except Exception as error:  # The errors of Pillow's decoders share no base class.
        # The system failed, not the file: memory or a network drive may come back.
        if isinstance(error, MemoryError) or getattr(error, 'errno', None):
          is_final = False
    return rows

  def decoded():
    done = 0
    with progress.shown('decoding', count, unit) as advance:
      for rows in _in_threads(decode_batch, pictures):
        yield rows
        done += len(rows)
        advance(done)

  unit = 'picture' if count == 1 else 'pictures'
  if file and count * row_type.itemsize > file_rows.MAX_IN_MEMORY:
    rows = picture_cache.write(file, row_type, count, decoded(), lambda: is_final)
    if rows is not None:
      return rows
  try:
    rows = np.zeros(count, row_type)
  except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
    raise InputError(
      f'{count:,} {unit} need {count * row_type.itemsize / 2**30:,.1f} GiB of memory, '
      'more than there is. Choose a smaller --config.data.image_size, or fewer pictures.'
    ) from error
  is_final, end = True, 0
  for batch in decoded():
    rows[end : end + len(batch)] = batch
    end += len(batch)
  return picture_cache.save(file, rows) if file and is_final else rows


def _in_threads(function, pictures):
  """Yields the results of `function` for batches of pictures, in order.

  It is given what `decoding.read` takes. Few batches are held at a time.
  """
  waiting, sources = collections.deque(), embedded.contents(pictures)
  workers = os.cpu_count() if _are_large(pictures) else 1
  with ThreadPoolExecutor(workers) as pool:
    while batch := list(itertools.islice(sources, BATCH_FILES)):
      waiting.append(pool.submit(function, batch))
      if len(waiting) > 2 * workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


def _are_large(pictures):
  """Whether decoding takes long enough for threads to be of use."""
  sample = pictures[:: len(pictures) // 50 + 1]
  sizes = [
    os.path.getsize(picture)
    for picture in sample
    if not isinstance(picture, Embedded) and os.path.isfile(picture)
  ]
  return np.median(sizes or PARALLEL_FILE_BYTES) >= PARALLEL_FILE_BYTES


def _cache_file(pictures, geometry):
  """The cache file, named after the content of all pictures; None if one cannot be read."""

  def digest_batch(sources):
    digests = []
    for source in sources:
      with decoding.opened(source) as file:
        digests.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return b''.join(digests)

  settings = (CACHE_FORMAT, PIL.__version__, Image.MAX_IMAGE_PIXELS, *geometry)
  key = hashlib.blake2b(repr(settings).encode(), digest_size=16)
  try:
    for digests in _in_threads(digest_batch, pictures):
      key.update(digests)
  except OSError:
    return None
  return cache_folder() / 'pictures' / f'{key.hexdigest()}.npy'


def _report_broken(pictures, readable, read, skip_broken):
  first, *others = broken = [pictures[row] for row in np.flatnonzero(~readable)]
  if not skip_broken:
    more = f', nor can {len(others):,} more of the {len(pictures):,} pictures' if others else ''
    raise InputError(
      f'{printable(first)} cannot be read ({_reason(first, read)}){more}. '
      'Leave the file out; in training, --config.data.skip_broken=True leaves out and lists all '
      'broken pictures.'
    )
  lines = [f'{len(broken):,} of {len(pictures):,} pictures cannot be read and are left out:']
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


def _note_frames(pictures, has_more):
  if len(rows := np.flatnonzero(has_more)):
    print(
      f'{len(rows):,} of {len(pictures):,} pictures have several frames or pages; only the '
      f'first is read: {printable(pictures[rows[0]])}{", ..." if len(rows) > 1 else ""}',
      flush=True,
    )


def _reason(picture, read):
  """Why a picture cannot be read; reads it again."""
  try:
    read(next(embedded.contents([picture])))
  except Exception as error:
    return decoding.problem(error)
  return 'it could not be read for a moment, try again'
