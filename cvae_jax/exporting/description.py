"""What a program needs to know of an exported model, as plain data."""

from typing import Any

import cvae_jax
from cvae_jax.config import Column
from cvae_jax.exporting.functions import Function
from cvae_jax.inference.model import Model
from cvae_jax.models.conditions import Input


def describe(model: Model) -> dict[str, Any]:
  """The model and its protocol, as JSON can hold it."""
  config = model.config
  return {
    'cvae_jax': cvae_jax.__version__,
    'name': config.name,
    'dataset': config.data.name,
    'step': model.step,
    'weights': f'moving average, decay {config.ema_decay}' if config.ema_decay else 'not averaged',
    'precision': 'float32',
    'image_shape': list(model.image_shape),
    'pixel_range': [0, 1],
    'latent_dim': config.latent_dim,
    'likelihood': config.likelihood,
    'binarization': config.data.binarize,
    'objective': config.objective,
    'prior': prior_text(model),
    'classes': list(model.class_names) if model.has_classes else [],
    'columns': [
      _column(*each)
      for each in zip(model.columns, model.conditioning.inputs, strict=True)
      if model.conditioning.has_table
    ],
  }


def prior_text(model: Model) -> str:
  """The prior that prior files draw from, and the one of the training."""
  if not model.has_prior:
    return 'none: a denoising autoencoder'
  own = f'trained with {model.prior.describe("model")}'
  if model.prior.choose(None) == 'model':
    return own
  return f'fitted to the encoded training images ({model.prior.fitted}); {own}'


def arguments(function: Function) -> dict[str, Any]:
  """Inputs and outputs of a function: shapes, with the batch N, and kinds of numbers."""
  return {
    kind: {
      each.name: {'shape': ['N', *each.shape], 'dtype': each.dtype.__name__} for each in listed
    }
    for kind, listed in (('inputs', function.inputs), ('outputs', function.outputs))
  }


def _column(column: Column, known: Input) -> dict[str, Any]:
  """A column; a number goes into a row as (value − mean) / std, where NaN may be unknown."""
  plain: dict[str, Any] = {'name': column.name, 'kind': column.kind}
  if column.kind == 'number':
    numbers = {name: getattr(column, name) for name in ('unit', 'mean', 'std', 'low', 'high')}
    plain |= numbers
  else:
    plain['names'] = list(column.value_names)
  return plain | {
    'may_be_unknown': known.has_unknown,
    'may_be_unknown_of_images': known.has_unknown or known.is_inferred,
  }
