"""What is in a folder of pictures: folders, pictures, and what is passed over and counted."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cvae_jax.data.readers import files
from cvae_jax.data.readers.decoding import SUFFIXES
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SHOWN_KINDS = 8


class Entries(NamedTuple):
  """The names in a folder."""

  folders: list[str]
  pictures: list[str]
  others: list[str]  # files that are no pictures by name
  left: list[str]  # files and folders that the system left there

  @classmethod
  def of(cls, folders: Sequence[str], names: Sequence[str]) -> 'Entries':
    """Sorts the names of the folders and of the files in a folder into these kinds."""
    left = list(filter(files.is_left_by_system, [*folders, *names]))
    names = sorted(set(names) - set(left), key=os.fsencode)  # the same order in every locale
    pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
    others = [name for name in names if not name.lower().endswith(SUFFIXES)]
    return cls(sorted(set(folders) - set(left), key=os.fsencode), pictures, others, left)

  def passed_over(self) -> Counter:
    """How many files of each suffix are no pictures, and how often the system left what."""
    kinds = [Path(name).suffix.lower() or 'without suffix' for name in self.others]
    kinds += ['._*' if name.startswith('._') else name for name in self.left]
    return Counter(map(printable, kinds))


def entries_of(folder: Path) -> Entries:
  """The names in a folder.

  Raises:
    InputError: it cannot be listed.
  """
  return next(walk(folder))[1]


def walk(folder: Path, follow_links: bool = True) -> Iterator[tuple[Path, Entries]]:
  """A folder and those inside of it, in order of their names.

  Raises:
    InputError: one cannot be listed.
  """

  def refuse(error):
    raise InputError(
      f'{printable(error.filename)} cannot be listed: {error.strerror}. Make it readable, or name '
      'another folder.'
    ) from error

  seen = set()  # a link may lead to a folder above it
  for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=follow_links):
    entries = Entries.of(folders, names)
    is_new = os.path.realpath(parent) not in seen
    seen.add(os.path.realpath(parent))
    folders[:] = entries.folders if is_new else []  # os.walk enters these
    if is_new:
      yield Path(parent), entries


def counted(passed_over: Counter) -> str:
  """The most frequent kinds of what was passed over, for a line of output."""
  shown = [f'{count:,} {kind}' for kind, count in passed_over.most_common(SHOWN_KINDS)]
  return ', '.join(shown) + (', ...' if len(passed_over) > SHOWN_KINDS else '')


def stray(names: Sequence[str]) -> Counter:
  """Pictures outside of class folders where there are some."""
  return Counter({'stray picture(s)': len(names)} if names else {})
