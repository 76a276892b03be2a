"""Picture files become uint8 arrays of one size: decoded in parallel, kept in a cache."""

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from cvae_jax.runtime import progress
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder

FORMATS = ('PNG', 'JPEG', 'WEBP')
# Counts up whenever the same file would become another array.
CACHE_FORMAT = 1
BATCH_FILES = 64
# Below this size a file costs more time under Python's lock than outside of it, and threads only
# wait for each other.
PARALLEL_FILE_BYTES = 4096
STALE_SECONDS = 24 * 3600
SHOWN_FILES = 20

ORIENTATION_TAG = 0x0112
TRANSPOSITIONS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# Pillow brings these pixels to 8 bits, but leaves the PNG's transparent colour as it stood.
TRANSPARENT_COLOUR_SCALES = {'L;2': 85, 'L;4': 17, 'RGB;16B': 1 / 256}


def decode(
  paths: Sequence[Path], size: int, crop_size: int, channels: int, cache: bool, skip_broken: bool
) -> tuple[np.ndarray, np.ndarray]:
  """The pictures of `paths`, turned upright, cropped to a square, resized.

  Transparency is laid over white; of an animation the first frame is taken.

  Args:
    paths: N files in PNG, JPEG or WEBP.
    size: height and width of the result, in pixels.
    crop_size: the side of the square cut out of the centre before resizing, in pixels; 0, or more
      than a picture has, is the largest square.
    channels: 1 for grey, 3 for RGB.
    cache: keep the result in the user's cache folder, and take it from there next time.
    skip_broken: list files that cannot be read instead of raising.

  Returns:
    Images uint8 [N, size, size, channels], read-only, and `readable` bool [N]: False where a
    picture was skipped, whose image is black.

  Raises:
    InputError: a file cannot be read, or there is not enough memory for all.
  """
  row_type = np.dtype([('readable', '?'), ('image', 'u1', (size, size, channels))])
  read = functools.partial(_read_picture, size=size, crop_size=crop_size, channels=channels)
  # Of all threads, and therefore here: what Pillow has to say of odd files is in the error or of no
  # interest. The plugins are imported here for the same reason.
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    Image.init()
    file = _cache_file(paths, size, crop_size, channels) if cache else None
    rows = _load(file, row_type, len(paths)) if file else None
    if rows is None:
      rows, is_final = _decode_all(paths, row_type, read)
      if file and is_final:
        _save(file, rows)
    rows = rows.view(np.ndarray)
    rows.flags.writeable = False
    readable = np.array(rows['readable'])
    if not readable.all():
      _report_broken(paths, readable, read, skip_broken)
  return rows['image'], readable


def fit(images: np.ndarray, size: int, crop_size: int) -> np.ndarray:
  """Crops and resizes arrays as `decode` does pictures.

  Args:
    images: uint8 [N, H, W, C], C 1 or 3.
    size: height and width of the result, in pixels.
    crop_size: as in `decode`.

  Returns:
    uint8 [N, size, size, C]; `images` itself where nothing is to do.
  """
  height, width = images.shape[1:3]
  left, top, side = _centre_square(width, height, crop_size)
  if (height, width) != (side, side):
    images = images[:, top : top + side, left : left + side]
  if side == size:
    return images
  resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
  for image, target in zip(images, resized, strict=True):
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    target[...] = _resize(picture, size)
  return resized


def _centre_square(width, height, crop_size):
  """Left, top and side of the square to cut out."""
  side = min(crop_size or width, width, height)
  return (width - side) // 2, (height - side) // 2, side


def _resize(picture, size):
  """A picture in mode L or RGB as an array [size, size, channels]."""
  if picture.size != (size, size):
    picture = picture.resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(picture).reshape(size, size, -1)


def _read_picture(path: Path, size: int, crop_size: int, channels: int) -> np.ndarray:
  """One file as uint8 [size, size, channels]; raises whatever Pillow raises."""
  with _open(path) as file:
    if not file.peek(1):
      raise OSError('it is empty')
    with Image.open(file, formats=FORMATS) as picture:
      limit = Image.MAX_IMAGE_PIXELS
      if limit and picture.width * picture.height > limit:
        raise Image.DecompressionBombError
      coding = picture.tile[0].args if picture.tile else None
      picture.load()
      orientation = _orientation(picture)
      upright = _without_transparency(picture, coding)
      if orientation in TRANSPOSITIONS:
        upright = upright.transpose(TRANSPOSITIONS[orientation])
      left, top, side = _centre_square(*upright.size, crop_size)
      square = upright.crop((left, top, left + side, top + side))
      return _resize(square.convert('L' if channels == 1 else 'RGB'), size)


def _open(path):
  """Opens a regular file; anything else, a pipe say, might never end."""
  if not stat.S_ISREG(os.stat(path).st_mode):
    raise OSError('it is no file')
  return open(path, 'rb')


def _orientation(picture):
  try:
    return picture.getexif().get(ORIENTATION_TAG)
  except Exception:  # broken EXIF data, of which there are many kinds, around a whole picture
    return None


def _without_transparency(picture, coding):
  """The picture in a mode of 8 bits, laid over white where it is transparent."""
  colour = picture.info.get('transparency')
  if picture.mode.startswith('I'):
    values = np.asarray(picture).astype(np.int32)
    if colour is not None:
      values[values == colour] = 65535
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
  if not picture.has_transparency_data:
    return picture
  scale = TRANSPARENT_COLOUR_SCALES.get(coding)
  if colour is not None and scale:
    picture.info['transparency'] = (
      tuple(int(value * scale) for value in colour)
      if isinstance(colour, tuple)
      else int(colour * scale)
    )
  picture = picture.convert('RGBA')
  white = Image.new('RGBA', picture.size, 'white')
  return Image.alpha_composite(white, picture).convert('RGB')


