"""Latents, reconstructions, bounds and classes of folders of the user's pictures."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import metrics

from cvae_jax.inference import bounds, inputs
from cvae_jax.inference.conditions import Conditions
from cvae_jax.inference.model import Model
from cvae_jax.plots import tables
from cvae_jax.runtime import keys
from cvae_jax.runtime import paths as paths_lib
from cvae_jax.runtime.paths import printable

SHOWN_CLASSES = 10
MAX_NAME = 60  # characters of the folder's name; a file's name may have 255 bytes


class Prediction(NamedTuple):
  """What was found of the pictures of a folder."""

  table: Path  # the CSV
  negative_elbo: np.ndarray  # [N] nats


class Contrast(NamedTuple):
  """What tells the pictures of two folders apart."""

  first: Prediction
  second: Prediction
  auroc: float  # how often a picture of the second has the larger −ELBO of a pair


def contrast(model: Model, first: Path, second: Path, data_dir: str | None = None) -> Contrast:
  """`predict` of two folders, with each picture's quantile among the test images.

  The quantile is the fraction of test images whose −ELBO is no larger: near 1, a picture is
  unusual. The AUROC takes −ELBO as the score (Fawcett 2006): 0.5 where it tells nothing.

  Raises:
    InputError: as of `predict` and `Model.data`.
  """
  model.prior.check_exists()
  test = model.data(data_dir).test
  usual = np.sort(_elbo(model, test.images, inputs.conditions_of(model, test)).negative_elbo)
  found = [predict(model, folder, usual) for folder in (first, second)]
  is_second = np.repeat([0, 1], [len(each.negative_elbo) for each in found])
  scores = np.concatenate([each.negative_elbo for each in found])
  return Contrast(*found, float(metrics.roc_auc_score(is_second, scores)))


def _elbo(model: Model, images: np.ndarray, conditions: Conditions) -> bounds.Terms:
  key = keys.stream(model.config.seed, 'prediction')
  return bounds.elbo(model.task, model.variables, images, conditions.values, key)


def predict(model: Model, folder: Path, usual: np.ndarray | None = None) -> Prediction:
  """Writes `predictions/<folder>-<digest>.npz` and `.csv` into the folder of the model's results.

  A picture in a folder with the name or number of a class has that class; of the others a
  conditional model finds the likeliest. Latents and reconstructions are those of the grey values;
  the bounds of a model of dynamically binarized images are those of one binarization. A row of the
  CSV and of every array is one picture, in order of names.

  Args:
    model: a trained model.
    folder: of pictures, and of folders of them.
    usual: sorted −ELBO of other images; then each picture has a quantile among them.

  Raises:
    InputError: see `inputs.find_pictures`; no picture can be read, or the files cannot be written.
  """
  model.prior.check_exists()
  images, paths = inputs.read_pictures(model, inputs.find_pictures(folder), skip_broken=True)
  found = inputs.find_conditions(model, images, paths)
  conditions, labels = found.conditions, found.conditions.labels
  terms = _elbo(model, images, conditions)
  mean, logvar = model.encode(images, conditions=conditions)
  files = [printable(path.relative_to(folder)) for path in paths]
  columns = {
    'file': files,
    'negative_elbo': terms.negative_elbo.tolist(),
    'reconstruction': terms.reconstruction.tolist(),
    'kl': terms.kl.sum(axis=1).tolist(),
  }
  if usual is not None:
    ranks = np.searchsorted(usual, terms.negative_elbo, side='right')
    columns['quantile'] = (ranks / len(usual)).tolist()
  if model.has_classes:
    # Where only a second stage knows classes, no bound says which it is.
    is_known = found.from_folder | model.reads_conditions
    classes = np.where(is_known, np.array(model.class_names, object)[labels], '').tolist()
    from_ = np.where(found.from_folder, 'folder', 'model')
    origins = np.where(is_known, from_, '').tolist()
    columns |= {
      'class': classes,
      'class_from': origins,
      'probability': found.probabilities.tolist(),
    }
    _print_classes(classes, origins)
  columns |= {f'z{d}': values.tolist() for d, values in enumerate(mean.T)}
  arrays = {
    'files': np.array(files),
    'mean': mean,
    'logvar': logvar,
    'reconstructions': model.decode(mean, conditions=conditions),
    'negative_elbo': terms.negative_elbo,
    'reconstruction': terms.reconstruction,
    'kl': terms.kl,
  }
  if model.has_classes:
    arrays['labels'] = labels
  others = [
    (column, values)
    for number, (column, values) in enumerate(zip(model.columns, conditions.table.T, strict=False))
    if number != model.conditioning.class_number
  ]
  for column, values in others:
    columns[column.name] = [column.text(value) for value in values]
    arrays[f'condition_{column.name}'] = column.in_units(values)
  # Folders in several places may have the same name.
  whole = folder.resolve()
  name = (
    f'{printable(whole.name)[:MAX_NAME] or "pictures"}-{paths_lib.digest(str(whole))}{model.suffix}'
  )
  table = model.folder / 'predictions' / f'{name}.csv'
  advice = 'Make it writable, or start in another folder for a shipped model.'
  with paths_lib.writing(table.parent, advice):
    with paths_lib.whole(table.with_suffix('.npz')) as temporary, open(temporary, 'wb') as file:
      np.savez_compressed(file, **arrays)
    rows = zip(*columns.values(), strict=True)
    paths_lib.write(table, tables.as_csv(list(columns), rows))
  return Prediction(table, terms.negative_elbo)


def _print_classes(classes, origins):
  """Prints the classes that folders gave, and those that the model found, with their counts."""
  for origin, description in (('folder', 'by the name of the folder'), ('model', 'by the model')):
    pairs = zip(classes, origins, strict=True)
    counts = Counter(name for name, source in pairs if source == origin)
    if counts:
      shown = ', '.join(f'{name} ({count:,})' for name, count in counts.most_common(SHOWN_CLASSES))
      print(f'Classes {description}: {shown}{", ..." if len(counts) > SHOWN_CLASSES else ""}')
