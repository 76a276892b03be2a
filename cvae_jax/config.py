"""A config: check it, save it, read it back, compare two.

Plain data, no code: `config.json` in a run's folder describes a trained model, and reading it runs
nothing.
"""

import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import cvae_jax
from cvae_jax.config_fields import FREE, LATER_FIELDS, RULES
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError, did_you_mean

FILE_NAME = 'config.json'
FORMAT = 1
MAX_BYTES = 1 << 24  # of a config.json
# Likelihoods whose standard deviation is one of the weights.
LEARNED_SIGMA = frozenset({'gaussian_learned', 'discretized_logistic'})
MIN_LEARNED_SIGMA = 1e-3
MAX_PSEUDO_PIXELS = 1 << 24  # of a vamp prior's pseudo-inputs, 64 MB


class SavedConfig(NamedTuple):
  """What a run's config.json holds."""

  config: ConfigDict
  class_names: tuple[str, ...]
  data_fingerprint: str | None  # None in runs of before it was kept
  data_parts: dict[str, int | str] | None  # the same in parts: see `splits.describe`


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


def check(config: ConfigDict) -> None:
  """Raises InputError for the first unknown or missing field, or value that cannot be used."""
  if not isinstance(config, ConfigDict):
    raise InputError(
      f'The config is a {type(config).__name__}, no ConfigDict: see configs/mnist.py.'
    )
  given = dict(fields(config))
  for field, value in given.items():
    if field not in RULES:
      raise InputError(f'Unknown config field {field!r}.{did_you_mean(field, RULES)}')
    rule = RULES[field]
    if not rule.accepts(value):
      suggestion = did_you_mean(value, rule.choices) if isinstance(value, str) else ''
      raise InputError(f'{field}={value!r} is not {rule.expected}.{suggestion}')
  if missing := sorted(set(RULES) - set(given)):
    raise InputError(f'The config lacks the field(s) {", ".join(missing)}: see configs/default.py.')
  _check_groups(config.model)
  _check_together(config)


def _check_groups(model: ConfigDict) -> None:
  if model.norm != 'group':
    return
  widths, named = tuple(model.channels), f'model.channels={tuple(model.channels)}'
  if model.name == 'conv':
    widths, named = (*widths, model.hidden_dim), f'{named} and model.hidden_dim={model.hidden_dim}'
  common = math.gcd(*widths)
  if common % model.groups:
    divisors = [str(d) for d in range(1, common + 1) if common % d == 0]
    raise InputError(
      f'model.groups={model.groups} does not divide all of {named}. '
      f'Choose one of: {", ".join(divisors)}.'
    )


def _check_together(config: ConfigDict) -> None:
  """What each field allows for itself, but not beside another one."""
  stages, size = len(config.model.channels), config.data.image_size
  if config.model.name != 'mlp' and 2**stages > size:
    raise InputError(
      f'model.channels={tuple(config.model.channels)} halves the image {stages} times, more than '
      f'data.image_size={size} can bear. Give fewer stages.'
    )
  if config.likelihood == 'bernoulli' and config.data.pixel_range == 'symmetric':
    raise InputError(
      "data.pixel_range='symmetric' is [-1, 1], but likelihood='bernoulli' needs pixels in [0, 1]. "
      'Leave it at auto.'
    )
  if config.likelihood in LEARNED_SIGMA and config.sigma < MIN_LEARNED_SIGMA:
    raise InputError(
      f'sigma={config.sigma} is less than likelihood={config.likelihood!r} can learn: begin at '
      f'{MIN_LEARNED_SIGMA} or more, for pixels in [-1, 1] or [0, 1].'
    )
  if config.free_bits and config.num_importance_samples > 1:
    raise InputError(
      f'free_bits={config.free_bits} is about the KL of the ELBO, which '
      f'num_importance_samples={config.num_importance_samples} replaces by the IWAE bound. '
      'Set one of them back: free_bits=0 or num_importance_samples=1.'
    )
  if config.objective == 'dae':
    for field, value in (('num_importance_samples', 1), ('free_bits', 0), ('prior', 'standard')):
      if config[field] != value:
        raise InputError(
          f"objective='dae' has no distribution of latents, which {field}={config[field]!r} is "
          f'about. Set --config.{field}={value}.'
        )
  if config.prior == 'class_gaussian' and not config.conditional:
    raise InputError(
      "prior='class_gaussian' has a Gaussian for each class, but conditional=False. Choose one of: "
      'standard, vamp, flow.'
    )
  if config.prior == 'flow' and config.latent_dim < 2:
    raise InputError(
      f"prior='flow' moves one half of the latents given the other, but "
      f'latent_dim={config.latent_dim}. Give 2 or more.'
    )
  if config.prior == 'vamp':
    _check_vamp(config)
  if config.conditional and not config.data.num_classes:
    raise InputError(
      'conditional=True needs classes, but data.num_classes=0. Set --config.conditional=False.'
    )


