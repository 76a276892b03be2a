"""What a page knows of its model and data, besides the network: `info` of `assets/client.js`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from scipy import special

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.exporting import functions
from cvae_jax.inference import arrays, inputs
from cvae_jax.inference.conditions import Conditions
from cvae_jax.inference.model import Model
from cvae_jax.models import gaussians, generation
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError

MAX_POINTS = 5_000  # of the map
MAX_BOUNDS = 10_000  # of the images that say how usual a drawing is, in all their classes
NUM_DRAWS = 2  # of the posterior, for each of these bounds
NUM_EXAMPLES = 20
BATCH = 100


def info(model: Model, data_dir: str | None) -> dict[str, Any]:
  """All that a page shows of a model, from test images or, where there are none, from samples.

  Args:
    model: a generative one.
    data_dir: folder of its data; None is that of the training.
  """
  labels = np.arange(MAX_POINTS) % len(model.class_names) if model.has_classes else None
  rows = model.conditioning.of(labels, None, MAX_POINTS)
  latents = model.draw_latents(conditions=rows)
  about = _about_model(model, latents)
  try:
    test = model.data(data_dir).test
  except InputError as error:
    print(
      'No test images: the page has samples in their place, and does not say how usual a drawing '
      f'is. Name the folder of the data with --data_dir. What was tried: {error}'
    )
    examples = model.decode(latents[:NUM_EXAMPLES], conditions=rows[:NUM_EXAMPLES])
    return about | {
      'latents': None,
      'usual': None,
      'map': _map(latents, rows.labels, 'samples'),
      'examples': _examples(arrays.as_bytes(examples), rows.labels),
    }
  print('Reads test images, for the map and to say how usual a drawing is ...')
  return about | _about_images(model, test)


def _about_model(model: Model, latents: np.ndarray) -> dict[str, Any]:
  config = model.config
  size = parameter_overview.count_parameters(model.variables['params'])
  kind = 'conditional variational autoencoder' if model.conditional else 'variational autoencoder'
  what = (
    f'{model.folder.absolute().name}: a {kind} of {size:,} parameters (architecture '
    f'{config.model.name}, {config.latent_dim} latents, {model.prior.describe()}), trained on '
    f'{config.data.name} for {config.num_epochs} epochs; weights of step {model.step:,}.'
  )
  return {
    'name': model.folder.absolute().name,
    'lines': [what, *_protocol(model)],
    'imageShape': list(model.image_shape),
    'latentDim': config.latent_dim,
    'isBinary': config.data.binarize == 'dynamic',
    'columns': [
      {
        'name': column.name,
        'kind': column.kind,
        'names': list(column.names),
        'unit': column.unit,
        'mean': column.mean,
        'std': column.std,
        'low': column.low,
        'high': column.high,
        'mayBeUnknown': given.has_unknown,
      }
      for column, given in zip(model.columns, model.conditioning.inputs, strict=True)
    ],
    'classColumn': model.conditioning.class_number,
    'priorMean': latents.mean(axis=0),
    'std': latents.std(axis=0),
  }


def _protocol(model: Model) -> list[str]:
  """How the numbers of the page are found, in words."""
  lines = ['Nats are a bound on log p(x) with the draws of the posterior that the page takes.']
  if model.config.data.binarize == 'dynamic':
    lines.append('Trained on binarized images, it is given grey values here.')
  if model.has_classes:
    lines.append('All classes are equally likely before the drawing is seen.')
  return lines


def _about_images(model: Model, test: Dataset) -> dict[str, Any]:
  """The facts that come from test images, in an order of the seed."""
  order = np.random.RandomState(model.config.seed).permutation(len(test.images))
  points = order[:MAX_POINTS]
  rows = inputs.conditions_of(model, test, points)
  mean, logvar = model.encode(test.images[points], conditions=rows)
  # Relative to the Gaussian of all posteriors together: of any prior there is one per dimension.
  total = np.log(mean.var(axis=0) + np.exp(logvar).mean(axis=0))[None]
  kl = np.asarray(gaussians.kl(mean, logvar, mean.mean(axis=0, keepdims=True), total)).mean(axis=0)
  examples = _first_of_each_class(rows.labels)
  return {
    'latents': [{'kl': float(value)} for value in kl],
    'usual': np.sort(_rated(model, test.images[points], rows)),
    'map': _map(mean, rows.labels, 'test images'),
    'examples': _examples(test.images[points][examples], rows.labels[examples]),
  }


def _first_of_each_class(labels: np.ndarray) -> np.ndarray:
  """Places of NUM_EXAMPLES rows, the classes in turn."""
  ranks = np.zeros(len(labels), int)
  for label in np.unique(labels):
    ranks[labels == label] = np.arange(np.sum(labels == label))
  return np.lexsort((labels, ranks))[:NUM_EXAMPLES]


def _examples(images: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
  return [
    {'image': image, 'label': int(label)}
    for image, label in zip(images, labels[: len(images)], strict=True)
  ]


def _map(latents: np.ndarray, labels: np.ndarray, source: str) -> dict[str, Any]:
  """Latents on their two principal directions; a model of one latent has one."""
  mean = latents.mean(axis=0)
  _, _, directions = np.linalg.svd(latents - mean, full_matrices=False)
  directions = np.concatenate([directions, np.zeros((2, latents.shape[1]), np.float32)])[:2]
  return {
    'mean': mean,
    'directions': list(directions),
    'points': ((latents - mean) @ directions.T).ravel(),
    'labels': np.maximum(labels, 0).astype(np.uint16),
    'source': source,
  }


def _rated(model: Model, images: np.ndarray, rows: Conditions) -> np.ndarray:
  """−(bound on log p(x)) of the first images, in nats, found as a page does.

  The bound is log (1/C) Σ_c exp(ELBO_c), with the ELBO of grey values over NUM_DRAWS draws ±ε.
  """
  rows = rows.in_every_class() if model.has_classes else rows
  count = len(model.class_names) if model.has_classes else 1
  images = images[: max(1, MAX_BOUNDS // count)]
  rows = rows[: len(images) * count]
  elbos = batches.map_rows(
    _bound(model),
    BATCH,
    np.repeat(images, count, axis=0),
    rows.values,
    np.arange(len(rows), dtype=np.int32) // count,
  )
  return -special.logsumexp(elbos.reshape(-1, count), axis=1) + np.log(np.float32(count))


def _bound(model: Model):
  """A function of images uint8, conditions and indices of images: the ELBO of grey values."""
  network, task = functions.network_of(model), model.task
  key = keys.stream(model.config.seed, 'page')

  @jax.jit
  def bound(images, conditions, indices):
    grey = images.astype(jnp.float32) / 255
    mean, logvar = generation.encode(network, task.likelihood, model.variables, grey, conditions)
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(
      keys.per_example(key, indices)
    )
    noise = jnp.stack([noise, -noise])
    latents = mean[None] + jnp.exp(0.5 * logvar)[None] * noise
    outputs = network.apply(model.variables, latents, conditions, train=False, method='decode')
    kl = network.apply(
      model.variables,
      conditions,
      method=lambda network, conditions: network.density(conditions).kl(mean, logvar, latents),
    )
    log_prob = task.likelihood.log_prob(task.to_pixels(grey)[None], outputs)
    return jnp.mean(log_prob - jnp.broadcast_to(kl.sum(axis=-1), log_prob.shape), axis=0)

  return bound
