"""The runs of a sweep: one for each combination of a few fields' values."""

import copy
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cvae_jax import config as config_lib
from cvae_jax.config import FIELDS, FREE
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError, did_you_mean
from cvae_jax.training import run_folder

MAX_RUNS = 1_000
MAX_NAME_BYTES = 200


class Axis(NamedTuple):
  """A field, and the values it takes in turn."""

  field: str
  values: tuple[Any, ...]


class Member(NamedTuple):
  """One run of a sweep."""

  name: str  # 'beta=1,seed=0', that of its folder
  values: dict[str, Any]  # of the fields that are swept
  config: ConfigDict
  workdir: Path


def parse(text: str, config: ConfigDict) -> Axis:
  """Parses 'beta=0.5,1,2' or 'model.channels=(32,64),(64,128)'.

  Raises:
    InputError: it is no field, or a value is none of its values.
  """
  field, equals, listed = text.partition('=')
  field = field.strip().removeprefix('config.')
  values = dict(config_lib.fields(config))
  if not equals or not listed.strip():
    raise InputError(f'--sweep {text[:80]!r} has no values: expected e.g. --sweep beta=0.5,1,2.')
  if field not in values or field == 'name' or field in config_lib.having(FREE):
    sweepable = sorted(set(values) - config_lib.having(FREE) - {'name'})
    if field in values:
      raise InputError(f'--sweep: {field!r} makes no other run, whatever its value.')
    raise InputError(f'--sweep: {field[:80]!r} is no config field.{did_you_mean(field, sweepable)}')
  parts = [part.strip() for part in re.split(r',(?![^(]*\))', listed)]
  parsed = tuple(_value(field, part, values[field]) for part in parts)
  if len(set(parsed)) < len(parsed):
    raise InputError(f'--sweep {field}={listed} names a value twice.')
  return Axis(field, parsed)


def _value(field: str, text: str, like: Any) -> Any:
  """`text` as a value of the type of `like`."""
  try:
    if isinstance(like, bool):
      return {'true': True, 'false': False}[text.lower()]
    is_mixed = FIELDS[field].rule.is_mixed
    if '(' in text if is_mixed else isinstance(like, tuple):
      return tuple(int(width) for width in text.strip('()').split(',') if width.strip())
    return int(text) if is_mixed else type(like)(text)
  except (ValueError, KeyError) as error:
    raise InputError(f'--sweep: {field}={text!r} is not {FIELDS[field].rule.expected}.') from error


def members(config: ConfigDict, axes: Sequence[Axis], folder: Path) -> list[Member]:
  """The runs of all combinations of values, the last axis changing fastest.

  Raises:
    InputError: a combination is no usable config, a field is named twice, or there are too many.
  """
  for axis in axes:
    if not axis.values or len(set(axis.values)) < len(axis.values):
      what = 'a value twice' if axis.values else 'no values'
      raise InputError(f'The sweep has {what} of {axis.field}: give each once.')
  fields = [axis.field for axis in axes]
  if len(set(fields)) < len(fields):
    raise InputError(f'--sweep names a field twice: {", ".join(fields)}. Give its values together.')
  count = np.prod([len(axis.values) for axis in axes], dtype=np.float64)
  if count > MAX_RUNS:
    raise InputError(f'The sweep has {count:,.0f} runs, more than {MAX_RUNS:,}: give fewer values.')
  found = []
  for combination in itertools.product(*(axis.values for axis in axes)):
    values = dict(zip(fields, combination, strict=True))
    own = copy.deepcopy(config)  # with its references, such as a fraction of the epochs
    with own.ignore_type():
      own.update_from_flattened_dict(values)
    own = own.copy_and_resolve_references()
    name = ','.join(f'{field}={text_of(value)}' for field, value in values.items())
    try:
      config_lib.check(own)
    except InputError as error:
      raise InputError(f'{name}: {error}') from error
    found.append(Member(name, values, own, folder / _folder_name(name)))
  return found


def _folder_name(name: str) -> str:
  """A run's name as that of a folder; shortened where no file system could have it."""
  if '/' not in name and len(name.encode()) <= MAX_NAME_BYTES:
    return name
  short = name.replace('/', '_').encode()[:MAX_NAME_BYTES].decode(errors='ignore')
  return f'{short}-{paths.digest(name)}'


def text_of(value: Any) -> str:
  """A value as it stands in names and tables: 0.5, 1, (32,64)."""
  if isinstance(value, float):
    short = f'{value:g}'
    return short if float(short) == value else repr(value)
  if isinstance(value, tuple):
    return f'({",".join(map(str, value))})'
  return str(value)


def others(runs: Sequence[Member], folder: Path) -> list[str]:
  """Names of the runs in `folder` that are none of these."""
  own = {member.workdir.name for member in runs}
  return sorted(
    path.name for path in folder.glob('*') if path.name not in own and run_folder.holds_run(path)
  )