def _check_vamp(config: ConfigDict) -> None:
  if config.model.norm == 'batch':
    raise InputError(
      "prior='vamp' is made of posteriors, which model.norm='batch' changes from batch to batch. "
      'Set model.norm to group or none.'
    )
  size = config.data.image_size**2 * config.data.channels * config.model.num_pseudo_inputs
  size *= config.data.num_classes if config.conditional else 1
  if size > MAX_PSEUDO_PIXELS:
    raise InputError(
      f'model.num_pseudo_inputs={config.model.num_pseudo_inputs} for each class of images of this '
      f'size are {size:,} pixels to encode in every step, more than {MAX_PSEUDO_PIXELS:,}. '
      'Give fewer.'
    )


def differences(saved: ConfigDict, given: ConfigDict) -> list[Difference]:
  """The fields in which `given` is another run than `saved`, leaving out those in FREE.

  `num_epochs` counts only where a schedule depends on it.
  """
  free = set(FREE)
  if given.learning_rate_schedule == 'constant' and given.beta_schedule != 'cyclical':
    free.add('num_epochs')
  before = dict(fields(saved))
  return [
    Difference(field, before.get(field), value)
    for field, value in fields(given)
    if field not in free and before.get(field) != value
  ]


def save(folder: Path, saved: SavedConfig) -> None:
  """Writes `config.json` into `folder`, whole or not at all."""
  content = {
    'format': FORMAT,
    'cvae_jax': cvae_jax.__version__,
    'class_names': list(saved.class_names),
    'data_fingerprint': saved.data_fingerprint,
    'data_parts': saved.data_parts,
    'config': saved.config.to_dict(),
  }
  with paths.whole(folder / FILE_NAME) as temporary:
    temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def from_plain(content: dict[str, Any]) -> ConfigDict:
  """The config that `to_dict` and JSON made `content` of, with the fields that came later.

  Raises:
    KeyError, TypeError, AttributeError, ValueError, RecursionError: it is none.
  """
  return _with_later_fields(ConfigDict(_with_tuples(content)))


def _with_tuples(value):
  """JSON's lists as the tuples they were."""
  if isinstance(value, dict):
    return {name: _with_tuples(inner) for name, inner in value.items()}
  return tuple(value) if isinstance(value, list) else value


def _with_later_fields(config: ConfigDict) -> ConfigDict:
  for field, value in LATER_FIELDS.items():
    *groups, name = field.split('.')
    place = config
    for group in groups:
      if group not in place:
        place[group] = ConfigDict()
      place = place[group]
    if name not in place:
      place[name] = value
  return config


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
  if config.conditional and len(saved.class_names) != config.data.num_classes:
    raise InputError(
      f'{path} names {len(saved.class_names)} classes, expected {config.data.num_classes} '
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


def _class_names(names) -> tuple[str, ...]:
  if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
    raise TypeError('class_names are no list of texts')
  if any(unicodedata.category(letter) == 'Cc' for name in names for letter in name):
    raise ValueError('class_names hold characters that command a terminal')
  return tuple(names)
