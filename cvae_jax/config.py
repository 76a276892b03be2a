"""The fields of a config: their defaults, what they may hold, and how a config is saved and read.

Plain data, no code: `config.json` in a run's folder describes a trained model, and reading it runs
nothing.
"""

import enum
import functools
import importlib.util
import json
import math
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

import cvae_jax
from cvae_jax.runtime import paths
from cvae_jax.runtime.errors import InputError, did_you_mean

FILE_NAME = 'config.json'
FORMAT = 1
MAX_BYTES = 1 << 24  # of a config.json
MAX_STEPS = 2**31 - 1  # the step is an int32
MAX_EPOCHS = 1_000_000  # of a warm-up or a delay
MAX_STAGES = 64
MAX_WIDTH = 65_536  # of any layer; more is a typing mistake


class Rule(NamedTuple):
  """What a field may hold: a test, and its description for error messages."""

  accepts: Callable[[Any], bool]
  expected: str
  choices: tuple[str, ...] = ()
  is_mixed: bool = False  # whether the values have several types


class Registered(NamedTuple):
  """The rule of a field that holds a registered name; the registry is imported when it is needed.

  So reading a config or printing --help does not wait for JAX.
  """

  module: str
  attribute: str
  is_mixed = False

  @property
  def registry(self):
    """The `Registry` of the names."""
    return getattr(importlib.import_module(self.module), self.attribute)

  @property
  def choices(self) -> tuple[str, ...]:
    """The names that are registered now."""
    return tuple(self.registry)

  @property
  def expected(self) -> str:
    """For error messages."""
    return f'one of: {", ".join(self.choices)}'

  def accepts(self, value) -> bool:
    """Whether `value` is such a name."""
    return isinstance(value, str) and value in self.registry


class Effect(enum.Flag):
  """What a change of a field means, beyond another result of training."""

  NONE = 0
  FREE = enum.auto()  # may change when a run is resumed: how it is watched, kept and fed
  SHAPES = enum.auto()  # may change the shapes of the weights
  TRACED = enum.auto()  # an argument of the compiled step: runs that differ in it share a program


class Field(NamedTuple):
  """One field: its default, what it may hold, one line of help, and what a change of it means."""

  default: Any
  rule: Rule | Registered
  help: str
  effect: Effect = Effect.NONE


def _is_integer(value) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
  if isinstance(value, float):
    return math.isfinite(value)
  return _is_integer(value) and abs(value) < 2**63  # which a float can hold


def integer(minimum: int, maximum: int = MAX_STEPS) -> Rule:
  """An integer from `minimum` to `maximum`."""
  limit = f' to {maximum}' if maximum != MAX_STEPS else ' or more'
  return Rule(lambda v: _is_integer(v) and minimum <= v <= maximum, f'an integer, {minimum}{limit}')


def number(minimum: float, below: float = math.inf) -> Rule:
  """A finite number from `minimum` up to, and not including, `below`."""
  limit = f', less than {below:g}' if below < math.inf else ''
  return Rule(
    lambda v: _is_number(v) and minimum <= v < below, f'a number, {minimum:g} or more{limit}'
  )


def between(minimum: float, maximum: float) -> Rule:
  """A number from `minimum` to `maximum`."""
  return Rule(
    lambda v: _is_number(v) and minimum <= v <= maximum, f'a number from {minimum:g} to {maximum:g}'
  )


def one_of(*choices: str) -> Rule:
  """One of a few texts."""
  return Rule(lambda v: v in choices, f'one of: {", ".join(choices)}', choices)


