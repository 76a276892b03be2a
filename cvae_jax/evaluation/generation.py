"""Samples from every prior of a model, judged by a reference classifier."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.evaluation import accuracy_score, classifier, memorization, samples
from cvae_jax.evaluation.intervals import proportion
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import SAMPLE_METRICS
from cvae_jax.inference import inputs
from cvae_jax.inference.conditions import Conditions
from cvae_jax.inference.model import Model
from cvae_jax.runtime import progress

GROUP = 'generation'
OF_REAL = '_of_real_images'  # ends the names of metrics of real images in place of samples
NUM_SAMPLES = 10_000
MAX_TRAINING_SAMPLES = 60_000  # of a classifier that is trained on samples
PIECE = 1_024  # images
# Beside SAMPLE_METRICS, of a conditional model.
CLASS_METRICS = ('conditional_accuracy', accuracy_score.NAME, 'diversity')


class Judged(NamedTuple):
  """Real images as the reference classifier sees them."""

  judge: classifier.Classifier
  standing: classifier.Standing
  features: np.ndarray  # [N, features]

  def __str__(self) -> str:
    size = self.features.shape[1]
    return (
      f'in the {size} features of the reference classifier, {self.judge.origin}, right on '
      f'{self.standing}'
    )

  @property
  def ceiling(self) -> str:
    """How often it is right, to go on from 'of which'."""
    return (
      f'the reference classifier, {self.judge.origin}, is right on '
      f'{self.standing.accuracy.mean:.1%}'
    )


def judged(config_data, data: Splits, dataset: Dataset) -> Judged | None:
  """Images as their reference classifier sees them; None if none has a class."""
  has_class = dataset.labels >= 0
  if not dataset.class_names or not has_class.any():
    return None
  judge = classifier.reference(config_data, data.train, data.validation)
  features, log_probabilities = judge.judge(dataset.images)
  predicted = log_probabilities.argmax(axis=1)
  standing = classifier.standing(predicted[has_class], dataset.labels[has_class])
  return Judged(judge, standing, features)


def without_judge(evaluation: Evaluation, dataset: Dataset) -> str:
  """Why `judged` gives None."""
  of_split = f'no image of the {evaluation.split} split has a class'
  of_set = 'the set has no labels to train a classifier on'
  return of_split if dataset.class_names else of_set


def add_metrics(evaluation: Evaluation, data: Splits, dataset: Dataset) -> None:
  """Adds the metrics of samples from every prior, beside the images of a dataset.

  Coverage and Fréchet distance depend on the number of samples. So real images that neither model
  nor classifier has learned from are measured in place of samples, too: as many, of the same
  classes. Without a stored reference classifier the model's data train one. One that does not know
  the classes judges nothing.
  """
  model, (add, miss) = evaluation.model, evaluation.group(GROUP)
  known = judged(model.config.data, data, dataset)
  if known is None:
    reason = without_judge(evaluation, dataset)
    miss(*SAMPLE_METRICS, *memorization.METRICS, *CLASS_METRICS, reason=reason)
    return
  _, standing, real = known
  protocol = f'of the reference classifier, {known.judge.origin}, on the {len(real):,} real images'
  add('classifier_accuracy', standing.accuracy, protocol, warning=standing.warning)
  if standing.is_blind:
    miss(*(f'{name}{OF_REAL}' for name in SAMPLE_METRICS), reason=standing.warning)
    for prior in priors(model):
      names = (*SAMPLE_METRICS, *memorization.METRICS, *CLASS_METRICS)
      evaluation.miss(group_of(model, prior), *names, reason=standing.warning)
    return
  others = unseen(evaluation, data)
  features, _ = known.judge.judge(others.images)
  protocol = (
    f'{len(features):,} unseen real images in place of samples, of the same classes, the best to '
    f'expect, against {len(real):,} others, {known}'
  )
  for name, value, *notes in sample_metrics(known, features):
    add(f'{name}{OF_REAL}', value, protocol, *notes)
  own = known.judge, str(known), standing.warning
  learned_from = memorization.reference(*own, data.train.images, others.images, features)
  for prior in priors(model):
    _add_samples(evaluation, prior, known, data, dataset, learned_from)


def unseen(evaluation: Evaluation, data: Splits) -> Dataset:
  """Real images of another split; there are as many samples, of the same classes."""
  other = data.test if evaluation.split == 'validation' else data.validation
  rows = slice(min(NUM_SAMPLES, evaluation.num_images))
  return other.take(rows)


def conditions_to_draw(model: Model, dataset: Dataset) -> Conditions:
  """The conditions of images, to draw samples of: a missing class is the likeliest by q(c | x).

  Without a q(c | x) it stays unknown, which such a model is told.
  """
  conditions = inputs.conditions_of(model, dataset)
  if not model.task.network.is_inferring:
    return conditions
  pieces = [
    model.inferred(dataset.images[rows].astype(np.float32) / 255, conditions[rows]).values
    for rows in batches.pieces(len(conditions), PIECE)
  ]
  return dataclasses.replace(conditions, values=np.concatenate(pieces))


def num_to_learn_from(evaluation: Evaluation, data: Splits) -> int:
  """The number of samples that a classifier is trained on.

  As many as there are images to learn from, or fewer for a quick look.
  """
  is_whole = evaluation.num_images == evaluation.num_in_split
  most = MAX_TRAINING_SAMPLES if is_whole else min(NUM_SAMPLES, evaluation.num_images)
  return min(most, len(data.train.labels) + len(data.validation.labels))


def priors(model: Model) -> list[str]:
  """The priors that samples are drawn from, the default first."""
  default = model.prior.choose(None)
  return [default] if default == 'model' else [default, 'model']


def learned(model: Model) -> str:
  """The prior that the model was trained with; of a second stage, its flow."""
  return 'flow_matching' if model.prior.flow else 'model'


def group_of(model: Model, prior: str) -> str:
  """The group of the metrics of samples from one prior."""
  return f'{GROUP}, z ~ {model.prior.describe(prior)}'


def sample(model: Model, conditions: Conditions, prior: str, seed: int = 0) -> np.ndarray:
  """Samples of these conditions, [N, H, W, C] in [0, 1]; of an unconditional model as many."""
  return model.sample(conditions=conditions, seed=seed, prior=prior)


def sample_metrics(
  judged: Judged, drawn: np.ndarray, names: Iterable[str] = SAMPLE_METRICS
) -> Iterator[tuple[str, float, str, str, str]]:
  """Name, value, unit, the reason if it is undefined, and a warning, of some of SAMPLE_METRICS."""
  (num_real, num_features), num_drawn = judged.features.shape, len(drawn)
  for name in names:
    trait = functools.partial(SAMPLE_METRICS.trait, name)
    numbers = {'real': num_real, 'drawn': num_drawn, 'features': num_features}
    undefined = trait('undefined', '').format(**numbers)
    warnings = [judged.standing.warning]
    if min(num_real, num_drawn) < (least := trait('steady_from', 0)):
      few = f'{num_real:,} images and {num_drawn:,} samples are few'
      warnings.append(f'{few}: it is reliable from {least:,} of either')
    value = SAMPLE_METRICS[name](judged.features, drawn)
    yield name, value, trait('unit', ''), undefined, '; '.join(filter(None, warnings))


def _add_samples(
  evaluation: Evaluation,
  prior: str,
  judged: Judged,
  data: Splits,
  dataset: Dataset,
  learned_from: memorization.Reference,
) -> None:
  model, group = evaluation.model, group_of(evaluation.model, prior)
  add, miss = evaluation.group(group)
  judge, standing, real = judged
  source = f'z ~ {model.prior.describe(prior)}'
  conditions = conditions_to_draw(model, unseen(evaluation, data))
  num_samples = len(conditions)
  with progress.shown(f'drawing {num_samples:,} samples, {source}') as advance:
    images = draw(model, conditions, prior, 0, advance)
  features, log_probabilities = judge.judge(images)
  drawn = f'{num_samples:,} samples, {source}, decoder means as bytes'
  for name, value, *notes in sample_metrics(judged, features):
    own = SAMPLE_METRICS.trait(name, 'protocol')
    protocol = f'{drawn}, against {len(real):,} real images, {judged}'
    add(name, value, f'{own}; {protocol}' if own else protocol, *notes)
  picture = 'nearest_training_images'
  picture += '' if prior == model.prior.choose(None) else f'_{prior}_prior'
  labels = conditions.labels if model.conditional else np.full(num_samples, -1)
  judged_ones = images, features, labels
  memorization.add_metrics(evaluation, group, learned_from, *judged_ones, source, picture)
  if not model.conditional:
    miss(*CLASS_METRICS, reason='the model is unconditional')
    return
  known = _conditions_to_learn_from(evaluation, data)
  has_class = labels >= 0
  if not has_class.any() or not len(known):
    miss(*CLASS_METRICS, reason='the real images, whose conditions samples have, have no classes')
    return
  correct = (log_probabilities.argmax(axis=1) == labels)[has_class]
  protocol = (
    f'{drawn}: the reference classifier, {judge.origin}, right on {standing}, sees the class that '
    'was asked for'
  )
  add('conditional_accuracy', proportion(correct), protocol, warning=standing.warning)
  accuracy_score.add(
    evaluation,
    group,
    _draw_to_learn_from(model, prior, known),
    known.labels,
    'samples',
    f'{source}, decoder means as bytes',
    dataset,
    judged.ceiling,
    standing.warning,
  )
  real_diversity = samples.diversity(real, dataset.labels)
  ratio = samples.diversity(features, labels) / real_diversity if real_diversity else np.nan
  protocol = (
    f'mean distance of two samples of a class, {source}, over that of two real images, at most '
    f'{samples.MAX_PER_CLASS:,} of each class, {judged}; other features may order priors otherwise'
  )
  undefined = 'no class has two samples, and two real images that differ'
  add('diversity', ratio, protocol, '× real', undefined, standing.warning)


def _conditions_to_learn_from(evaluation: Evaluation, data: Splits) -> Conditions:
  """Those of training and validation images with a class, to train a classifier on samples of."""
  model, left = evaluation.model, num_to_learn_from(evaluation, data)
  values = []
  for split in (data.train, data.validation):
    conditions = conditions_to_draw(model, split.take(slice(left)))
    left -= len(conditions)
    values.append(conditions.values)
  conditions = dataclasses.replace(conditions, values=np.concatenate(values))
  return conditions[conditions.labels >= 0]


def _draw_to_learn_from(model: Model, prior: str, conditions: Conditions) -> np.ndarray:
  with progress.shown(f'drawing {len(conditions):,} samples to train a classifier on') as advance:
    return draw(model, conditions, prior, NUM_SAMPLES, advance)


def draw(
  model: Model,
  conditions: Conditions,
  prior: str,
  first_seed: int,
  advance: Callable[[float], None],
) -> np.ndarray:
  """Samples of these conditions, uint8 [N, H, W, C]; each piece has a seed of its own."""
  images = np.empty((len(conditions), *model.image_shape), np.uint8)
  for number, rows in enumerate(batches.pieces(len(conditions), PIECE)):
    images[rows] = np.round(255 * sample(model, conditions[rows], prior, first_seed + number))
    advance(min(rows.stop / len(conditions), 1.0))
  return images
