"""A run of flow matching as a `Model`: its first stage, with a flow as the prior of the latents."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array

from cvae_jax.config import SavedConfig
from cvae_jax.inference import latent_prior
from cvae_jax.inference.bounds import Density
from cvae_jax.inference.conditions import Conditioning
from cvae_jax.inference.latent_prior import Flow, LatentPrior
from cvae_jax.inference.model import Model
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import latent_flow
from cvae_jax.tasks.first_stage import FirstStage
from cvae_jax.training import first_stage as first_stage_lib
from cvae_jax.training import training_table


def load(
  saved: SavedConfig,
  folder: Path,
  read: Callable[[dict], tuple[dict, int]],
  results: Path,
) -> Model:
  """The model of a second stage.

  A conditional first stage decides what its images are conditioned on; with another one, the second
  stage does.

  Args:
    saved: its config.json.
    folder: has its copy of the first stage, and the table of training conditions.
    read: (shapes of its variables) -> the variables, and their step.
    results: where its results go.
  """
  first = first_stage_lib.of_run(folder)
  network = latent_flow.build(saved.config, first.latent_shape)
  like = jax.eval_shape(lambda: latent_flow.init(network, jax.random.key(0)))
  variables, step = read(like)
  variables = jax.device_put(variables)
  own = first.saved if first.task.network.conditional else saved
  columns = first.task.network.columns if first.task.network.conditional else network.columns
  of_table = None
  if own.columns:
    training = training_table.read(folder, own.columns)
    of_table = Conditioning(own.columns, columns, has_table=True, training=training)
  return Model(
    config=_config(first.saved.config, own.config, saved.config),
    class_names=own.class_names,
    image_shape=first.task.network.image_shape,
    step=step,
    asked_step=None,
    # It counts the columns: with those of the first stage, the same images would have another.
    data_fingerprint=saved.data_fingerprint if own.columns == saved.columns else None,
    folder=results,
    task=first.task,
    variables=first.variables,
    prior=_prior(first, network, variables),
    of_table=of_table,
  )


def _config(first, own, second):
  """The first stage's config, with what it is conditioned on, and the data of the second."""
  config = first.copy_and_resolve_references()
  config.name, config.seed, config.num_epochs = second.name, second.seed, second.num_epochs
  config.conditional, config.condition_dropout = own.conditional, own.condition_dropout
  data = second.data.copy_and_resolve_references()
  for name in ('num_classes', 'conditions', 'columns'):
    data[name] = own.data[name]
  config.data = data
  return config


def _prior(first: FirstStage, network: latent_flow.LatentFlow, variables: dict) -> LatentPrior:
  config = first.saved.config
  of_first = first.task, first.variables
  of_flow = network, variables
  hides = all(column.has_unknown for column in network.columns) and bool(network.columns)
  return LatentPrior(
    kind=config.prior if first.task.is_generative else 'none',
    latent_dim=network.latent_dim,
    fitted=None,
    fitted_error='',
    draw_own=functools.partial(latent_prior.draw_own, *of_first),
    change_conditions=functools.partial(latent_prior.change_conditions, *of_first),
    flow=Flow(
      functools.partial(_draw, *of_flow),
      functools.partial(_change_conditions, *of_flow),
      functools.partial(_vary, *of_flow),
      functools.partial(_to_noise, *of_flow),
      functools.partial(_from_noise, *of_flow),
      functools.partial(_fill, *of_flow, *of_first),
      functools.partial(_density, *of_flow),
      is_guidable=hides,
    ),
  )


def _rows(network: latent_flow.LatentFlow, conditions: Array) -> Array:
  """Conditions of the model as the flow takes them: rows, where the first stage has labels."""
  conditions = jnp.asarray(conditions)
  if network.columns and conditions.ndim == 1:
    return conditions_lib.rows_of(network.columns, conditions)
  return conditions


@dataclasses.dataclass(frozen=True)
class LogProb:
  """log p(z | c) of a flow, as `bounds.Density` has it; equal ones compute the same."""

  network: latent_flow.LatentFlow
  num_steps: int

  def __call__(self, variables: dict, latents: Array, conditions: Array) -> Array:
    """[B], in nats."""
    rows = _rows(self.network, conditions)
    return latent_flow.log_prob(self.network, variables, latents, rows, self.num_steps)

  def operations(self, variables: dict) -> float:
    """Floating-point operations for one latent."""
    return latent_flow.operations(self.network, variables, self.num_steps)


# Functions of this module, which pickle can store; it cannot store compiled ones.
def _draw(network, variables, conditions, *request) -> Array:
  return latent_flow.draw(network, variables, _rows(network, conditions), *request)


def _change_conditions(network, variables, latents, conditions, others, num_steps) -> Array:
  rows = _rows(network, conditions), _rows(network, others)
  return latent_flow.change_conditions(network, variables, latents, *rows, num_steps)


def _vary(network, variables, latents, conditions, *request) -> Array:
  return latent_flow.vary(network, variables, latents, _rows(network, conditions), *request)


def _to_noise(network, variables, latents, conditions, num_steps) -> Array:
  return latent_flow.to_noise(network, variables, latents, _rows(network, conditions), num_steps)


def _from_noise(network, variables, noise, conditions, others, *request) -> Array:
  rows = _rows(network, conditions), _rows(network, others)
  return latent_flow.from_noise(network, variables, noise, *rows, *request)


def _fill(network, variables, task, of_task, images, known, conditions, *request) -> Array:
  decoder = task.network, task.likelihood, of_task
  rows = _rows(network, conditions), conditions
  return latent_flow.fill(network, variables, *decoder, images, known, *rows, *request)


def _density(network, variables, num_steps) -> Density:
  log_prob = LogProb(network, num_steps)
  return Density(log_prob, variables, f'flow matching, {num_steps} steps, unguided')
