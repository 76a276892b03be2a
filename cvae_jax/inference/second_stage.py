"""A run of flow matching as a `Model`: its first stage, with a flow as the prior of the latents."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax

from cvae_jax.config import SavedConfig
from cvae_jax.inference import latent_prior
from cvae_jax.inference.conditions import Conditioning
from cvae_jax.inference.flow import Flow
from cvae_jax.inference.latent_prior import LatentPrior
from cvae_jax.inference.model import Model
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
    # The fingerprint covers the columns, so it fits only if both stages have the same ones.
    data_fingerprint=saved.data_fingerprint if own.columns == saved.columns else None,
    folder=results,
    task=first.task,
    variables=first.variables,
    prior=_prior(first, network, variables, saved.config.condition_dropout > 0),
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


def _prior(
  first: FirstStage, network: latent_flow.LatentFlow, variables: dict, is_guidable: bool
) -> LatentPrior:
  config, of_first = first.saved.config, (first.task, first.variables)
  return LatentPrior(
    kind=config.prior if first.task.is_generative else 'none',
    latent_dim=network.latent_dim,
    fitted=None,
    fitted_error='',
    draw_own=functools.partial(latent_prior.draw_own, *of_first),
    change_conditions=functools.partial(latent_prior.change_conditions, *of_first),
    flow=Flow(network, variables, *of_first, is_guidable),
  )
