"""The classification accuracy score: what images are worth to learn classes from."""

import numpy as np
from jaxtyping import UInt8

from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import classifier
from cvae_jax.evaluation.classifier import Labels, Standing
from cvae_jax.evaluation.report import Evaluation
from cvae_jax.runtime import progress

NAME = 'classification_accuracy_score'
NUM_EPOCHS = 5


def add(
  evaluation: Evaluation,
  group: str,
  images: UInt8[np.ndarray, 'images height width channels'],
  labels: Labels,
  what: str,
  source: str,
  dataset: Dataset,
  ceiling: str,
  warning: str,
) -> None:
  """Adds the accuracy on real images of a classifier that was trained on others alone.

  See Ravuri & Vinyals 2019.

  Args:
    evaluation: to add to.
    group: of its metrics.
    images: to train on.
    labels: their classes.
    what: the images to train on are, in one word.
    source: of these, in words.
    dataset: real images; those without a class are left out.
    ceiling: what a classifier of real images reaches, in words.
    warning: where that says little.
  """
  count, tested = f'{len(images):,} {what}', classifier.labelled(dataset)
  mirrored = DATASETS.trait(evaluation.model.config.data.name, 'mirrored', False)
  settings = len(dataset.class_names), mirrored, NUM_EPOCHS
  with progress.shown(f'training a classifier on {count}') as advance:
    learned = classifier.train(images, labels, *settings, advance)
  found: Standing = classifier.standing(learned.predict(tested.images), tested.labels)
  protocol = (
    f'a classifier trained for {NUM_EPOCHS} epochs, or up to {classifier.MAX_EPOCHS} to make '
    f'{classifier.MIN_STEPS:,} steps, on {count} alone, {source}; on {len(tested.labels):,} real '
    f'images, of which {ceiling}'
  )
  warning = found.warning if found.is_blind else warning
  evaluation.add(group, NAME, found.accuracy, protocol, warning=warning)
