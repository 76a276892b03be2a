"""config.json in the folder of a run: plain data that describe a model; reading it runs nothing."""

import json
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import cvae_jax
from cvae_jax.config import columns as columns_lib
from cvae_jax.config.columns import Column
from cvae_jax.config.values import check, with_defaults
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError

FILE_NAME = 'config.json'
FORMAT = 1
MAX_BYTES = 1 << 24  # of a config.json


class SavedConfig(NamedTuple):
  """What a run's config.json holds."""

  config: ConfigDict
  class_names: tuple[str, ...]
  data_fingerprint: str | None  # None in runs of early versions
  data_parts: dict[str, int | str] | None  # see `datasets.describe`
  columns: tuple[Column, ...] = ()  # of the table of conditions, if there is one
  first_stage: str | None = None  # of a second stage: the digest of its first stage's weights


def save(folder: Path, saved: SavedConfig) -> None:
  """Writes `config.json` into `folder`, whole or not at all; `data.dir` becomes absolute."""
  plain = saved.config.to_dict()
  if plain['data']['dir']:
    plain['data']['dir'] = str(paths.from_user(plain['data']['dir']).absolute())
  content = {
    'format': FORMAT,
    'cvae_jax': cvae_jax.__version__,
    'class_names': list(saved.class_names),
    'data_fingerprint': saved.data_fingerprint,
    'data_parts': saved.data_parts,
    'columns': [column._asdict() for column in saved.columns],
    'config': plain,
  }
  if saved.first_stage is not None:
    content['first_stage'] = saved.first_stage
  with paths.whole(folder / FILE_NAME) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def from_plain(content: dict[str, Any]) -> ConfigDict:
  """A config as `to_dict` and JSON gave it; fields that it lacks take their defaults.

  Raises:
    KeyError, TypeError, AttributeError, ValueError, RecursionError: it is none.
  """
  return with_defaults(ConfigDict(_with_tuples(content)))


def _with_tuples(value):
  """JSON's lists as the tuples they were."""
  if isinstance(value, dict):
    return {name: _with_tuples(inner) for name, inner in value.items()}
  return tuple(value) if isinstance(value, list) else value


def read(folder: Path) -> SavedConfig:
  """Reads `config.json` of a run's folder.

  Raises:
    InputError: there is none, it is no such file, or its config is not one of this version.
  """
  path = folder / FILE_NAME
  content = _content(path)
  version = content.get('cvae_jax')
  if content.get('format', FORMAT) != FORMAT:
    raise InputError(
      f'{path} has format {content["format"]!r}, written by cvae_jax {version}; '
      f'this version {cvae_jax.__version__} reads format {FORMAT}. Install that version.'
    )
  try:
    config = from_plain(content['config'])
    saved = SavedConfig(
      config,
      _class_names(content['class_names']),
      content.get('data_fingerprint'),
      _data_parts(content.get('data_parts')),
      columns_lib.from_plain(content.get('columns', ())),
      _digest(content.get('first_stage')),
    )
  except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
    raise InputError(f'{path} is not what this version writes: {str(error)[:200]}.') from error
  try:
    check(config)
  except InputError as error:
    another = f' It was written by cvae_jax {version}; this is {cvae_jax.__version__}.'
    raise InputError(
      f'{path}: {error}{another if version != cvae_jax.__version__ else ""}'
    ) from error
  if tuple(map(columns_lib.inputs_text, saved.columns)) != config.data.columns:
    raise InputError(
      f'{path} describes {len(saved.columns)} columns of conditions, expected those of '
      f'data.columns={config.data.columns}.'
    )
  num_classes = config.data.num_classes
  if config.conditional and not saved.columns and not 0 < len(saved.class_names) == num_classes:
    raise InputError(
      f'{path} names {len(saved.class_names)} classes, expected {num_classes} or more than 0 '
      '(data.num_classes).'
    )
  return saved


def _content(path: Path) -> dict[str, Any]:
  try:
    if path.stat().st_size > MAX_BYTES:
      raise InputError(f'{path} has more than {MAX_BYTES:,} bytes: no run wrote it.')
    content = json.loads(path.read_text(encoding='utf-8'))
  except OSError as error:
    raise InputError(f'{path.parent} is no run folder: {path} {error.strerror.lower()}.') from error
  except (ValueError, RecursionError) as error:
    raise InputError(f'{path} is no JSON: {error}.') from error
  if not isinstance(content, dict):
    raise InputError(f'{path} is not what this version writes: a {type(content).__name__}.')
  return content


def _data_parts(parts) -> dict[str, int | str] | None:
  if parts is None:
    return None
  kinds = {'training images': int, 'validation images': int, 'labels': str}
  if not isinstance(parts, dict) or any(
    not isinstance(value, kinds.get(name, int | str)) for name, value in parts.items()
  ):
    raise TypeError(f'data_parts are not numbers of images and a hash of labels: {parts!r}'[:150])
  return parts


def _digest(digest) -> str | None:
  if not isinstance(digest, str | None):
    raise TypeError(f'first_stage is no digest: {digest!r}'[:150])
  return digest


def _class_names(names) -> tuple[str, ...]:
  if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
    raise TypeError('class_names are no list of texts')
  # Runs of earlier versions kept bytes that are no text.
  is_text = [all(unicodedata.category(letter) != 'Cs' for letter in name) for name in names]
  names = [name if ok else paths.printable(name) for name, ok in zip(names, is_text, strict=True)]
  if any(unicodedata.category(letter) == 'Cc' for name in names for letter in name):
    raise ValueError('class_names hold characters that command a terminal')
  return tuple(unicodedata.normalize('NFC', name) for name in names)  # as readers give them