POSITIVE = Rule(lambda v: _is_number(v) and v > 0, 'a number above 0')
PROBABILITY = between(0, 1)
FLAG = Rule(lambda v: isinstance(v, bool), 'True or False')
TEXT = Rule(lambda v: isinstance(v, str), 'a text')
FOLDER_NAME = Rule(
  lambda v: isinstance(v, str) and v not in ('', '.', '..') and not set(v) & set('/\\\0'),
  'a name that can be that of a folder',
)
SEED = integer(0, 2**32 - 1)
EPOCHS = between(0, MAX_EPOCHS)
WIDTH = integer(1, MAX_WIDTH)
WIDTHS = Rule(
  lambda v: (
    isinstance(v, tuple | list)
    and 0 < len(v) <= MAX_STAGES
    and all(_is_integer(c) and 0 < c <= MAX_WIDTH for c in v)
  ),
  f'a tuple of integers from 1 to {MAX_WIDTH}, one for each of up to {MAX_STAGES} stages',
)
BIT_DEPTH = Rule(lambda v: _is_integer(v) and (v == 0 or 8 <= v <= 16), '0, or an integer, 8 to 16')
MAX_CHANNELS = 16
CHANNELS = integer(1, MAX_CHANNELS)
SIDE = integer(8, 256)  # of an image, in pixels
IMAGE_SIZE = Rule(
  lambda v: all(map(SIDE.accepts, v if isinstance(v, tuple) and len(v) == 2 else [v])),
  'a number of pixels, 8 to 256, or two of them: height,width',
  is_mixed=True,
)
TRIPLE = Rule(
  lambda v: (
    isinstance(v, tuple)
    and len(v) in (0, 3)
    and all(_is_integer(c) and 0 <= c < MAX_CHANNELS for c in v)
  ),
  f'three numbers of channels, 0 to {MAX_CHANNELS - 1}, or none',
)

PRIOR = Registered('cvae_jax.models.priors', 'PRIORS')
OBJECTIVE = Registered('cvae_jax.tasks.task', 'TASKS')
LIKELIHOOD = Registered('cvae_jax.models.likelihoods', 'LIKELIHOODS')
DATASET = Registered('cvae_jax.data.readers.sources', 'DATASETS')
ARCHITECTURE = Registered('cvae_jax.models.architectures', 'ARCHITECTURES')

FREE, SHAPES, TRACED = Effect.FREE, Effect.SHAPES, Effect.TRACED

