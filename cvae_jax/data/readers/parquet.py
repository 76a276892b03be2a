"""Parquet files with a column of pictures, as Hugging Face stores data sets: decodes none."""

import re
from pathlib import Path

import numpy as np

from cvae_jax.data.readers import (
  array_labels,
  classes,
  embedded,
  parquet_columns,
  parquet_conditions,
)
from cvae_jax.data.readers.roles import SPLITS
from cvae_jax.data.readers.sources import DATASETS, Source, Split
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import printable

SHARD = re.compile(r'-(\d{4,6})-of-(\d{4,6})')


@DATASETS.register('parquet', own_test_split=False)
def source(data) -> Source:
  """The pictures in the Parquet files of `data.dir`, with classes from a column of labels."""
  if not data.dir:
    raise InputError(
      "data.name='parquet' needs a folder of Parquet files: name it with --config.data.dir=DIR, "
      'which holds train-00000-of-00001.parquet, ..., there or in data/.'
    )
  shards = find(paths.from_user(data.dir))
  if data.conditions:
    return parquet_conditions.source_of(shards, data)
  columns = parquet_columns.find(shards['train'][0], data.image_column, data.label_column)
  pictures, labels = {}, {}
  for split, files in shards.items():
    found = [parquet_columns.read(file, columns) for file in files]
    pictures[split] = embedded.rows_of(files, [num_rows for num_rows, _ in found], columns.image)
    if not pictures[split]:
      raise InputError(f'{printable(files[0])} holds no rows: the {split} split is empty.')
    if columns.label:
      given = np.concatenate([column for _, column in found])
      labels[split] = array_labels.labels_of(given, f'{split} labels (column {columns.label!r})')
  names = columns.class_names
  if names:
    for split in parquet_columns.hidden(labels):
      del pictures[split], labels[split]
    labels = {split: column.astype(np.int32) for split, column in labels.items()}
  elif labels:
    labels, names = classes.numbered(labels)
  else:
    labels = {split: np.zeros(len(rows), np.int32) for split, rows in pictures.items()}
  return Source({split: Split(pictures[split], labels[split]) for split in pictures}, names)


def find(path: Path) -> dict[str, list[Path]]:
  """The files of each split, in order: `train-*.parquet` or `train/*.parquet`; so also the others.

  Files without the name of a split are the training split where there are no others.

  Args:
    path: a folder, whose subfolder data/ is looked into as well; or one file.

  Raises:
    InputError: there is no such file, training files are missing, or a shard is.
  """
  if not path.exists():
    raise InputError(f'{printable(path)} cannot be found, expected Parquet files.')
  if not path.is_dir():
    return {'train': [path]}
  for place in (path, path / 'data'):
    files = [file for file in _parquet_files(place) if _split_of(file, place)]
    others = [file for file in place.glob('*.parquet') if file not in files]
    if files or others:
      break
  else:
    inner = sorted({file.parent.name for file in path.glob('*/*.parquet')})
    advice = f' Its folders {", ".join(inner[:10])} hold some: name one.' if inner else ''
    raise InputError(f'{printable(path)} holds no .parquet file, nor does its data/.{advice}')
  if files and others:
    shown = ', '.join(printable(file.name) for file in sorted(others)[:5])
    print(f'Passed over in {printable(place)}: {shown}{", ..." if len(others) > 5 else ""}.')
  found = {}
  for file in sorted(files or others):
    found.setdefault(_split_of(file, place) or 'train', []).append(file)
  if 'train' not in found:
    raise InputError(
      f'{printable(place)} holds {", ".join(found)}, but no training files: train-*.parquet.'
    )
  for files in found.values():
    _check_shards(files)
  return {split: found[split] for split in dict.fromkeys(SPLITS.values()) if split in found}


def _parquet_files(place):
  return [*place.glob('*.parquet'), *place.glob('*/*.parquet')]


def _split_of(file, place):
  """The split that the name of a file says, or of the folder in `place` that it is in."""
  name = file.name if file.parent == place else file.parent.name
  return SPLITS.get(re.match('[a-z]*', name.lower()).group())


def _check_shards(files):
  for file in files:
    if found := SHARD.search(file.name):
      begin, end = file.name[: found.start()], int(found[2])
      there = {
        int(other[1])
        for other in (SHARD.search(each.name) for each in files if each.name.startswith(begin))
        if other and int(other[2]) == end
      }
      if missing := sorted(set(range(end)) - there):
        raise InputError(
          f'{printable(file.parent)} lacks {len(missing):,} of the {end:,} files {begin}-*: the '
          f'first is {begin}-{missing[0]:05d}-of-{end:05d}.parquet. Fetch all.'
        )
