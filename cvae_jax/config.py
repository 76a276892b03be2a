"""A config: check it, save it, read it back, compare two.

Plain data, no code: `config.json` in a run's folder describes a trained model, and reading it runs
nothing.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import cvae_jax
from cvae_jax.errors import InputError, did_you_mean

FILE_NAME = 'config.json'
FORMAT = 1
MAX_STEPS = 2**31 - 1  # the step is an int32
MAX_EPOCHS = 1_000_000  # of a warm-up or a delay
MAX_WIDTH = 65_536  # of any layer: what exceeds it is a slip of the finger


class Rule(NamedTuple):
  """What a field may hold: a test, and its words for the error message."""

  accepts: Callable[[Any], bool]
  expected: str
  choices: tuple[str, ...] = ()


def _is_integer(value) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
  return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)


def _integer(minimum: int, maximum: int = MAX_STEPS) -> Rule:
  limit = f' to {maximum}' if maximum != MAX_STEPS else ' or more'
  return Rule(lambda v: _is_integer(v) and minimum <= v <= maximum, f'an integer, {minimum}{limit}')


def _number(minimum: float, below: float = math.inf) -> Rule:
  limit = f', less than {below:g}' if below < math.inf else ''
  return Rule(
    lambda v: _is_number(v) and minimum <= v < below, f'a number, {minimum:g} or more{limit}'
  )


def _between(minimum: float, maximum: float) -> Rule:
  return Rule(
    lambda v: _is_number(v) and minimum <= v <= maximum, f'a number from {minimum:g} to {maximum:g}'
  )


def _one_of(*choices: str) -> Rule:
  return Rule(lambda v: v in choices, f'one of: {", ".join(choices)}', choices)


_POSITIVE = Rule(lambda v: _is_number(v) and v > 0, 'a number above 0')
_TEXT = Rule(lambda v: isinstance(v, str), 'a text')
_NAME = Rule(
  lambda v: isinstance(v, str) and v not in ('', '.', '..') and not set(v) & set('/\\\0'),
  'a name that can be that of a folder',
)
_PROBABILITY = _between(0, 1)
_FLAG = Rule(lambda v: isinstance(v, bool), 'True or False')
_WIDTHS = Rule(
  lambda v: (
    isinstance(v, tuple | list)
    and len(v) > 0
    and all(_is_integer(c) and 0 < c <= MAX_WIDTH for c in v)
  ),
  f'a tuple of integers from 1 to {MAX_WIDTH}, one for each stage',
)

RULES: dict[str, Rule] = {
  'name': _NAME,
  'seed': _integer(0, 2**32 - 1),
  'num_epochs': _integer(1),
  'batch_size': _integer(1),
  'latent_dim': _integer(1, MAX_WIDTH),
  'conditional': _FLAG,
  'likelihood': _one_of(
    'bernoulli', 'gaussian', 'gaussian_learned', 'l2', 'charbonnier', 'discretized_logistic'
  ),
  'sigma': _POSITIVE,
  # Its square must not vanish in float32; draws are accepted with at least exp(-epsilon).
  'charbonnier_epsilon': _between(1e-6, 1),
  'beta': _number(0),
  'beta_schedule': _one_of('constant', 'linear', 'cosine', 'cyclical'),
  'beta_warmup_epochs': _between(0, MAX_EPOCHS),
  'beta_warmup_steps': _integer(0),
  'beta_delay_epochs': _between(0, MAX_EPOCHS),
  'beta_delay_steps': _integer(0),
  'beta_cycles': _integer(1),
  'free_bits': _number(0),
  'num_importance_samples': _integer(1, MAX_WIDTH),
  'optimizer': _one_of('adamw', 'adam'),
  'learning_rate': _POSITIVE,
  'learning_rate_schedule': _one_of('constant', 'cosine'),
  'learning_rate_warmup_epochs': _between(0, MAX_EPOCHS),
  'weight_decay': _number(0),
  'clip_norm': _number(0),
  'ema_decay': _number(0, below=1),
  'precision': _one_of('float32', 'bfloat16'),
  'init_from': _TEXT,
  'profile': _FLAG,
  'log_every_steps': _integer(1),
  'eval_every_epochs': _integer(1),
  'checkpoint_every_epochs': _integer(1),
  'checkpoint_every_steps': _integer(0),
  'keep_checkpoints': _integer(1),
  'data.name': _one_of(
    'digits', 'mnist', 'fashion_mnist', 'cifar10', 'celeba', 'binarized_mnist', 'folder'
  ),
  'data.dir': _TEXT,
  'data.crop_size': _integer(0),
  'data.image_size': _integer(8, 256),
  'data.channels': Rule(lambda v: _is_integer(v) and v in (1, 3), '1 or 3'),
  'data.num_classes': _integer(0, MAX_WIDTH),
  'data.label_attribute': _TEXT,
  'data.pixel_range': _one_of('auto', 'unit', 'symmetric'),
  'data.binarize': _one_of('dynamic', 'none'),
  'data.max_examples': _integer(0),
  'data.validation_examples': _integer(1),
  'data.split_seed': _integer(0, 2**32 - 1),
  'data.placement': _one_of('auto', 'device', 'stream'),
  'data.skip_broken': _FLAG,
  'data.augment.rotation': _between(0, 180),
  'data.augment.rotation_probability': _PROBABILITY,
  'data.augment.shift': _between(0, 256),
  'data.augment.shift_probability': _PROBABILITY,
  'data.augment.flip_probability': _PROBABILITY,
  'data.augment.brightness': _between(0, 1),
  'data.augment.brightness_probability': _PROBABILITY,
  'data.augment.contrast': _between(0, 1),
  'data.augment.contrast_probability': _PROBABILITY,
  'data.augment.auto_contrast': _between(0, 1),
  'data.augment.auto_contrast_probability': _PROBABILITY,
  'model.name': _one_of('resnet', 'conv', 'conv_resize', 'mlp'),
  'model.channels': _WIDTHS,
  'model.hidden_dim': _integer(1, MAX_WIDTH),
  'model.embed_dim': _integer(1, MAX_WIDTH),
  'model.activation': _one_of('silu', 'relu', 'leaky_relu'),
  'model.norm': _one_of('group', 'batch', 'none'),
  'model.groups': _integer(1),
  'model.dropout': _number(0, below=1),
}

# Fields that came after the first runs were saved, with the value that those runs had.
LATER_FIELDS = {
  'conditional': True,
  'charbonnier_epsilon': 1e-3,
  'beta_warmup_steps': 0,
  'beta_delay_epochs': 0.0,
  'beta_delay_steps': 0,
  'free_bits': 0.0,
  'num_importance_samples': 1,
  'optimizer': 'adamw',
  'data.crop_size': 0,
  'data.label_attribute': 'Smiling',
  'data.pixel_range': 'auto',
  'data.placement': 'auto',
  'data.skip_broken': False,
  'data.augment.rotation': 0.0,
  'data.augment.rotation_probability': 1.0,
  'data.augment.shift': 0.0,
  'data.augment.shift_probability': 1.0,
  'data.augment.flip_probability': 0.0,
  'data.augment.brightness': 0.0,
  'data.augment.brightness_probability': 1.0,
  'data.augment.contrast': 0.0,
  'data.augment.contrast_probability': 1.0,
  'data.augment.auto_contrast': 0.0,
  'data.augment.auto_contrast_probability': 1.0,
  'model.hidden_dim': 256,
  'model.dropout': 0.0,
}

# What may change when a run goes on: how it is watched, kept and fed, not what it computes.
FREE = frozenset(
  {
    'profile',
    'log_every_steps',
    'eval_every_epochs',
    'checkpoint_every_epochs',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'data.dir',
    'data.placement',
  }
)

# What the shapes of the weights can depend on.
SHAPES = frozenset(
  {
    'conditional',
    'latent_dim',
    'data.image_size',
    'data.channels',
    'data.num_classes',
    'model.name',
    'model.channels',
    'model.hidden_dim',
    'model.embed_dim',
    'model.norm',
    'likelihood',
  }
)


# Likelihoods whose standard deviation is one of the weights.
LEARNED_SIGMA = frozenset({'gaussian_learned', 'discretized_logistic'})
MIN_LEARNED_SIGMA = 1e-3


class SavedConfig(NamedTuple):
  """What a run's config.json holds."""

  config: ConfigDict
  class_names: tuple[str, ...]
  data_fingerprint: str | None  # None in runs of before it was kept


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
  if config.conditional and not config.data.num_classes:
    raise InputError(
      'conditional=True needs classes, but data.num_classes=0. Set --config.conditional=False.'
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


def save(
  folder: Path, config: ConfigDict, class_names: tuple[str, ...], data_fingerprint: str
) -> None:
  """Writes `config.json` into `folder`, whole or not at all."""
  content = {
    'format': FORMAT,
    'cvae_jax': cvae_jax.__version__,
    'class_names': list(class_names),
    'data_fingerprint': data_fingerprint,
    'config': config.to_dict(),
  }
  path = folder / FILE_NAME
  temporary = folder / f'.{FILE_NAME}.tmp'
  temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
  os.replace(temporary, path)


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
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except OSError as error:
    raise InputError(f'{folder} is no run folder: {path} {error.strerror.lower()}.') from error
  except ValueError as error:
    raise InputError(f'{path} is no JSON: {error}.') from error
  if isinstance(content, dict) and content.get('format', FORMAT) != FORMAT:
    raise InputError(
      f'{path} has format {content["format"]!r}, written by cvae_jax {content.get("cvae_jax")}; '
      f'this version {cvae_jax.__version__} reads format {FORMAT}. Install that version.'
    )
  try:
    config = _with_later_fields(ConfigDict(_with_tuples(content['config'])))
    class_names = tuple(str(name) for name in content['class_names'])
    fingerprint = content.get('data_fingerprint')
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise InputError(f'{path} is not what this version writes: {error}.') from error
  try:
    check(config)
  except InputError as error:
    raise InputError(f'{path}: {error}') from error
  if config.conditional and len(class_names) != config.data.num_classes:
    raise InputError(
      f'{path} names {len(class_names)} classes, expected {config.data.num_classes} '
      '(data.num_classes).'
    )
  return SavedConfig(config, class_names, fingerprint)