# A field added later must default to what runs did before: old config.json files lack it.
# fmt: off
FIELDS: dict[str, Field] = {
  'name': Field('default', FOLDER_NAME, 'the run folder is runs/<name>, unless --workdir is given'),
  'seed': Field(0, SEED, 'of weights, batch order and noise; 0 to 2**32 - 1', TRACED),
  'num_epochs': Field(50, integer(1), 'passes over the training images'),
  'batch_size': Field(128, integer(1), 'images per step, over all devices together'),
  'latent_dim': Field(16, WIDTH, 'size of z', SHAPES),
  'conditional': Field(True, FLAG, 'give encoder and decoder the class; False: ignore labels', SHAPES),
  'prior': Field('standard', PRIOR, 'p(z|c): standard, class_gaussian, vamp or flow', SHAPES),
  'objective': Field('vae', OBJECTIVE, 'vae, or dae: a denoising autoencoder without sampling and KL'),
  'likelihood': Field('bernoulli', LIKELIHOOD, 'p(x|z,c): bernoulli, gaussian, l2, ... (docs/models.md)', SHAPES),
  'sigma': Field(0.5, POSITIVE, 'standard deviation of gaussian; initial one where it is learned'),
  'charbonnier_epsilon': Field(1e-3, between(1e-6, 1), 'charbonnier is sqrt(residual² + epsilon²)'),
  'beta': Field(1.0, number(0), 'weight of the KL; 1 is the ELBO', TRACED),
  'beta_schedule': Field('linear', one_of('constant', 'linear', 'cosine', 'cyclical'), 'constant, linear, cosine or cyclical'),
  'beta_warmup_epochs': Field(5.0, EPOCHS, 'epochs in which linear and cosine rise from 0 to beta', TRACED),
  'beta_warmup_steps': Field(0, integer(0), 'the same in steps; 0: beta_warmup_epochs counts', TRACED),
  'beta_delay_epochs': Field(0.0, EPOCHS, 'epochs at 0 before the schedule begins', TRACED),
  'beta_delay_steps': Field(0, integer(0), 'the same in steps; 0: beta_delay_epochs counts', TRACED),
  'beta_cycles': Field(4, integer(1), 'cycles of the cyclical schedule, after the delay'),
  'free_bits': Field(0.0, number(0), 'nats of KL per latent dimension that cost nothing (batch mean)', TRACED),
  'num_importance_samples': Field(1, WIDTH, '1 trains on the ELBO, more on the IWAE bound'),
  'optimizer': Field('adamw', one_of('adamw', 'adam'), 'adamw or adam'),
  'learning_rate': Field(2e-3, POSITIVE, 'peak learning rate', TRACED),
  'learning_rate_schedule': Field('cosine', one_of('constant', 'cosine'), 'constant, or cosine: linear warm-up, cosine to 0'),
  'learning_rate_warmup_epochs': Field(1.0, EPOCHS, 'epochs of the warm-up of cosine'),
  'weight_decay': Field(1e-4, number(0), 'decoupled weight decay of adamw; adam has none', TRACED),
  'clip_norm': Field(1.0, number(0), 'largest global norm of the gradient; 0 does not clip', TRACED),
  'ema_decay': Field(0.999, number(0, below=1), 'moving average of the weights, used for results; 0: none'),
  'precision': Field('float32', one_of('float32', 'bfloat16'), 'of convolutions: float32 (TF32 on most GPUs) or bfloat16'),
  'init_from': Field('', TEXT, 'start from the weights of this run folder or checkpoint'),
  'deterministic': Field(False, FLAG, 'True: the same bits each time on a GPU too, but slower'),
  'profile': Field(False, FLAG, "trace some steps for TensorBoard's profiler", FREE),
  'tracker': Field('none', one_of('none', 'wandb'), 'none, or wandb: Weights & Biases; offline without a key', FREE),
  'log_every_steps': Field(50, integer(1), 'steps between lines of the log, metrics.csv, TensorBoard', FREE),
  'eval_every_epochs': Field(1, integer(1), 'epochs between validations', FREE),
  'checkpoint_every_epochs': Field(1, integer(1), 'epochs between checkpoints; a new best is always kept', FREE),
  'checkpoint_every_steps': Field(0, integer(0), 'steps between checkpoints; 0: only at ends of epochs', FREE),
  'keep_checkpoints': Field(3, integer(1), 'how many of the newest checkpoints stay, besides the best', FREE),
  'on_nonfinite': Field('stop', one_of('stop', 'skip'), 'stop, or skip steps with a non-finite loss or gradient'),
  'max_skipped_steps': Field(10, integer(0), 'skipped steps in a row that are allowed'),
  'max_gradient_norm': Field(0.0, number(0), 'a longer gradient counts as not finite; 0: no limit'),
  'early_stopping_epochs': Field(0, integer(0), 'stop this many epochs after the best validation; 0: never', FREE),
  'min_active_share': Field(0.1, PROBABILITY, 'warn if fewer latents are in use once beta has risen', FREE),
  'max_train_seconds': Field(0.0, number(0), 'checkpoint and stop after this many seconds; 0: no limit', FREE),
  'data.name': Field('digits', DATASET, 'digits, mnist, fashion_mnist, cifar10, ... (docs/data.md)'),
  'data.dir': Field('', TEXT, 'folder or file of the data; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets', FREE),
  'data.crop_size': Field(0, integer(0), 'longer side of a centre crop, in pixels, before resizing; 0: the largest'),
  'data.fit': Field('crop', one_of('crop', 'pad', 'stretch'), 'what gives pictures the proportions of image_size: crop, pad (black bars) or stretch'),
  'data.image_size': Field(28, IMAGE_SIZE, 'side that images are resized to; 64,48: height and width', SHAPES),
  'data.channels': Field(1, CHANNELS, 'pictures become 1 (grey), 3 (RGB) or 4 (RGBA); arrays have 1 to 16', SHAPES),
  'data.alpha': Field('white', one_of('white', 'keep'), 'transparent pictures: white behind them, or keep: a fourth channel'),
  'data.shown_channels': Field((), TRIPLE, 'channels that are shown as RGB, e.g. 3,1,0; none: the first three', FREE),
  'data.num_classes': Field(10, integer(0, MAX_WIDTH), 'labels are 0 to num_classes - 1; 0: as many classes as the data have', SHAPES),
  'data.bit_depth': Field(0, BIT_DEPTH, 'bits that are used in grey pictures of 16 bits, 8 to 16; 0: as the file says'),
  'data.label_attribute': Field('Smiling', TEXT, 'the attribute of celeba that is the class'),
  'data.class_level': Field(0, integer(-1, 100), 'folder that is the class: 0 the outermost, holding the pictures; 1, 2, ... that level; -1 the innermost'),
  'data.image_column': Field('', TEXT, 'the column of pictures in parquet files; empty: image, img or images, or the only one'),
  'data.label_column': Field('', TEXT, 'the column of labels in parquet files; empty: label, labels or fine_label, or the only one'),
  'data.pixel_range': Field('auto', one_of('auto', 'unit', 'symmetric'), 'unit [0, 1], symmetric [-1, 1]; auto: unit for bernoulli only'),
  'data.binarize': Field('none', one_of('dynamic', 'none'), 'dynamic: pixels drawn anew each time; none: grey values'),
  'data.max_examples': Field(0, integer(0), 'keep only this many training images; 0 keeps all'),
  'data.validation_examples': Field(200, integer(0), 'images held out for each split that the dataset lacks; 0: 10 %'),
  'data.split_seed': Field(0, SEED, 'which images are held out'),
  'data.balance': Field('none', one_of('none', 'classes'), 'classes: every class equally often in an epoch; none: every image once'),
  'data.placement': Field('auto', one_of('auto', 'device', 'stream'), 'images on the device, or streamed from the host', FREE),
  'data.skip_broken': Field(False, FLAG, 'skip and list unreadable pictures, instead of stopping'),
  'data.corruption': Field('gaussian', one_of('gaussian', 'salt_and_pepper', 'masking'), 'what a dae undoes: gaussian, salt_and_pepper or masking'),
  'data.corruption_level': Field(0.3, PROBABILITY, 'σ of gaussian noise on [0, 1]; else the fraction of pixels'),
  'data.augment.rotation': Field(0.0, between(0, 180), 'largest angle in degrees, either way; 0: off'),
  'data.augment.rotation_probability': Field(1.0, PROBABILITY, 'of a rotation'),
  'data.augment.shift': Field(0.0, between(0, 256), 'largest shift in pixels, along each axis; 0: off'),
  'data.augment.shift_probability': Field(1.0, PROBABILITY, 'of a shift'),
  'data.augment.flip_probability': Field(0.0, PROBABILITY, 'of a horizontal flip'),
  'data.augment.brightness': Field(0.0, PROBABILITY, 'largest relative change: a factor on all pixels'),
  'data.augment.brightness_probability': Field(1.0, PROBABILITY, 'of a change of brightness'),
  'data.augment.contrast': Field(0.0, PROBABILITY, 'largest relative change of the distance from the mean'),
  'data.augment.contrast_probability': Field(1.0, PROBABILITY, 'of a change of contrast'),
  'data.augment.auto_contrast': Field(0.0, PROBABILITY, 'weight of the stretched image: 1 stretches to [0, 1]'),
  'data.augment.auto_contrast_probability': Field(1.0, PROBABILITY, 'of auto-contrast'),
  'model.name': Field('resnet', ARCHITECTURE, 'resnet, conv, conv_resize or mlp', SHAPES),
  'model.channels': Field((32, 64), WIDTHS, 'width of each stage, which halves the image; of an mlp, of each layer', SHAPES),
  'model.hidden_dim': Field(256, WIDTH, 'size of the dense layer of conv', SHAPES),
  'model.embed_dim': Field(16, WIDTH, 'size of the class embedding', SHAPES),
  'model.activation': Field('silu', one_of('silu', 'relu', 'leaky_relu'), 'silu, relu or leaky_relu'),
  'model.norm': Field('group', one_of('group', 'batch', 'none'), 'group, batch or none', SHAPES),
  'model.groups': Field(8, integer(1), 'groups of the group norm'),
  'model.dropout': Field(0.0, number(0, below=1), 'fraction of features that training sets to 0'),
  'model.depth': Field(1, integer(1, 1_000), 'residual blocks of each stage of a resnet', SHAPES),
  'model.pool': Field(True, FLAG, "end a resnet's encoder with an average pool; False: flatten", SHAPES),
  'model.num_pseudo_inputs': Field(50, WIDTH, 'pseudo-inputs of a vamp prior, for each class', SHAPES),
  'model.num_flow_layers': Field(8, integer(1, 32), 'couplings of a flow prior', SHAPES),  # e²·³² fits float32
  'model.flow_hidden_dim': Field(128, WIDTH, 'width of the networks of a flow prior', SHAPES),
}
# fmt: on


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


