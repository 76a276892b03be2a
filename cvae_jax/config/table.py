"""The fields of a config: their defaults, what they may hold, and what a change of one means."""

import enum
import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from cvae_jax.config.columns import inputs_of

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
WIDTH_OF_HEADS = Rule(
  lambda v: WIDTH.accepts(v) and v % 32 == 0, f'a multiple of 32, up to {MAX_WIDTH}'
)
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


def _are_inputs(value) -> bool:
  try:
    return isinstance(value, tuple) and all(map(inputs_of, value))
  except (ValueError, AttributeError):
    return False


INPUTS = Rule(_are_inputs, 'what the data set: (), or such as category:10, flag, number?')

PRIOR = Registered('cvae_jax.models.priors', 'PRIORS')
OBJECTIVE = Registered('cvae_jax.tasks.task', 'TASKS')
LIKELIHOOD = Registered('cvae_jax.models.likelihoods', 'LIKELIHOODS')
DATASET = Registered('cvae_jax.data.readers.sources', 'DATASETS')
ARCHITECTURE = Registered('cvae_jax.models.architectures', 'ARCHITECTURES')
VELOCITY = Registered('cvae_jax.models.velocity', 'VELOCITIES')

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
  'condition_dropout': Field(0.0, PROBABILITY, 'hide the conditions of an image in a step with this probability', SHAPES),
  'classifier_weight': Field(1.0, number(0), 'of the cross-entropy of q(c|x), where some classes are missing; 0: no q(c|x)', SHAPES),
  'classifier_warmup_epochs': Field(0.0, EPOCHS, 'in which what the bound teaches q(c|x) rises from nothing'),
  'prior': Field('standard', PRIOR, 'p(z|c): standard, class_gaussian, vamp or flow', SHAPES),
  'objective': Field('vae', OBJECTIVE, 'vae; autoencoder: of a small beta, with a perceptual term; dae: denoises, without sampling and KL; flow_matching: the latents of first_stage'),
  'first_stage': Field('', TEXT, 'of flow_matching: the trained model whose latents it learns: a run, a checkpoint or shipped weights', FREE),
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
  'perceptual_weight': Field(0.0, number(0), 'of perceptual_distance, for the objective autoencoder; 0: none'),
  'perceptual_distance': Field('classifier', one_of('classifier', 'lpips'), 'in the maps of classifier, that which ships for the data set, or of lpips, whose weights evaluate.py --lpips=download fetches'),
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
  'data.conditions': Field('', TEXT, "columns of the table of conditions: digit,angle:number, or all; empty: the class label", SHAPES),
  'data.columns': Field((), INPUTS, 'their kinds and sizes; set from the data', SHAPES),
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
  'data.num_labels': Field(0, integer(0), 'keep the labels of only this many training images, as many of each class; 0 keeps all'),
  'data.labelled_fraction': Field(0.0, number(0, below=1), 'of each batch, the images whose class is known; 0: as they come'),
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
  'model.name': Field('resnet', ARCHITECTURE, 'resnet, conv, conv_resize, conv_mlp or mlp', SHAPES),
  'model.channels': Field((32, 64), WIDTHS, 'width of each stage, which halves the image; of an mlp, of each layer', SHAPES),
  'model.hidden_dim': Field(256, WIDTH, 'size of the dense layers of conv and conv_mlp', SHAPES),
  'model.embed_dim': Field(16, WIDTH, 'size of the class embedding', SHAPES),
  'model.activation': Field('silu', one_of('silu', 'relu', 'leaky_relu'), 'silu, relu or leaky_relu'),
  'model.norm': Field('group', one_of('group', 'batch', 'none'), 'group, batch or none', SHAPES),
  'model.groups': Field(8, integer(1), 'groups of the group norm'),
  'model.dropout': Field(0.0, number(0, below=1), 'fraction of features that training sets to 0'),
  'model.depth': Field(1, integer(1, 1_000), 'residual blocks of each stage of a resnet', SHAPES),
  'model.pool': Field(True, FLAG, "end a resnet's encoder with an average pool; False: flatten", SHAPES),
  'model.latent_channels': Field(0, integer(0, MAX_WIDTH), "channels of latents that are a map as a resnet's last, [h, w, channels]; 0: a vector", SHAPES),
  'model.num_pseudo_inputs': Field(50, WIDTH, 'pseudo-inputs of a vamp prior, for each class', SHAPES),
  'model.num_flow_layers': Field(8, integer(1, 32), 'couplings of a flow prior', SHAPES),  # e²·³² fits float32
  'model.flow_hidden_dim': Field(128, WIDTH, 'width of the networks of a flow prior', SHAPES),
  'velocity.name': Field('mlp', VELOCITY, 'network of flow matching: mlp, or for spatial latents unet or dit', SHAPES),
  'velocity.width': Field(256, WIDTH_OF_HEADS, 'features of each of its layers; of a unet, at half the resolution', SHAPES),
  'velocity.depth': Field(4, integer(1, 100), 'its residual blocks; of a unet, at each resolution on the way down', SHAPES),
}
# fmt: on


def having(effect: Effect) -> frozenset[str]:
  """The names of the fields with an effect."""
  return frozenset(name for name, field in FIELDS.items() if effect in field.effect)
