"""What tells trained models apart: the same measures of each, on the same images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from cvae_jax.data import batches, corruption
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.evaluation import classifier, reconstruction, samples, scatter
from cvae_jax.evaluation.sweep_results import shown
from cvae_jax.inference.model import Model
from cvae_jax.runtime import keys
from cvae_jax.tasks.vae import active_units

NUM_IMAGES = 2_000  # of the test split, as many samples, and training images of the linear probe
NOISE_LEVELS = (0.1, 0.25, 0.5)  # σ of Gaussian noise on pixels in [0, 1]
PIECE = 500  # images that are floats at once


class Measure(NamedTuple):
  """A number that a model has or not."""

  name: str
  protocol: str
  digits: int


def measures() -> dict[str, Measure]:
  """All that `of_model` gives; see `protocol` for what they have in common."""
  noisy = {
    f'denoising_{level:g}': Measure(
      f'denoising, σ {level:g}',
      f'squared error of the clean image from what the model makes of it with Gaussian noise of '
      f'σ = {level:g}, clipped to [0, 1]',
      4,
    )
    for level in NOISE_LEVELS
  }
  return {
    'mse': Measure('MSE', 'squared error of the reconstruction, mean over pixels of [0, 1]', 4),
    **noisy,
    'frechet': Measure('Fréchet', 'distance of samples from the test images', 2),
    'diversity': Measure(
      'diversity', 'mean distance of two samples, over that of two test images', 2
    ),
    'confidence': Measure(
      'confidence', 'mean probability of the class that the classifier sees in a sample', 3
    ),
    'linear_accuracy': Measure(
      'linear probe',
      'accuracy of a logistic regression on posterior means, of an unconditional model',
      3,
    ),
    'silhouette': Measure(
      'silhouette', 'of the classes in the posterior means: 1 is apart, 0 is mixed', 3
    ),
    'active_units': Measure('active', 'latents whose posterior mean has a variance > 0.01', 0),
  }


def protocol(data: Splits) -> str:
  """How the measures come about on these images."""
  count = min(NUM_IMAGES, len(data.test.labels))
  training = min(NUM_IMAGES, len(data.train.labels))
  each = '; '.join(f'{measure.name}: {measure.protocol}' for measure in measures().values())
  return (
    f'On the first {count:,} test images, grey, at posterior means; the linear probe is trained on '
    f'the first {training:,} training images. As many samples as test images, from the prior that '
    'the model was trained with, decoder means, by the features of the reference classifier. '
    f'{each}.'
  )


def test_images(model: Model) -> dict[str, object]:
  """What decides which images are in the test split, and how they look."""
  data = model.config.data
  fields = {
    'data.name': data.name,
    'image shape': model.image_shape,
    'data.crop_size': data.crop_size,
    'classes': model.class_names,
  }
  if data.name == 'folder':
    fields['data.dir'] = str(Path(data.dir).expanduser().resolve())
  if data.name in ('digits', 'folder'):  # whose test images may be held out of those there are
    fields['data.split_seed'] = data.split_seed
    fields['data.validation_examples'] = data.validation_examples
  return fields


def of_model(model: Model, data: Splits) -> dict[str, float]:
  """Measures one model; what it, or the set, cannot have is left out.

  Args:
    model: a trained model.
    data: the images of its config.
  """
  part = _first(data.test, NUM_IMAGES)
  values = {'mse': _error(model, part)}
  for level in NOISE_LEVELS:
    values[f'denoising_{level:g}'] = _error(model, part, level)
  encoded = scatter.means(model, part.images, part.labels)
  values['active_units'] = float(active_units(encoded).sum())
  if not part.class_names:
    return values
  if not model.conditional:  # whose encoder is given the class
    training = _first(data.train, NUM_IMAGES)
    seen = scatter.means(model, training.images, training.labels)
    values |= _class_measures(seen, training.labels, encoded, part.labels)
  if model.has_prior:
    judge = classifier.reference(model.config.data, data.train)
    values |= _sample_measures(model, judge, part)
  return {name: value for name, value in values.items() if np.isfinite(value)}


def cells(measured: Sequence[Mapping[str, float]]) -> list[str]:
  """A table's cells of one setting: mean ± deviation over its runs, – where there is nothing."""
  return [
    shown([values[name] for values in measured if name in values], measure.digits)
    for name, measure in measures().items()
  ]


def _first(part: Dataset, count: int) -> Dataset:
  return part._replace(images=part.images[:count], labels=part.labels[:count])


def _labels(model: Model, labels: np.ndarray) -> np.ndarray | None:
  return labels if model.conditional else None


def _error(model: Model, part: Dataset, level: float = 0.0) -> float:
  """The mean squared error of reconstructions of noisy images from the clean ones."""
  key, errors = keys.stream(0, 'noise of comparisons'), []
  for rows in batches.pieces(len(part.images), PIECE):
    clean = part.images[rows].astype(np.float32) / 255
    noise_key = jax.random.fold_in(key, rows.start)
    seen = np.asarray(corruption.corrupt('gaussian', level, noise_key, clean)) if level else clean
    own = _labels(model, part.labels[rows])
    errors.append(reconstruction.scores(clean, model.reconstruct(seen, own))['mse'])
  return float(np.concatenate(errors).mean())


def _class_measures(seen, seen_labels, means, labels) -> dict[str, float]:
  """How well the classes can be told apart in the latents."""
  from sklearn import linear_model, metrics, pipeline, preprocessing  # late: half a second

  probe = pipeline.make_pipeline(
    preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1_000)
  )
  values = {}
  if len(set(seen_labels)) > 1:
    values['linear_accuracy'] = float(probe.fit(seen, seen_labels).score(means, labels))
  if 1 < len(set(labels)) < len(labels):
    values['silhouette'] = float(metrics.silhouette_score(means, labels))
  return values


def _sample_measures(model: Model, judge: classifier.Classifier, part: Dataset) -> dict[str, float]:
  """How samples look to the reference classifier, beside real images."""
  own = _labels(model, part.labels)
  drawn = model.sample(
    own, num_images=None if model.conditional else len(part.labels), prior='model'
  )
  drawn = np.round(255 * drawn).astype(np.uint8)
  features, log_probabilities = judge.judge(drawn)
  real, _ = judge.judge(part.images)
  # All in one group: an unconditional model has no classes.
  group = np.zeros(len(part.labels), np.int32)
  spread = samples.diversity(real, group) or np.nan
  return {
    'frechet': samples.frechet_distance(real, features),
    'diversity': float(np.divide(samples.diversity(features, group), spread)),
    'confidence': float(np.exp(log_probabilities.max(axis=1)).mean()),
  }
