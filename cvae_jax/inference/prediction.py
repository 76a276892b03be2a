"""Latents, reconstructions, bounds and classes of a folder of the user's pictures."""

from collections import Counter
from pathlib import Path

import numpy as np

from cvae_jax.inference import bounds, inputs
from cvae_jax.inference.model import Model
from cvae_jax.plots import tables
from cvae_jax.runtime import keys
from cvae_jax.runtime import paths as paths_lib
from cvae_jax.runtime.paths import printable

SHOWN_CLASSES = 10
MAX_NAME = 60  # characters of the folder's name; a file's name may have 255 bytes


def predict(model: Model, folder: Path) -> Path:
  """Writes `predictions/<folder>-<digest>.npz` and `.csv` into the folder of the model's results.

  A picture in a folder with the name or number of a class has that class; of the others a
  conditional model finds the likeliest. Latents and reconstructions are those of the grey values;
  the bounds of a model of dynamically binarized images are those of one binarization. A row of the
  CSV and of every array is one picture, in order of names.

  Returns:
    The CSV file.

  Raises:
    InputError: see `inputs.find_pictures`; no picture can be read, or the files cannot be written.
  """
  model.prior.check_exists()
  images, paths = inputs.read_pictures(model, inputs.find_pictures(folder), skip_broken=True)
  found = inputs.find_labels(model, images, paths)
  labels = np.zeros(len(images), np.int32) if found is None else found.labels
  key = keys.stream(model.config.seed, 'prediction')
  terms = bounds.elbo(model.task, model.variables, images, labels, key)
  grey, known = images.astype(np.float32) / 255, labels if model.conditional else None
  mean, logvar = model.encode(grey, known)
  files = [printable(path.relative_to(folder)) for path in paths]
  columns = {
    'file': files,
    'negative_elbo': terms.negative_elbo.tolist(),
    'reconstruction': terms.reconstruction.tolist(),
    'kl': terms.kl.sum(axis=1).tolist(),
  }
  if found is not None:
    classes = np.array(model.class_names, object)[labels].tolist()
    origins = ['folder' if row else 'model' for row in found.from_folder]
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
    'reconstructions': model.decode(mean, known),
    'negative_elbo': terms.negative_elbo,
    'reconstruction': terms.reconstruction,
    'kl': terms.kl,
  }
  if known is not None:
    arrays['labels'] = known
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
  return table


def _print_classes(classes, origins):
  """Prints the classes that folders gave, and those that the model found, with their counts."""
  for origin, description in (('folder', 'by the name of the folder'), ('model', 'by the model')):
    pairs = zip(classes, origins, strict=True)
    counts = Counter(name for name, source in pairs if source == origin)
    if counts:
      shown = ', '.join(f'{name} ({count:,})' for name, count in counts.most_common(SHOWN_CLASSES))
      print(f'Classes {description}: {shown}{", ..." if len(counts) > SHOWN_CLASSES else ""}')
