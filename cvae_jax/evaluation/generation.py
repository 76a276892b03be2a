"""Samples from every prior of a model, judged by a reference classifier."""

from collections.abc import Callable

import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import classifier, samples
from cvae_jax.evaluation.intervals import proportion
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.evaluation.samples import SAMPLE_METRICS
from cvae_jax.inference.model import Model
from cvae_jax.runtime import progress

GROUP = 'generation'
NUM_SAMPLES = 10_000
MAX_TRAINING_SAMPLES = 60_000  # of a classifier that is trained on samples
SAMPLE_CLASSIFIER_EPOCHS = 5
PIECE = 1_024  # images
# Beside SAMPLE_METRICS, of a conditional model.
CLASS_METRICS = ('conditional_accuracy', 'classification_accuracy_score', 'diversity')


def add(evaluation: Evaluation, data: Splits, dataset: Dataset, num_samples: int) -> None:
  """Adds the metrics of samples, from every prior of the model.

  Args:
    evaluation: is added to.
    data: the model's data; they train a reference classifier unless one is stored.
    dataset: the real images that samples are compared with.
    num_samples: how many samples are judged.
  """
  model = evaluation.model
  if not dataset.class_names:
    for name in (*SAMPLE_METRICS, *CLASS_METRICS):
      evaluation.miss(GROUP, name, 'the set has no labels to train a classifier on')
    return
  judge = classifier.reference(model.config.data, data.train)
  real, log_probabilities = judge.judge(dataset.images)
  evaluation.add(
    GROUP,
    'classifier_accuracy',
    proportion(log_probabilities.argmax(axis=1) == dataset.labels),
    '',
    f'of the reference classifier, on the {len(dataset.labels):,} real images',
  )
  _add_training_images(evaluation, judge, real, data.train.images[:num_samples])
  for prior in priors(model):
    _add_samples(evaluation, prior, judge, real, data, dataset, num_samples)


def priors(model: Model) -> list[str]:
  """The priors that samples are drawn from, the default first."""
  default = model.priors.choose(None)
  return [default] if default == 'model' else [default, 'model']


def group_of(model: Model, prior: str) -> str:
  """The group of the metrics of samples from one prior."""
  return f'{GROUP}, z ~ {model.priors.describe(prior)}'


def _add_sample_metric(
  evaluation: Evaluation,
  group: str,
  name: str,
  metric: str,
  real: np.ndarray,
  drawn: np.ndarray,
  protocol: str,
) -> None:
  evaluation.add(
    group,
    name,
    SAMPLE_METRICS[metric](real, drawn),
    SAMPLE_METRICS.trait(metric, 'unit', ''),
    protocol,
    SAMPLE_METRICS.trait(metric, 'undefined', '').format(real=len(real)),
  )


def _add_training_images(
  evaluation: Evaluation, judge: classifier.Classifier, real: np.ndarray, images: np.ndarray
) -> None:
  """Adds what the metrics of samples would be of perfect samples."""
  names = {metric: f'{metric}_of_training_images' for metric in SAMPLE_METRICS}
  if evaluation.split == 'train':
    for name in names.values():
      evaluation.miss(GROUP, name, 'the split is the training set')
    return
  seen, _ = judge.judge(images)
  protocol = (
    f'the first {len(seen):,} training images, which the classifier has seen, in place of samples'
  )
  for metric, name in names.items():
    _add_sample_metric(evaluation, GROUP, name, metric, real, seen, protocol)


def _add_samples(
  evaluation: Evaluation,
  prior: str,
  judge: classifier.Classifier,
  real: np.ndarray,
  data: Splits,
  dataset: Dataset,
  num_samples: int,
) -> None:
  """Adds the metrics of samples from one prior."""
  model, group = evaluation.model, group_of(evaluation.model, prior)
  source = model.priors.describe(prior)
  drawn = f'samples, z ~ {source}, decoder means as bytes'
  labels = np.resize(dataset.labels, num_samples)
  with progress.shown(f'drawing {num_samples:,} samples, z ~ {source}') as advance:
    features, log_probabilities = judge.judge(_draw(model, labels, prior, 0, advance))
  in_features = f'in the {features.shape[1]} features of the reference classifier'
  against = f'{num_samples:,} {drawn}, against {len(real):,} real images, {in_features}'
  for metric in SAMPLE_METRICS:
    own = SAMPLE_METRICS.trait(metric, 'protocol')
    protocol = f'{own}; {against}' if own else against
    _add_sample_metric(evaluation, group, metric, metric, real, features, protocol)
  if not model.conditional:
    for name in CLASS_METRICS:
      evaluation.miss(group, name, 'the model is unconditional')
    return
  evaluation.add(
    group,
    'conditional_accuracy',
    proportion(log_probabilities.argmax(axis=1) == labels),
    '',
    f'{num_samples:,} {drawn}: the classifier sees the class that was asked for',
  )
  # As many samples as there are images to learn from, or fewer for a quick look.
  most = MAX_TRAINING_SAMPLES if num_samples == NUM_SAMPLES else num_samples
  known = np.concatenate([data.train.labels, data.validation.labels])[:most]
  _add_sample_classifier(evaluation, prior, known, dataset)
  real_diversity = samples.diversity(real, dataset.labels)
  evaluation.add(
    group,
    'diversity',
    samples.diversity(features, labels) / real_diversity if real_diversity else np.nan,
    '× real',
    f'mean distance of two samples of a class, z ~ {source}, over that of two real images, at most '
    f'{samples.MAX_PER_CLASS:,} of each class, {in_features}',
    'no class has two samples, and two real images that differ',
  )


def _add_sample_classifier(
  evaluation: Evaluation, prior: str, labels: np.ndarray, dataset: Dataset
) -> None:
  model = evaluation.model
  source = model.priors.describe(prior)
  with progress.shown(f'drawing {len(labels):,} samples to train a classifier on') as advance:
    images = _draw(model, labels, prior, NUM_SAMPLES, advance)
  with progress.shown(f'training a classifier on {len(labels):,} samples') as advance:
    trained = classifier.train(
      images,
      labels,
      len(dataset.class_names),
      DATASETS.trait(model.config.data.name, 'mirrored', False),
      num_epochs=SAMPLE_CLASSIFIER_EPOCHS,
      advance=advance,
    )
  evaluation.add(
    group_of(model, prior),
    'classification_accuracy_score',
    proportion(trained.predict(dataset.images) == dataset.labels),
    '',
    f'a classifier trained for {SAMPLE_CLASSIFIER_EPOCHS} epochs, {classifier.MIN_STEPS:,} steps '
    f'or more, on {len(labels):,} samples alone, z ~ {source}, decoder means as bytes; on '
    f'{len(dataset.labels):,} real images',
  )


def _draw(
  model: Model,
  labels: np.ndarray,
  prior: str,
  first_seed: int,
  advance: Callable[[float], None],
) -> np.ndarray:
  """Samples of these classes, uint8 [N, H, W, C]; each piece has a seed of its own."""
  images = np.empty((len(labels), *model.image_shape), np.uint8)
  for number, rows in enumerate(batches.pieces(len(labels), PIECE)):
    own = labels[rows]
    given = {'labels': own} if model.conditional else {'num_images': len(own)}
    drawn = model.sample(**given, seed=first_seed + number, prior=prior)
    images[rows] = np.round(drawn * 255)
    advance(min(rows.stop / len(labels), 1.0))
  return images
