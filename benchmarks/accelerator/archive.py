"""Folders of runs in files of limited size, which can be carried from one machine to another.

An archive is `NAME.tar.gz.0`, `.1`, ...: one file when they are put together again.
"""

import io
import tarfile
from pathlib import Path

from cvae_jax.runtime import paths

PART_BYTES = 12 << 20


def parts(folder: Path, name: str) -> list[Path]:
  """The files of an archive, in order."""
  return sorted(folder.glob(f'{name}.tar.gz.[0-9]'))


def read(folder: Path, name: str) -> bytes:
  """The content of an archive; nothing where there is none."""
  return b''.join(path.read_bytes() for path in parts(folder, name))


def write(folder: Path, name: str, content: bytes, max_parts: int) -> bool:
  """Writes or replaces an archive; where the new one does not fit, returns False and keeps it."""
  pieces = [content[begin : begin + PART_BYTES] for begin in range(0, len(content), PART_BYTES)]
  if len(pieces) > max_parts:
    return False
  for path in parts(folder, name)[len(pieces) :]:
    path.unlink()
  for number, piece in enumerate(pieces):
    paths.write(folder / f'{name}.tar.gz.{number}', piece)
  return True


def packed(run: Path, only_step: int | None = None) -> bytes:
  """The folder of a run, packed; the packed folders of several can be put one after the other.

  Args:
    run: the folder.
    only_step: leave out all checkpoints but this one.
  """

  def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    _, first, second, *_ = [*entry.name.split('/'), '', '']
    is_checkpoint = first == 'checkpoints' and second
    is_left_out = first.startswith(('projector', 'events.out.tfevents', '.')) or (
      is_checkpoint and only_step is not None and second != str(only_step)
    )
    return None if is_left_out else entry

  content = io.BytesIO()
  # Weights hardly compress; the names and blocks of many small files do.
  with tarfile.open(fileobj=content, mode='w:gz', compresslevel=1) as file:
    file.add(run, arcname=run.name, filter=keep)
  return content.getvalue()


def unpack(content: bytes, into: Path) -> None:
  """Unpacks runs.

  Raises:
    OSError, tarfile.TarError, EOFError, zlib.error: a part is missing or damaged.
  """
  if content:
    # Behind each run lie the zeros that end its archive.
    with tarfile.open(fileobj=io.BytesIO(content), mode='r:gz', ignore_zeros=True) as file:
      file.extractall(into, filter='data')