def is_in_memory(data: ConfigDict) -> bool:
  """Whether `config.data` describes arrays that were given from Python, and lie in no file."""
  return data.name == 'arrays' and not data.dir


def shown_channels(data: ConfigDict) -> tuple[int, ...]:
  """The channels that stand for an image in pictures: one as grey, or three as RGB.

  They are `shown_channels` of `config.data`, else the first three. Of two, the first is red and the
  second cyan.
  """
  return data.shown_channels or {1: (0,), 2: (0, 1, 1)}.get(data.channels, (0, 1, 2))


def having(effect: Effect) -> frozenset[str]:
  """The names of the fields with an effect."""
  return frozenset(name for name, field in FIELDS.items() if effect in field.effect)


def shipped_configs() -> tuple[str, ...]:
  """The names of the configs that ship: 'mnist', 'sweeps/kld_weight', ..."""
  folder = _configs()
  return tuple(sorted(str(p.relative_to(folder).with_suffix('')) for p in folder.rglob('*.py')))


def shipped_config(name: str) -> Path:
  """The file of a config that ships."""
  return _configs() / f'{name}.py'


def named(name: str) -> ConfigDict:
  """A config that ships, by its name: `named('mnist')`."""
  spec = importlib.util.spec_from_file_location(f'configs.{name}', shipped_config(name))
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def _configs() -> Path:
  """Their folder: in the package where it was installed, beside it in a clone."""
  package = Path(cvae_jax.__file__).parent
  folders = [folder / 'configs' for folder in (package, package.parent)]
  return next(filter(Path.is_dir, folders))


