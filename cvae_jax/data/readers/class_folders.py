"""Pictures whose class is the name of a folder that they are in."""

import os
from collections import Counter
from pathlib import Path

from cvae_jax.data.readers.classes import class_name, in_order
from cvae_jax.data.readers.decoding import FORMAT_NAMES
from cvae_jax.data.readers.entries import Entries, counted, entries_of, stray, walk
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

NO_CLASS = ''  # stands for the class of pictures that lie in no class folder

Found = tuple[dict[str, list[Path]], Counter]


def read(folder: Path, level: int) -> Found:
  """The pictures of each class in the folder of a split.

  Args:
    folder: of a split.
    level: 0: the folders in `folder` are the classes, and folders in these are passed over. Else
      the class is the folder at this level on the way to a picture, 1 the outermost; −1 the
      innermost.

  Returns:
    The paths of each class, classes in order, paths by their names; and what was passed over.

  Raises:
    InputError: there is no picture, or a class has none.
  """
  found, passed_over = _at_level(folder, level) if level else _in_first_folders(folder)
  return {name: found[name] for name in in_order(found)}, passed_over


def _in_first_folders(folder: Path) -> Found:
  entries, shown = entries_of(folder), printable(folder)
  passed_over = entries.passed_over()
  if not entries.folders:
    if entries.pictures:
      return {NO_CLASS: [Path(f'{folder}/{name}') for name in entries.pictures]}, passed_over
    raise _nothing(folder, passed_over)
  passed_over += stray(entries.pictures)
  classes = {}
  for name in entries.folders:
    inner = entries_of(folder / name)
    if not inner.pictures:
      raise _no_picture(f'{shown}/{printable(name)}', inner)
    found = [Path(f'{folder}/{name}/{file}') for file in inner.pictures]
    classes.setdefault(class_name(name), []).extend(found)
    passed_over += inner.passed_over()
    if inner.folders:
      passed_over['folder(s) in classes'] += len(inner.folders)
  return classes, passed_over


def _at_level(folder: Path, level: int) -> Found:
  classes, passed_over = {}, Counter()
  for parent, entries in walk(folder):
    passed_over += entries.passed_over()
    names = parent.relative_to(folder).parts
    is_deep = names and len(names) >= level
    if not entries.pictures:
      if is_deep and not entries.folders and level in (-1, len(names)):
        raise _no_picture(printable(parent), entries)
    elif is_deep:
      name = class_name(names[level if level < 0 else level - 1])
      found = [Path(f'{parent}/{file}') for file in entries.pictures]
      classes.setdefault(name, []).extend(found)
    else:
      passed_over += stray(entries.pictures)
  if not classes:
    raise _nothing(folder, passed_over, f' at data.class_level={level}')
  return {name: sorted(found, key=os.fsencode) for name, found in classes.items()}, passed_over


def _nothing(folder, passed_over, place=''):
  shown = printable(folder)
  others = f', only {counted(passed_over)}' if passed_over else ''
  return InputError(
    f'{shown} holds no class folder{place} and no picture{others}. Put the pictures '
    f'({FORMAT_NAMES}) in one folder per class, {shown}/<class>; without classes, in {shown}.'
  )


def _no_picture(shown: str, entries: Entries) -> InputError:
  advice = 'Put pictures in these formats there, or remove the folder.'
  if entries.folders:
    inner = ', '.join(map(printable, entries.folders[:3]))
    advice += (
      f' It holds folders ({inner}, ...): if those are the classes or splits, name {shown} itself, '
      'or set --config.data.class_level=-1 for the innermost folders as classes.'
    )
  others = entries.passed_over()
  return InputError(
    f'{shown} is a class without a picture ({FORMAT_NAMES})'
    f'{f"; it holds {counted(others)}" if others else ""}. {advice}'
  )
