"""Configs: made from the defaults, checked, and compared."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from cvae_jax.config.columns import asked
from cvae_jax.config.table import FIELDS, FREE, TRACED, Registered, Rule, having
from cvae_jax.runtime.errors import InputError, did_you_mean


def default(**values: Any) -> ConfigDict:
  """A config of all fields at their defaults, but for those that are given.

  Args:
    **values: of fields; dotted names go in a dict, `default(beta=4, **{'model.name': 'mlp'})`.

  Raises:
    InputError: a field is unknown, or cannot hold the value.
  """
  config = with_defaults(ConfigDict())
  for field, value in values.items():
    _check_value(field, value)
    *groups, name = field.split('.')
    place = functools.reduce(getattr, groups, config)
    with place.ignore_type():
      place[name] = tuple(value) if isinstance(value, list) else value
  return config


def with_defaults(config: ConfigDict) -> ConfigDict:
  """Gives `config` the fields that it lacks, at their defaults; returns it."""
  for field, (value, *_) in FIELDS.items():
    *groups, name = field.split('.')
    place = config
    for group in groups:
      if group not in place:
        place[group] = ConfigDict()
      place = place[group]
    if name not in place:
      place[name] = value
    if FIELDS[field].rule.is_mixed and place.get_type(name) is not object:
      with place.ignore_type():  # ml_collections keeps the type of all others
        place[name] = FieldReference(place[name], field_type=object)
  return config


def height_and_width(data: ConfigDict) -> tuple[int, int]:
  """Of images, in pixels: `image_size` of `config.data`, which is one number or both."""
  size = data.image_size
  return size if isinstance(size, tuple) else (size, size)


def image_shape(data: ConfigDict) -> tuple[int, int, int]:
  """Height, width and channels of the images of `config.data`."""
  return *height_and_width(data), data.channels


def latent_shape(config: ConfigDict) -> tuple[int, ...]:
  """Height, width and channels of the map that latents are, or `(latent_dim,)`.

  Latents are vectors in any case; those of a map hold it row by row.
  """
  if not config.model.latent_channels:
    return (config.latent_dim,)
  reduction = 2 ** len(config.model.channels)
  height, width = (-(-side // reduction) for side in height_and_width(config.data))
  return height, width, config.model.latent_channels


def is_in_memory(data: ConfigDict) -> bool:
  """Whether `config.data` describes arrays that were given from Python, and lie in no file."""
  return data.name == 'arrays' and not data.dir


def shown_channels(data: ConfigDict) -> tuple[int, ...]:
  """The channels that stand for an image in pictures: one as grey, or three as RGB.

  They are `shown_channels` of `config.data`, else the first three. Of two, the first is red and the
  second cyan.
  """
  return data.shown_channels or {1: (0,), 2: (0, 1, 1)}.get(data.channels, (0, 1, 2))


class Difference(NamedTuple):
  """A field in which two configs differ."""

  field: str
  saved: Any
  given: Any

  def __str__(self) -> str:
    return f'{self.field} is {self.saved!r} there, {self.given!r} here'


def fields(config: ConfigDict) -> Iterator[tuple[str, Any]]:
  """Dotted names and values of all fields, in the config's order."""
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from ((f'{name}.{inner}', field) for inner, field in fields(value))
    else:
      yield name, value


def check_fields(config: ConfigDict) -> None:
  """Raises InputError for the first unknown or missing field, or value that none may have."""
  if not isinstance(config, ConfigDict):
    raise InputError(
      f'The config is a {type(config).__name__}, expected a ConfigDict: see configs/mnist.py.'
    )
  given = dict(fields(config))
  for field, value in given.items():
    _check_value(field, value)
  if missing := sorted(set(FIELDS) - set(given)):
    raise InputError(f'The config lacks the field(s) {", ".join(missing)}: see configs/default.py.')


def check(config: ConfigDict) -> None:
  """`check_fields`; raises InputError also for values that do not go together.

  What a registered name asks of other fields is registered with it (`Registry.check`).
  """
  check_fields(config)
  _check_channels(config.data)
  _check_conditions(config)
  _check_latents(config)
  for field, value in fields(config):
    if isinstance(rule := FIELDS[field].rule, Registered):
      rule.registry.check(config, value)


