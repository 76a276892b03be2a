"""Reconstructions: how near they are to their images, and what they are worth as images.

What a decoder loses of real images, no prior and no second stage brings back: the metrics of
reconstructions in place of samples say about how much samples can reach.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from cvae_jax import config as config_lib
from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.evaluation import accuracy_score, generation, perceptual, reconstruction
from cvae_jax.evaluation.generation import Judged
from cvae_jax.evaluation.intervals import interval
from cvae_jax.evaluation.perceptual import Weights
from cvae_jax.evaluation.reconstruction import RECONSTRUCTION_METRICS
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.inference import inputs
from cvae_jax.inference.model import Model
from cvae_jax.runtime import progress

GROUP = 'reconstruction'
FRECHET = 'frechet_distance'
# Those that need a reference classifier.
JUDGED_METRICS = ('perceptual', FRECHET, accuracy_score.NAME)
PIECE = 1_024  # images


def add_metrics(
  evaluation: Evaluation, data: Splits, dataset: Dataset, weights: Weights | None
) -> None:
  """Adds the metrics of reconstructions at the posterior mean.

  Args:
    evaluation: to add to.
    data: of the model.
    dataset: the images to measure.
    weights: for LPIPS; None leaves it out.
  """
  model, (_, miss) = evaluation.model, evaluation.group(GROUP)
  known = generation.judged(model.config.data, data, dataset)
  reason = generation.without_judge(evaluation, dataset) if known is None else ''
  if known is not None and known.standing.is_blind:
    known, reason = None, known.standing.warning
  _add_distances(evaluation, dataset, weights, known)
  if known is None:
    miss(*JUDGED_METRICS, reason=reason)
    return
  _add_frechet_distance(evaluation, data, known)
  _add_accuracy_score(evaluation, data, dataset, known)


def num_decoded(evaluation: Evaluation, data: Splits) -> tuple[int, int]:
  """How many images are reconstructed in place of samples, and to train a classifier on."""
  num_unseen = len(generation.unseen(evaluation, data).labels)
  return num_unseen, len(_to_learn_from(evaluation, data).labels)


def _add_distances(
  evaluation: Evaluation, dataset: Dataset, weights: Weights | None, known: Judged | None
) -> None:
  model, (add, miss) = evaluation.model, evaluation.group(GROUP)
  raw = ', not binarized' if model.config.data.binarize == 'dynamic' else ''
  protocol = (
    f'E[x | z] at the posterior mean of {evaluation.num_images:,} images as they are{raw}; pixels '
    'in [0, 1]; mean over images'
  )
  own, pieces = inputs.conditions_of(model, dataset), []
  for rows in batches.pieces(len(dataset.labels), PIECE):
    images = dataset.images[rows].astype(np.float32) / 255
    reconstructions = model.reconstruct(images, conditions=own[rows])
    pieces.append(reconstruction.scores(images, reconstructions))
    if known is not None:
      pieces[-1]['perceptual'] = known.judge.distances(images, reconstructions)
    if weights is not None:
      pieces[-1]['lpips'] = perceptual.lpips(weights, *map(model.shown, (images, reconstructions)))
  scores = {name: interval(np.concatenate([piece[name] for piece in pieces])) for name in pieces[0]}
  for name in RECONSTRUCTION_METRICS:
    add(name, scores[name], protocol, RECONSTRUCTION_METRICS.trait(name, 'unit', ''))
  if weights is None:
    how = '--lpips=download fetches them (244 MB), --lpips=DIR names a folder that has them'
    miss('lpips', reason=f'its weights are not here; {how}')
  else:
    height, width, num_channels = model.image_shape
    size = max(perceptual.MIN_IMAGE_SIZE, min(height, width))
    seen = f'images of {size} pixels{"" if height == width else " on the shorter side"}'
    channels = config_lib.shown_channels(model.config.data)
    if channels != tuple(range(num_channels)):
      seen += f', channels {", ".join(map(str, channels))} of {num_channels} as RGB'
    add('lpips', scores['lpips'], f'AlexNet, version 0.1, {seen}; {protocol}')
  if known is not None:
    maps = f'directions of the maps of the reference classifier, {known.judge.origin}, right on '
    warning = known.standing.warning
    add('perceptual', scores['perceptual'], f'{maps}{known.standing}; {protocol}', warning=warning)


def _add_frechet_distance(evaluation: Evaluation, data: Splits, known: Judged) -> None:
  others = generation.unseen(evaluation, data)
  with progress.shown(f'reconstructing {len(others.labels):,} unseen real images') as advance:
    images = reconstructed(evaluation.model, others, advance)

  def measured(images):
    features, _ = known.judge.judge(images)
    ((_, *found),) = generation.sample_metrics(known, features, (FRECHET,))
    return found

  of_real, *_ = measured(others.images)
  protocol = (
    f'{len(images):,} unseen real images, reconstructed at their posterior means, as bytes, in '
    f'place of samples, against {len(known.features):,} other real images, {known}'
  )
  if np.isfinite(of_real):
    protocol += f'; these themselves have {of_real:.3g}'
  value, *notes = measured(images)
  evaluation.add(GROUP, FRECHET, value, protocol, *notes)


def _add_accuracy_score(
  evaluation: Evaluation, data: Splits, dataset: Dataset, known: Judged
) -> None:
  if evaluation.split == 'train':
    reason = 'a classifier learns from reconstructions of the same images; take another split'
    evaluation.miss(GROUP, accuracy_score.NAME, reason=reason)
    return
  training = _to_learn_from(evaluation, data)
  if not len(training.labels):
    evaluation.miss(GROUP, accuracy_score.NAME, reason='no training image has a class')
    return
  count = f'{len(training.labels):,} training images'
  with progress.shown(f'reconstructing {count} to train a classifier on') as advance:
    images = reconstructed(evaluation.model, training, advance)
  accuracy_score.add(
    evaluation,
    GROUP,
    images,
    training.labels,
    'reconstructions',
    'of training images, at their posterior means, as bytes',
    dataset,
    known.ceiling,
    known.standing.warning,
  )


def _to_learn_from(evaluation: Evaluation, data: Splits) -> Dataset:
  """Training images with a class, at most as many as samples, evenly spaced.

  Images of the evaluated split would help a classifier that is tested on them.
  """
  rows = np.flatnonzero(data.train.labels >= 0)
  count = min(generation.num_to_learn_from(evaluation, data), len(rows))
  # Evenly spaced, since a dataset may be sorted.
  return data.train.take(rows[np.arange(count) * len(rows) // max(count, 1)])


def reconstructed(
  model: Model, dataset: Dataset, advance: Callable[[float], None] = lambda fraction: None
) -> UInt8[np.ndarray, 'images height width channels']:
  """E[x | z, c] at the posterior mean of each image, as bytes; of a missing class the likeliest."""
  own, count = inputs.conditions_of(model, dataset), len(dataset.labels)
  images = np.empty((count, *model.image_shape), np.uint8)
  for rows in batches.pieces(count, PIECE):
    given = dataset.images[rows].astype(np.float32) / 255
    images[rows] = np.round(255 * model.reconstruct(given, conditions=own[rows]))
    advance(min(rows.stop / count, 1.0))
  return images
