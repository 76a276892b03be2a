"""Folders that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

ADVICE = 'Name another --output.'


@contextlib.contextmanager
def whole(output: Path, names: Collection[str]) -> Iterator[Path]:
  """Gives a new folder to fill, which takes the place of `output` if the block succeeds.

  Args:
    output: a folder that does not exist, is empty, or holds an earlier export.
    names: of the files that an export of this format may hold.

  Raises:
    InputError: `output` is something else, or cannot be written.
  """
  with paths.writing(output, ADVICE):
    _check_replaceable(output, names)
    new = [folder for folder in output.parents if not folder.exists()]
    temporary = output.with_name(f'.{output.name}.{os.getpid()}.tmp')
    try:
      output.parent.mkdir(parents=True, exist_ok=True)
      temporary.mkdir()
      yield temporary
      old = output.with_name(f'.{output.name}.{os.getpid()}.old')
      if output.exists():
        output.replace(old)
      temporary.replace(output)
      shutil.rmtree(old, ignore_errors=True)
    except BaseException:
      shutil.rmtree(temporary, ignore_errors=True)
      with contextlib.suppress(OSError):
        for folder in new:
          folder.rmdir()
      raise


def _check_replaceable(output: Path, names: Collection[str]) -> None:
  if output.exists() and not output.is_dir():
    raise InputError(f'{output} is a file, expected a folder to write. {ADVICE}')
  foreign = sorted(path.name for path in output.glob('*') if path.name not in names)
  if foreign:
    raise InputError(
      f'{output} holds other files ({", ".join(foreign)[:100]}) than an earlier export, and stays '
      f'as it is. {ADVICE}'
    )