def _check_value(field: str, value: Any) -> None:
  if field not in FIELDS:
    raise InputError(
      f'Unknown config field {field!r}.{did_you_mean(field, FIELDS)} '
      'If a module of yours adds it, name that module with --import.'
    )
  rule = FIELDS[field].rule
  if not rule.accepts(value):
    suggestion = did_you_mean(value, rule.choices) if isinstance(value, str) else ''
    hint = '' if isinstance(rule, Rule) or not isinstance(value, str) else (
      ' If a module of yours registers it, name that module with --import.'
    )  # fmt: skip
    raise InputError(f'{field}={value!r} is not {rule.expected}.{suggestion}{hint}')


def _check_channels(data: ConfigDict) -> None:
  if data.alpha == 'keep' and data.channels != 4:
    raise InputError(
      f"data.alpha='keep' makes alpha the fourth of 4 channels, but data.channels={data.channels}. "
      'Set --config.data.channels=4, or leave data.alpha at white.'
    )
  if max(data.shown_channels, default=0) >= data.channels:
    raise InputError(
      f'data.shown_channels={data.shown_channels} are not all channels of the images, which are 0 '
      f'to {data.channels - 1} (data.channels={data.channels}).'
    )


def _check_conditions(config: ConfigDict) -> None:
  if config.data.conditions:
    asked(config.data.conditions)
  for name in ('data.conditions', 'data.num_labels', 'condition_dropout'):
    value = dict(fields(config))[name]
    if value and not config.conditional:
      raise InputError(
        f'{name}={value!r} needs conditions, but conditional=False ignores them. Leave one out.'
      )


def _check_latents(config: ConfigDict) -> None:
  given = f'model.latent_channels={config.model.latent_channels}'
  if not config.model.latent_channels:
    return
  for name, needed in (('model.name', 'resnet'), ('conditional', False)):
    if (value := dict(fields(config))[name]) != needed:
      raise InputError(
        f'{given} needs {name}={needed}, not {value!r}. Set --config.{name}={needed}, or '
        '--config.model.latent_channels=0.'
      )
  if config.latent_dim != (size := math.prod(latent_shape(config))):
    shape = '×'.join(map(str, latent_shape(config)))
    raise InputError(
      f'{given} makes latents of {shape} = {size} numbers, but latent_dim={config.latent_dim}. '
      f'Set --config.latent_dim={size}.'
    )


def differences(saved: ConfigDict, given: ConfigDict) -> list[Difference]:
  """The fields in which `given` is another run than `saved`, leaving out the free ones.

  `num_epochs` counts only where a schedule depends on it.
  """
  free = having(FREE)
  if given.learning_rate_schedule == 'constant' and given.beta_schedule != 'cyclical':
    free |= {'num_epochs'}
  before = dict(fields(saved))
  return [
    Difference(field, before.get(field), value)
    for field, value in fields(with_data(given, saved.data.num_classes, saved.data.columns))
    if field not in free and before.get(field) != value
  ]


def has_table(config: ConfigDict) -> bool:
  """Whether images have a table of conditions, instead of one label that is always known."""
  hides = config.condition_dropout or config.data.num_labels
  return bool(config.conditional and (config.data.conditions or hides))


def with_data(config: ConfigDict, num_classes: int, columns: tuple[str, ...] = ()) -> ConfigDict:
  """`config` itself, or a copy with what it leaves to the data.

  Args:
    config: a config.
    num_classes: of the labels.
    columns: what the network is given of each column of the table; see `columns.Inputs`.
  """
  is_open = has_table(config) or not config.data.num_classes
  if not is_open or not config.conditional:
    return config
  config = config.copy_and_resolve_references()
  config.data.num_classes, config.data.columns = num_classes, columns
  return config


def shares_program(one: ConfigDict, other: ConfigDict) -> bool:
  """Whether two runs can use one compiled step: they differ in traced fields alone."""
  different = {difference.field for difference in differences(one, other)}
  return different <= having(TRACED) and one.num_epochs == other.num_epochs
