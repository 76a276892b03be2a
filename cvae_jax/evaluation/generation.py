"""Samples from every prior of a model, judged by a reference classifier."""

from collections.abc import Iterator

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


def add_metrics(evaluation: Evaluation, data: Splits, dataset: Dataset, num_samples: int) -> None:
  """Adds the metrics of `num_samples` samples from every prior, beside the images of a dataset.

  The model's data train a reference classifier unless one is stored.
  """
  model, (add, miss) = evaluation.model, evaluation.group(GROUP)
  if not dataset.class_names:
    reason = 'the set has no labels to train a classifier on'
    miss(*SAMPLE_METRICS, *CLASS_METRICS, reason=reason)
    return
  judge = classifier.reference(model.config.data, data.train)
  real, log_probabilities = judge.judge(dataset.images)
  correct = log_probabilities.argmax(axis=1) == dataset.labels
  protocol = f'of the reference classifier, on the {len(correct):,} real images'
  add('classifier_accuracy', proportion(correct), protocol)
  # Training images in place of samples: the best values to expect.
  if evaluation.split == 'train':
    names = (f'{name}_of_training_images' for name in SAMPLE_METRICS)
    miss(*names, reason='the split is the training set')
  else:
    features, _ = judge.judge(data.train.images[:num_samples])
    seen = f'the first {len(features):,} training images, which the classifier has seen'
    for name, value, *notes in _sample_metrics(real, features):
      add(f'{name}_of_training_images', value, f'{seen}, in place of samples', *notes)
  for prior in priors(model):
    _add_samples(evaluation, prior, judge, real, data, dataset, num_samples)


def priors(model: Model) -> list[str]:
  """The priors that samples are drawn from, the default first."""
  default = model.prior.choose(None)
  return [default] if default == 'model' else [default, 'model']


def group_of(model: Model, prior: str) -> str:
  """The group of the metrics of samples from one prior."""
  return f'{GROUP}, z ~ {model.prior.describe(prior)}'


def sample(model: Model, labels: np.ndarray, prior: str, seed: int = 0) -> np.ndarray:
  """Samples of these classes, [N, H, W, C] in [0, 1]; of an unconditional model as many."""
  given = {'labels': labels} if model.conditional else {'num_images': len(labels)}
  return model.sample(**given, seed=seed, prior=prior)


def _sample_metrics(real: np.ndarray, drawn: np.ndarray) -> Iterator[tuple[str, float, str, str]]:
  """Name, value, unit, and the reason if it is undefined, of each of SAMPLE_METRICS."""
  for name in SAMPLE_METRICS:
    undefined = SAMPLE_METRICS.trait(name, 'undefined', '').format(real=len(real))
    yield name, SAMPLE_METRICS[name](real, drawn), SAMPLE_METRICS.trait(name, 'unit', ''), undefined


def _add_samples(evaluation, prior, judge, real, data, dataset, num_samples) -> None:
  model, (add, miss) = evaluation.model, evaluation.group(group_of(evaluation.model, prior))
  source = f'z ~ {model.prior.describe(prior)}'
  labels = np.resize(dataset.labels, num_samples)
  with progress.shown(f'drawing {num_samples:,} samples, {source}') as advance:
    features, log_probabilities = judge.judge(_draw(model, labels, prior, 0, advance))
  drawn = f'{num_samples:,} samples, {source}, decoder means as bytes'
  in_features = f'in the {features.shape[1]} features of the reference classifier'
  for name, value, *notes in _sample_metrics(real, features):
    own = SAMPLE_METRICS.trait(name, 'protocol')
    protocol = f'{drawn}, against {len(real):,} real images, {in_features}'
    add(name, value, f'{own}; {protocol}' if own else protocol, *notes)
  if not model.conditional:
    miss(*CLASS_METRICS, reason='the model is unconditional')
    return
  correct = log_probabilities.argmax(axis=1) == labels
  protocol = f'{drawn}: the classifier sees the class that was asked for'
  add('conditional_accuracy', proportion(correct), protocol)
  # As many samples as there are images to learn from, or fewer for a quick look.
  most = MAX_TRAINING_SAMPLES if num_samples == NUM_SAMPLES else num_samples
  known = np.concatenate([data.train.labels, data.validation.labels])[:most]
  correct = _train_on_samples(model, prior, known).predict(dataset.images) == dataset.labels
  protocol = (
    f'a classifier trained for {SAMPLE_CLASSIFIER_EPOCHS} epochs, {classifier.MIN_STEPS:,} steps '
    f'or more, on {len(known):,} samples alone, {source}, decoder means as bytes; on '
    f'{len(dataset.labels):,} real images'
  )
  add('classification_accuracy_score', proportion(correct), protocol)
  real_diversity = samples.diversity(real, dataset.labels)
  ratio = samples.diversity(features, labels) / real_diversity if real_diversity else np.nan
  protocol = (
    f'mean distance of two samples of a class, {source}, over that of two real images, at most '
    f'{samples.MAX_PER_CLASS:,} of each class, {in_features}'
  )
  undefined = 'no class has two samples, and two real images that differ'
  add('diversity', ratio, protocol, '× real', undefined)


def _train_on_samples(model: Model, prior: str, labels: np.ndarray) -> classifier.Classifier:
  count = f'{len(labels):,} samples'
  with progress.shown(f'drawing {count} to train a classifier on') as advance:
    images = _draw(model, labels, prior, NUM_SAMPLES, advance)
  mirrored = DATASETS.trait(model.config.data.name, 'mirrored', False)
  settings = len(model.class_names), mirrored, SAMPLE_CLASSIFIER_EPOCHS
  with progress.shown(f'training a classifier on {count}') as advance:
    return classifier.train(images, labels, *settings, advance)


def _draw(model: Model, labels: np.ndarray, prior: str, first_seed: int, advance) -> np.ndarray:
  """Samples of these classes, uint8 [N, H, W, C]; each piece has a seed of its own."""
  images = np.empty((len(labels), *model.image_shape), np.uint8)
  for number, rows in enumerate(batches.pieces(len(labels), PIECE)):
    images[rows] = np.round(255 * sample(model, labels[rows], prior, first_seed + number))
    advance(min(rows.stop / len(labels), 1.0))
  return images
