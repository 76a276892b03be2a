"""The fields of a config: what each may hold, and what depends on it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_STEPS = 2**31 - 1  # the step is an int32
MAX_EPOCHS = 1_000_000  # of a warm-up or a delay
MAX_STAGES = 64
MAX_WIDTH = 65_536  # of any layer: what exceeds it is a slip of the finger


class Rule(NamedTuple):
  """What a field may hold: a test, and its words for the error message."""

  accepts: Callable[[Any], bool]
  expected: str
  choices: tuple[str, ...] = ()


def _is_integer(value) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
  if isinstance(value, float):
    return math.isfinite(value)
  return _is_integer(value) and abs(value) < 2**63  # which a float can hold


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
    and 0 < len(v) <= MAX_STAGES
    and all(_is_integer(c) and 0 < c <= MAX_WIDTH for c in v)
  ),
  f'a tuple of integers from 1 to {MAX_WIDTH}, one for each of up to {MAX_STAGES} stages',
)

RULES: dict[str, Rule] = {
  'name': _NAME,
  'seed': _integer(0, 2**32 - 1),
  'num_epochs': _integer(1),
  'batch_size': _integer(1),
  'latent_dim': _integer(1, MAX_WIDTH),
  'conditional': _FLAG,
  'prior': _one_of('standard', 'class_gaussian', 'vamp', 'flow'),
  'objective': _one_of('vae', 'dae'),
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
  'tracker': _one_of('none', 'wandb'),
  'deterministic': _FLAG,
  'early_stopping_epochs': _integer(0),
  'min_active_share': _PROBABILITY,
  'log_every_steps': _integer(1),
  'eval_every_epochs': _integer(1),
  'checkpoint_every_epochs': _integer(1),
  'checkpoint_every_steps': _integer(0),
  'keep_checkpoints': _integer(1),
  'max_train_seconds': _number(0),
  'on_nonfinite': _one_of('stop', 'skip'),
  'max_skipped_steps': _integer(0),
  'max_gradient_norm': _number(0),
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
  'data.corruption': _one_of('gaussian', 'salt_and_pepper', 'masking'),
  'data.corruption_level': _PROBABILITY,
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
  'model.depth': _integer(1, 1_000),
  'model.pool': _FLAG,
  'model.num_pseudo_inputs': _integer(1, MAX_WIDTH),
  'model.num_flow_layers': _integer(1, 32),  # each may scale by e²; float32 ends at e⁸⁸
  'model.flow_hidden_dim': _integer(1, MAX_WIDTH),
}

# Fields that came after the first runs were saved, with the value that those runs had.
LATER_FIELDS = {
  'conditional': True,
  'prior': 'standard',
  'objective': 'vae',
  'charbonnier_epsilon': 1e-3,
  'beta_warmup_steps': 0,
  'beta_delay_epochs': 0.0,
  'beta_delay_steps': 0,
  'free_bits': 0.0,
  'num_importance_samples': 1,
  'optimizer': 'adamw',
  'tracker': 'none',
  'deterministic': False,
  'early_stopping_epochs': 0,
  'min_active_share': 0.1,
  'max_train_seconds': 0.0,
  'on_nonfinite': 'stop',
  'max_skipped_steps': 10,
  'max_gradient_norm': 0.0,
  'data.crop_size': 0,
  'data.label_attribute': 'Smiling',
  'data.pixel_range': 'auto',
  'data.placement': 'auto',
  'data.skip_broken': False,
  'data.corruption': 'gaussian',
  'data.corruption_level': 0.3,
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
  'model.depth': 1,
  'model.pool': True,
  'model.num_pseudo_inputs': 50,
  'model.num_flow_layers': 8,
  'model.flow_hidden_dim': 128,
}

# What may change when a run goes on: how it is watched, kept and fed, not what it computes.
FREE = frozenset(
  {
    'profile',
    'tracker',
    'early_stopping_epochs',
    'min_active_share',
    'log_every_steps',
    'eval_every_epochs',
    'checkpoint_every_epochs',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'max_train_seconds',
    'data.dir',
    'data.placement',
  }
)

# What the shapes of the weights can depend on.
SHAPES = frozenset(
  {
    'conditional',
    'prior',
    'latent_dim',
    'data.image_size',
    'data.channels',
    'data.num_classes',
    'model.name',
    'model.channels',
    'model.hidden_dim',
    'model.embed_dim',
    'model.norm',
    'model.depth',
    'model.pool',
    'model.num_pseudo_inputs',
    'model.num_flow_layers',
    'model.flow_hidden_dim',
    'likelihood',
  }
)