class SavedConfig(NamedTuple):
  """What a run's config.json holds."""

  config: ConfigDict
  class_names: tuple[str, ...]
  data_fingerprint: str | None  # None in runs of early versions
  data_parts: dict[str, int | str] | None  # see `datasets.describe`


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
    for field, value in fields(with_classes(given, saved.data.num_classes))
    if field not in free and before.get(field) != value
  ]


def with_classes(config: ConfigDict, num_classes: int) -> ConfigDict:
  """`config` itself, or a copy with this number of classes where it leaves that to the data."""
  if config.data.num_classes or not config.conditional:
    return config
  config = config.copy_and_resolve_references()
  config.data.num_classes = num_classes
  return config


def shares_program(one: ConfigDict, other: ConfigDict) -> bool:
  """Whether two runs can use one compiled step: they differ in traced fields alone."""
  different = {difference.field for difference in differences(one, other)}
  return different <= having(TRACED) and one.num_epochs == other.num_epochs


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
    'config': plain,
  }
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
  num_classes = config.data.num_classes
  if config.conditional and not 0 < len(saved.class_names) == num_classes:
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


def _class_names(names) -> tuple[str, ...]:
  if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
    raise TypeError('class_names are no list of texts')
  # Runs of earlier versions kept bytes that are no text.
  is_text = [all(unicodedata.category(letter) != 'Cs' for letter in name) for name in names]
  names = [name if ok else paths.printable(name) for name, ok in zip(names, is_text, strict=True)]
  if any(unicodedata.category(letter) == 'Cc' for name in names for letter in name):
    raise ValueError('class_names hold characters that command a terminal')
  return tuple(unicodedata.normalize('NFC', name) for name in names)  # as readers give them
