"""Trained models side by side: the same measures of each on the same images, a picture, a page."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from cvae_jax.config import Column
from cvae_jax.data import batches, corruption
from cvae_jax.data.datasets import Dataset, Splits
from cvae_jax.data.readers import DATASETS
from cvae_jax.evaluation import generation, pictures, reconstruction, samples, scatter
from cvae_jax.evaluation.generation import Judged
from cvae_jax.evaluation.pictures import Make
from cvae_jax.inference import inputs, loading
from cvae_jax.inference.model import Model
from cvae_jax.plots import figures, html, tables
from cvae_jax.plots.style import Figure
from cvae_jax.runtime import keys, paths, progress
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.vae import active_units
from cvae_jax.training import run_folder

FOLDER = Path('runs') / 'comparisons'
MAX_NAME_BYTES = 150  # of the page's folder
NUM_IMAGES = 2_000  # test images, samples, and training images of the linear probe
NOISE_LEVELS = (0.1, 0.25, 0.5)  # σ of Gaussian noise on pixels in [0, 1]
PIECE = 500  # images that are floats at once
COLUMNS = 6  # images in each third of the picture
SHOWN_NOISE = 0.25  # σ
MAX_SCATTERS = 6


class Measure(NamedTuple):
  """A column of the table."""

  name: str
  protocol: str
  digits: int


MEASURES = {
  'mse': Measure('MSE', 'squared error of the reconstruction, mean over pixels of [0, 1]', 4),
  **{f'denoising_{level:g}': Measure(
    f'denoising, σ {level:g}',
    'squared error of the clean image from what the model makes of it with Gaussian noise of '
    f'σ = {level:g}, clipped to [0, 1]', 4) for level in NOISE_LEVELS},
  'frechet': Measure('Fréchet', 'distance of samples from the test images', 2),
  'diversity': Measure(
    'diversity', 'mean distance of two samples, over that of two test images', 2),
  'confidence': Measure(
    'confidence', 'mean probability of the class that the classifier sees in a sample', 3),
  'linear_accuracy': Measure(
    'linear probe',
    'accuracy of a logistic regression on posterior means, of an unconditional model', 3),
  'silhouette': Measure(
    'silhouette', 'of the classes in the posterior means: 1 is apart, 0 is mixed', 3),
  'active_units': Measure('active', 'latents whose posterior mean has a variance > 0.01', 0),
}  # fmt: skip


def compare(runs: Sequence[str], checkpoint: str, data_dir: str | None) -> Path:
  """Measures models on the same images; writes a CSV file, pictures and a page, and returns it.

  Args:
    runs: two or more runs, checkpoints, or names of shipped weights; a folder of runs stands for
      all of them that have a checkpoint.
    checkpoint: of each run: 'best', 'last' or a step.
    data_dir: folder of their data; None is where the first was trained on them.

  Raises:
    InputError: there are too few runs, one cannot be loaded, or their images differ.
  """
  runs = [run for given in runs for run in _runs_of(given)]
  models = _named([loading.load(run, checkpoint) for run in runs])
  if len(models) < 2:
    raise InputError(f'--compare takes two runs or more, not only {runs[0]}.')
  if text := difference(models):
    raise InputError(f'{text}: they have no test images in common. Compare runs on the same ones.')
  data = data_of(models, data_dir)
  judged = judge(models, data)
  measured = {}
  with progress.shown(f'measuring {len(models)} models') as advance:
    for name, model in models.items():
      measured[name] = of_model(model, data[name], judged)
      advance(len(measured) / len(models))
  named = table('model', {name: [values] for name, values in measured.items()})
  steps = ', '.join(f'{name} at step {model.step}' for name, model in models.items())
  notes = [
    protocol(next(iter(data.values())), judged),
    '–: there is no such number: a denoising autoencoder has no samples, a conditional encoder is '
    f'given the class, a set may have none. Weights: {steps}',
  ]
  progress.log(f'\n{tables.as_text(*named)}\n\n' + '\n'.join(notes) + '\n')
  makers = {'comparison': lambda: ('Side by side', side_by_side(models, data))}
  makers |= scatters(models, data)
  elements = [html.table(*named), *(html.paragraph(text, 'protocol') for text in notes)]
  numbers = (
    [name, model.folder, model.step, *map(measured[name].get, MEASURES)]
    for name, model in models.items()
  )
  folder = FOLDER / _folder_name(models)
  with paths.writing(folder):
    header = ['model', 'folder', 'step', *MEASURES]
    paths.write(folder / 'comparison.csv', tables.as_csv(header, numbers))
    elements += pictures.write(folder, makers)
    paths.write(folder / 'comparison.html', html.page(' against '.join(models), elements))
  return folder / 'comparison.html'


def data_of(models: Mapping[str, Model], data_dir: str | None = None) -> dict[str, Splits]:
  """The data of models with the same test images: loaded once for all with the same conditions."""
  loaded: dict[tuple[Column, ...], Splits] = {}
  for model in models.values():
    if _table_columns(model) not in loaded:
      loaded[_table_columns(model)] = model.data(data_dir)
  return {name: loaded[_table_columns(model)] for name, model in models.items()}


def _table_columns(model: Model) -> tuple[Column, ...]:
  return model.columns if model.conditioning.has_table else ()


def judge(models: Mapping[str, Model], data: Mapping[str, Splits]) -> Judged | None:
  """The first test images as their reference classifier sees them.

  None if they have no classes, or no model has samples.
  """
  if not any(model.has_prior for model in models.values()):
    return None
  known = (name for name, splits in data.items() if splits.test.class_names)
  name = next(known, next(iter(models)))
  test = data[name].test.take(slice(NUM_IMAGES))
  return generation.judged(models[name].config.data, data[name], test)


def of_model(model: Model, data: Splits, judged: Judged | None) -> dict[str, float]:
  """The MEASURES of a model on the images of its config, without those that cannot be had.

  `judged` is from `judge`, and the same for all models on these images.
  """
  dataset = data.test.take(slice(NUM_IMAGES))
  values = {'mse': _error(model, dataset)}
  for level in NOISE_LEVELS:
    values[f'denoising_{level:g}'] = _error(model, dataset, level)
  means = scatter.means(model, dataset)
  values['active_units'] = float(active_units(means).sum())
  if dataset.class_names and not model.conditional:  # whose encoder is given the class
    training = data.train.take(slice(NUM_IMAGES))
    training_means = scatter.means(model, training)
    values |= _class_measures(training_means, training.labels, means, dataset.labels)
  if model.has_prior and judged and not judged.standing.is_blind:
    values |= _sample_measures(model, judged, dataset)
  return {name: value for name, value in values.items() if np.isfinite(value)}


def protocol(data: Splits, judged: Judged | None) -> str:
  """How the measures are taken on these images."""
  count = min(NUM_IMAGES, len(data.test.labels))
  training = min(NUM_IMAGES, len(data.train.labels))
  each = '; '.join(f'{measure.name}: {measure.protocol}' for measure in MEASURES.values())
  return (
    f'On the first {count:,} test images, grey, at posterior means; the linear probe is trained on '
    f'the first {training:,} training images. As many samples as test images, from the prior that '
    f'the model was trained with, decoder means, {judged or "by a reference classifier"}. {each}.'
    + (f' Warning: {judged.standing.warning}.' if judged and judged.standing.warning else '')
  )


def table(corner: str, measured: Mapping[str, Sequence[Mapping[str, float]]]) -> tables.Table:
  """Means over the measures of the runs that share a name; `corner` is the heading of the names."""

  def cell(runs, key):
    values = [values[key] for values in runs if key in values]
    return tables.mean_and_std(values, MEASURES[key].digits)

  header = (corner, *(measure.name for measure in MEASURES.values()))
  return header, [(name, *(cell(runs, key) for key in MEASURES)) for name, runs in measured.items()]


def difference(models: Mapping[str, Model]) -> str:
  """The first setting in which models have other test images than the first one; '' if none."""
  (first, expected), *others = ((name, _test_images(model)) for name, model in models.items())
  for name, given in others:
    for field, value in given.items():
      # A model of conditions without a class does not know the classes of its images.
      if value != expected[field] and not (field == 'classes' and () in (value, expected[field])):
        return f'{name} has {field}={value!r}, but {first} {field}={expected[field]!r}'
  return ''


def side_by_side(models: Mapping[str, Model], data: Mapping[str, Splits]) -> Figure:
  """A row for each model: the same images reconstructed, denoised, and samples of the same noise.

  The first row holds the inputs, the first test images. Samples come from the prior that
  each model was trained with, to show what its settings did; a model without one has none.
  """
  first = {name: splits.test.take(slice(COLUMNS)) for name, splits in data.items()}
  images = next(iter(first.values())).images[:].astype(np.float32) / 255
  key = keys.stream(0, 'noise of comparisons')
  noisy = np.asarray(corruption.corrupt('gaussian', SHOWN_NOISE, key, images))
  empty = np.full_like(images, np.nan)
  gap = empty[:1]
  rows = [np.concatenate([images, gap, noisy, gap, empty])]
  for name, model in models.items():
    own = generation.conditions_to_draw(model, first[name])
    restored, denoised = (model.reconstruct(x, conditions=own) for x in (images, noisy))
    drawn = generation.sample(model, own, generation.learned(model)) if model.has_prior else empty
    rows.append(np.concatenate([restored, gap, denoised, gap, drawn]))
  names = ['reconstructions', f'denoising (Gaussian, σ = {SHOWN_NOISE:g})']
  if any(model.has_prior for model in models.values()):
    names.append('samples from the prior of the training')
  headings = {third * (len(images) + 1): name for third, name in enumerate(names)}
  shown = next(iter(models.values())).shown(np.stack(rows))
  return figures.image_grid(shown, ['given', *models], headings=headings)


def scatters(models: Mapping[str, Model], data: Mapping[str, Splits]) -> dict[str, Make]:
  """The pictures of the latents of the first models, by their file names."""

  def make(name, model):
    return f'Latents of {name}', scatter.draw(model, data[name].test, 'pca', name)

  return {
    f'latents_{position}': functools.partial(make, name, model)
    for position, (name, model) in enumerate(list(models.items())[:MAX_SCATTERS])
  }


def _runs_of(given: str) -> list[str]:
  """The runs in a folder of runs, ordered by the numbers in their names; else what was given."""
  folder = paths.from_user(given)
  if not folder.is_dir() or run_folder.holds_run(folder):
    return [given]
  inside = sorted(filter(run_folder.holds_run, folder.iterdir()), key=_by_number)
  found = [run for run in inside if run_folder.has_checkpoint(run)]
  if missing := [run.name for run in inside if run not in found]:
    progress.log(f'without a checkpoint, and left out: {", ".join(missing)}')
  if begun := [run.name for run in found if not any(run.glob(f'{run_folder.SAMPLES}/step_*.png'))]:
    progress.log(f'not trained to their end, and compared all the same: {", ".join(begun)}')
  return [str(run) for run in found] or [given]


def _by_number(run: Path) -> list[tuple[float, str]]:
  """A sort key that puts beta=2 before beta=10."""
  pieces = re.split(r'(\d+(?:\.\d+)?(?:e[-+]?\d+)?)', run.name)
  return [(float(piece), '') if piece[:1].isdigit() else (0.0, piece) for piece in pieces]


def _named(models: Sequence[Model]) -> dict[str, Model]:
  """Names each model after its folder, with as much of the path as makes the names unique."""
  for depth in range(1, 10):
    names = ['/'.join(model.folder.resolve().parts[-depth:]) + model.suffix for model in models]
    if len(set(names)) == len(names):
      return dict(zip(names, models, strict=True))
  twice = next(model for model, name in zip(models, names, strict=True) if names.count(name) > 1)
  raise InputError(f'--compare names {twice.folder} more than once: give different runs.')


def _folder_name(models: Mapping[str, Model]) -> str:
  joined = '-vs-'.join(name.replace('/', '_') for name in models)
  short = joined.encode()[:MAX_NAME_BYTES].decode(errors='ignore')
  # Runs in other folders may have the same names.
  folders = (f'{model.folder.resolve()}{model.suffix}' for model in models.values())
  return f'{short}-{paths.digest(*folders)}'


def _test_images(model: Model) -> dict[str, object]:
  """The settings that decide which images are in the test split, and how they look."""
  data = model.config.data
  fields = {'data.name': data.name, 'image shape': model.image_shape}
  fields |= {f'data.{name}': data[name] for name in ('crop_size', 'fit', 'bit_depth', 'alpha')}
  fields['classes'] = model.class_names
  if not DATASETS.trait(data.name, 'own_test_split', True):  # held out of the images in data.dir
    fields['data.dir'] = str(Path(data.dir).expanduser().resolve())
    fields |= {f'data.{name}': data[name] for name in ('split_seed', 'validation_examples')}
  return fields


def _error(model: Model, dataset: Dataset, level: float = 0.0) -> float:
  """The mean squared error between clean images and the reconstructions of noisy ones."""
  key, errors = keys.stream(0, 'noise of comparisons'), []
  conditions = inputs.conditions_of(model, dataset)
  for rows in batches.pieces(len(dataset.images), PIECE):
    given = clean = dataset.images[rows].astype(np.float32) / 255
    if level:
      noise_key = jax.random.fold_in(key, rows.start)
      given = np.asarray(corruption.corrupt('gaussian', level, noise_key, clean))
    restored = model.reconstruct(given, conditions=conditions[rows])
    errors.append(reconstruction.scores(clean, restored)['mse'])
  return float(np.concatenate(errors).mean())


def _class_measures(training_means, training_labels, means, labels) -> dict[str, float]:
  """How well the latents separate the classes."""
  from sklearn import linear_model, metrics, pipeline, preprocessing  # late: half a second

  values = {}
  if len(set(training_labels)) > 1:
    regression = linear_model.LogisticRegression(max_iter=1_000)
    probe = pipeline.make_pipeline(preprocessing.StandardScaler(), regression)
    probe.fit(training_means, training_labels)
    values['linear_accuracy'] = float(probe.score(means, labels))
  if 1 < len(set(labels)) < len(labels):
    values['silhouette'] = float(metrics.silhouette_score(means, labels))
  return values


def _sample_measures(model: Model, judged: Judged, dataset: Dataset) -> dict[str, float]:
  """How samples compare with real images in the features of the reference classifier."""
  conditions = generation.conditions_to_draw(model, dataset)
  drawn = np.round(255 * generation.sample(model, conditions, generation.learned(model))).astype(
    np.uint8
  )
  features, log_probabilities = judged.judge.judge(drawn)
  real = judged.features
  # One class for all, since an unconditional model has none.
  group = np.zeros(len(dataset.labels), np.int32)
  real_diversity = samples.diversity(real, group) or np.nan
  return {
    'frechet': samples.frechet_distance(real, features),
    'diversity': samples.diversity(features, group) / real_diversity,
    'confidence': float(np.exp(log_probabilities.max(axis=1)).mean()),
  }