def _decode_all(paths, row_type, read):
  """Rows of `row_type`, and whether they would be the same another time."""
  unit = 'picture' if len(paths) == 1 else 'pictures'
  try:
    rows = np.zeros(len(paths), row_type)
  except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
    raise InputError(
      f'{len(paths):,} {unit} need {len(paths) * row_type.itemsize / 2**30:,.1f} GiB of memory, '
      'more than there is. Choose a smaller --config.data.image_size, or fewer pictures.'
    ) from error
  images, readable = rows['image'], rows['readable']

  def decode_batch(batch):
    is_final = True
    for row in batch:
      try:
        images[row] = read(paths[row])
        readable[row] = True
      except Exception as error:  # Pillow's decoders share no base class of their errors.
        # The system's fault, not the file's: there may be memory again, or the network drive.
        if isinstance(error, MemoryError) or getattr(error, 'errno', None):
          is_final = False
    return is_final

  with progress.shown('decoding', len(paths), unit) as advance:
    results = _in_batches(decode_batch, paths, advance)
  return rows, all(results)


def _in_batches(
  work: Callable[[range], object],
  paths: Sequence[Path],
  advance: Callable[[int], None] | None = None,
) -> list:
  """`work` of ranges that cover all rows of `paths`, from threads; results in order."""
  starts = range(0, len(paths), BATCH_FILES)
  batches = [range(start, min(start + BATCH_FILES, len(paths))) for start in starts]
  pool, results = ThreadPoolExecutor(_num_threads(paths)), []
  try:
    for batch, result in zip(batches, pool.map(work, batches), strict=True):
      results.append(result)
      if advance:
        advance(batch.stop)
  finally:
    pool.shutdown(cancel_futures=True)
  return results


def _num_threads(paths):
  sizes = []
  for path in paths[:: len(paths) // 50 + 1]:
    with contextlib.suppress(OSError):
      sizes.append(os.stat(path).st_size)
  return (os.cpu_count() or 1) if sizes and np.median(sizes) >= PARALLEL_FILE_BYTES else 1


def _cache_file(paths, size, crop_size, channels):
  """Where the result is kept, named after the content of the files; None if one has none."""

  def digest_batch(batch):
    digests = []
    for row in batch:
      with _open(paths[row]) as file:
        digest = hashlib.blake2b(digest_size=16)
        while piece := file.read(1 << 20):
          digest.update(piece)
        digests.append(digest.digest())
    return b''.join(digests)

  decoding = (CACHE_FORMAT, PIL.__version__, Image.MAX_IMAGE_PIXELS, size, crop_size, channels)
  key = hashlib.blake2b(repr(decoding).encode(), digest_size=16)
  try:
    for digests in _in_batches(digest_batch, paths):
      key.update(digests)
  except OSError:
    return None
  return cache_folder() / 'pictures' / f'{key.hexdigest()}.npy'


def _load(file, row_type, num_rows):
  """The rows in `file`, or None where it is missing or damaged."""
  try:
    rows = np.lib.format.open_memmap(file, mode='r')
  except Exception:  # NumPy's reader raises half a dozen kinds over a damaged header
    return None
  return rows if rows.dtype == row_type and rows.shape == (num_rows,) else None


def _save(file, rows):
  """Writes `rows` in one move, so that nobody ever reads half a file."""
  temporary = None
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    for left_over in file.parent.glob('*.tmp'):  # by a process that was stopped as it wrote
      with contextlib.suppress(FileNotFoundError):
        if time.time() - left_over.stat().st_mtime > STALE_SECONDS:
          left_over.unlink()
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix='.tmp', delete=False) as temporary:
      np.save(temporary, rows)
      temporary.flush()
      os.fsync(temporary.fileno())
    os.replace(temporary.name, file)
  except OSError as error:
    if temporary:
      Path(temporary.name).unlink(missing_ok=True)
    print(
      f'The decoded pictures cannot be kept in {file.parent} ({error.strerror or error}): '
      'the next start decodes them again.',
      flush=True,
    )


def _report_broken(paths, readable, read, skip_broken):
  broken = np.flatnonzero(~readable)
  if not skip_broken:
    first, num_others = paths[broken[0]], len(broken) - 1
    others = f', and neither can {num_others:,} more of the {len(paths):,} pictures'
    raise InputError(
      f'{first} cannot be read ({_reason(first, read)}){others if num_others else ""}. '
      '--config.data.skip_broken=True leaves out what is broken and lists it.'
    )
  lines = [f'{len(broken):,} of {len(paths):,} pictures cannot be read and are left out:']
  lines += [f'  {paths[row]}: {_reason(paths[row], read)}' for row in broken[:SHOWN_FILES]]
  if len(broken) > SHOWN_FILES:
    lines.append(f'  and {len(broken) - SHOWN_FILES:,} more')
  print('\n'.join(lines), flush=True)


def _reason(path, read):
  """Why `path` cannot be read, in a few words; found by trying once more."""
  try:
    read(path)
  except UnidentifiedImageError:
    return 'it is no PNG, JPEG or WEBP, or only the beginning of one'
  except Image.DecompressionBombError:
    return f'it has more than {Image.MAX_IMAGE_PIXELS:,} pixels'
  except MemoryError:
    return 'there is not enough memory'
  except Exception as error:
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return text.splitlines()[0][:80]
  return 'it could not for a moment, try again'
