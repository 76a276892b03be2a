"""Samples from a model's priors, as a reference classifier sees them."""

from collections.abc import Callable

import numpy as np

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.evaluation import classifier, samples
from cvae_jax.evaluation.intervals import proportion
from cvae_jax.evaluation.record import Evaluation
from cvae_jax.inference.model import Model
from cvae_jax.runtime import progress

GROUP = 'generation'
NUM_SAMPLES = 10_000
MAX_TRAINING_SAMPLES = 60_000  # that a classifier is trained on alone
SAMPLE_CLASSIFIER_EPOCHS = 5
PIECE = 1_024  # images
OF_A_CLASSIFIER = (
  'frechet_distance',
  'coverage',
  'conditional_accuracy',
  'classification_accuracy_score',
  'diversity',
)


def add(evaluation: Evaluation, data: Splits, part: Dataset, num_samples: int) -> None:
  """Adds what the reference classifier says of samples, from every prior that the model has.

  Args:
    evaluation: to be added to.
    data: the model's set; a reference classifier is trained on it where none is kept.
    part: the real images that samples are held against.
    num_samples: how many samples are judged.
  """
  model, group = evaluation.model, GROUP
  if not part.class_names:
    for name in OF_A_CLASSIFIER:
      evaluation.miss(group, name, 'the set has no labels to train a classifier on')
    return
  judge = classifier.reference(model.config.data, data.train)
  real, real_log_probabilities = judge.judge(part.images)
  evaluation.add(
    group,
    'classifier_accuracy',
    proportion(real_log_probabilities.argmax(axis=1) == part.labels),
    '',
    f'of the reference classifier, on the {len(part.labels):,} real images',
  )
  _add_training_images(evaluation, judge, real, data.train.images[:num_samples])
  for prior in judged(model):
    _add_samples(evaluation, prior, judge, real, data, part, num_samples)


def _add_training_images(
  evaluation: Evaluation, judge: classifier.Classifier, real: np.ndarray, images: np.ndarray
) -> None:
  """What the distances between samples and real images would be if samples were perfect."""
  distance, share = 'frechet_distance_of_training_images', 'coverage_of_training_images'
  if evaluation.split == 'train':
    for name in (distance, share):
      evaluation.miss(GROUP, name, 'the split is the training set')
    return
  seen, _ = judge.judge(images)
  protocol = (
    f'the first {len(seen):,} training images, which the classifier has seen, in place of samples'
  )
  evaluation.add(GROUP, distance, samples.frechet_distance(real, seen), '', protocol)
  evaluation.add(GROUP, share, samples.coverage(real, seen), '', protocol, _too_few(real))


def _too_few(real: np.ndarray) -> str:
  return f'{len(real):,} real images have no {samples.NEIGHBOURS} neighbours each'


def judged(model: Model) -> list[str]:
  """The priors whose samples are judged, the default first."""
  default = model.priors.choose(None)
  return [default] if default == 'model' else [default, 'model']


def group_of(model: Model, prior: str) -> str:
  """The group of what is measured of samples from one prior."""
  return f'{GROUP}, z ~ {model.priors.describe(prior)}'


def _add_samples(
  evaluation: Evaluation,
  prior: str,
  judge: classifier.Classifier,
  real: np.ndarray,
  data: Splits,
  part: Dataset,
  num_samples: int,
) -> None:
  """How samples from one prior look to the reference classifier, beside its features of `part`."""
  model, group = evaluation.model, group_of(evaluation.model, prior)
  source = model.priors.describe(prior)
  drawn = f'samples, z ~ {source}, decoder means as bytes'
  labels = np.resize(part.labels, num_samples)
  with progress.shown(f'drawing {num_samples:,} samples, z ~ {source}') as advance:
    features, log_probabilities = judge.judge(_samples(model, labels, 0, prior, advance))
  in_features = f'in the {features.shape[1]} features of the reference classifier'
  against = f'{num_samples:,} {drawn}, against {len(real):,} real images, {in_features}'
  evaluation.add(group, 'frechet_distance', samples.frechet_distance(real, features), '', against)
  evaluation.add(
    group,
    'coverage',
    samples.coverage(real, features),
    '',
    f'k = {samples.NEIGHBOURS} (Naeem et al. 2020); {against}',
    _too_few(real),
  )
  if not model.conditional:
    for name in OF_A_CLASSIFIER[2:]:
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
  _add_sample_classifier(evaluation, prior, known, part)
  spread, real_spread = (
    samples.diversity(x, y) for x, y in ((features, labels), (real, part.labels))
  )
  evaluation.add(
    group,
    'diversity',
    spread / real_spread if real_spread else np.nan,
    '× real',
    f'mean distance of two samples of a class, z ~ {source}, over that of two real images, at most '
    f'{samples.MAX_PER_CLASS:,} of each class, {in_features}',
    'no class has two samples, and two real images that differ',
  )


def _add_sample_classifier(
  evaluation: Evaluation, prior: str, labels: np.ndarray, part: Dataset
) -> None:
  model, config = evaluation.model, evaluation.model.config.data
  source = model.priors.describe(prior)
  with progress.shown(f'drawing {len(labels):,} samples to train a classifier on') as advance:
    images = _samples(model, labels, NUM_SAMPLES, prior, advance)
  with progress.shown(f'training a classifier on {len(labels):,} samples') as advance:
    trained = classifier.train(
      images,
      labels,
      len(part.class_names),
      config.name in classifier.MIRRORED,
      num_epochs=SAMPLE_CLASSIFIER_EPOCHS,
      advance=advance,
    )
  evaluation.add(
    group_of(model, prior),
    'classification_accuracy_score',
    proportion(trained.predict(part.images) == part.labels),
    '',
    f'a classifier trained for {SAMPLE_CLASSIFIER_EPOCHS} epochs, {classifier.MIN_STEPS:,} steps '
    f'or more, on {len(labels):,} samples alone, z ~ {source}, decoder means as bytes; on '
    f'{len(part.labels):,} real images',
  )


def _samples(
  model: Model,
  labels: np.ndarray,
  first_seed: int,
  prior: str,
  advance: Callable[[float], None],
) -> np.ndarray:
  """Samples of these classes as bytes, uint8 [N, H, W, C]; each piece has a seed of its own."""
  images = np.empty((len(labels), *model.image_shape), np.uint8)
  for number, rows in enumerate(batches.pieces(len(labels), PIECE)):
    own, seed = labels[rows], first_seed + number
    if model.conditional:
      drawn = model.sample(own, seed=seed, prior=prior)
    else:
      drawn = model.sample(num_images=len(own), seed=seed, prior=prior)
    images[rows] = np.round(drawn * 255)
    advance(min((rows.stop) / len(labels), 1.0))
  return images
