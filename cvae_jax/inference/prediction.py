"""A folder of the user's own pictures through the model: latents, reconstructions, bounds."""

import contextlib
import csv
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvae_jax.data.readers import folder as folder_lib
from cvae_jax.data.readers import pictures
from cvae_jax.inference import bounds
from cvae_jax.inference.model import Model
from cvae_jax.runtime import keys
from cvae_jax.runtime import paths as paths_lib
from cvae_jax.runtime.errors import InputError


class Labelled(NamedTuple):
  """Classes of images, and how sure the model is of those that it found itself."""

  labels: np.ndarray  # int32 [N]
  probabilities: np.ndarray  # [N]; 1 where the class was given


def read_pictures(
  model: Model, paths: list[Path], skip_broken: bool
) -> tuple[np.ndarray, list[Path]]:
  """Picture files as the model takes them: cropped and resized as its config says.

  Args:
    model: a trained model.
    paths: the files.
    skip_broken: list those that cannot be read and leave them out, instead of raising.

  Returns:
    uint8 [N, H, W, C], and the files they are from.

  Raises:
    InputError: a file is missing or cannot be read, or none can.
  """
  for path in paths:
    if not path.is_file():
      raise InputError(f'{path} is {"no file" if path.exists() else "not there"}.')
  data = model.config.data
  try:
    images, readable = pictures.decode(
      paths,
      data.image_size,
      data.crop_size,
      data.channels,
      cache=False,
      skip_broken=skip_broken,
    )
  except InputError as error:  # which ends in advice on a flag that train.py has
    raise InputError(f'{str(error).partition(" --config.")[0]} Leave it out.') from error
  if not readable.any():
    raise InputError(
      f'None of {len(paths)} pictures can be read, of which the first is {paths[0]}.'
    )
  return images[readable], [path for path, whole in zip(paths, readable, strict=True) if whole]


def find_pictures(folder: Path) -> list[Path]:
  """The picture files in a folder and those below it, in order of their names.

  Raises:
    InputError: there is no such folder, or no picture in it.
  """
  if not folder.is_dir():
    raise InputError(f'{folder} is {"a file" if folder.exists() else "not there"}: name a folder.')

  def refuse(error):
    raise InputError(
      f'{error.filename} cannot be listed: {error.strerror}. Make it readable, or leave it out.'
    ) from error

  found = sorted(
    Path(parent, name)
    for parent, _, names in os.walk(folder, onerror=refuse)
    for name in names
    if name.lower().endswith(folder_lib.SUFFIXES)
  )
  if not found:
    suffixes = ', '.join(folder_lib.SUFFIXES)
    raise InputError(f'{folder} holds no picture ({suffixes}).')
  return found


def find_labels(model: Model, images: np.ndarray) -> Labelled | None:
  """The likeliest class of each image, by Bayes from the bounds; None for an unconditional model.

  Args:
    model: a trained model.
    images: uint8 [N, H, W, C].

  Raises:
    InputError: the model has no bounds.
  """
  if not model.conditional:
    return None
  if not model.has_prior:
    raise InputError(
      'A denoising autoencoder cannot tell the class of a picture: name it with --label.'
    )
  key = keys.stream(model.config.seed, 'prediction')
  log_probabilities = bounds.class_log_probabilities(model, images, key)
  labels = log_probabilities.argmax(axis=1).astype(np.int32)
  return Labelled(labels, np.exp(log_probabilities.max(axis=1)))


def predict(model: Model, folder: Path) -> Path:
  """Writes `predictions/<folder>-<digest>.npz` and `.csv` into the folder of the model's results.

  A picture in a folder that has the name or number of a class is of that class; of the others a
  conditional model finds the likeliest. Latents and reconstructions are of the grey values as they
  are; a model of dynamically binarized images has its bounds on one draw of each picture. A row of
  the CSV and of every array is one picture, in order of names.

  Returns:
    The CSV file.

  Raises:
    InputError: see `find_pictures`; no picture can be read, or the files cannot be written.
  """
  model.priors.check_exist()
  images, paths = read_pictures(model, find_pictures(folder), skip_broken=True)
  found = find_labels(model, images)
  labels = np.zeros(len(images), np.int32) if found is None else found.labels
  given = np.zeros(len(images), bool)
  if model.conditional:
    for row, path in enumerate(paths):
      with contextlib.suppress(InputError):  # a folder that is no class
        if path.parent != folder:
          labels[row], given[row] = model.label(path.parent.name), True
  key = keys.stream(model.config.seed, 'prediction')
  terms = bounds.elbo(model, images, labels, key)
  grey, known = images.astype(np.float32) / 255, labels if model.conditional else None
  mean, logvar = model.encode(grey, known)
  files = [str(path.relative_to(folder)) for path in paths]
  columns = {
    'file': files,
    'negative_elbo': terms.negative_elbo,
    'reconstruction': terms.reconstruction,
    'kl': terms.kl.sum(axis=1),
  }
  if found is not None:
    columns |= {
      'class': [model.class_names[label] for label in labels],
      'class_from': ['folder' if row else 'model' for row in given],
      'probability': np.where(given, 1.0, found.probabilities),
    }
  columns |= {f'z{d}': mean[:, d] for d in range(mean.shape[1])}
  # Other folders may have the same name.
  whole = folder.resolve()
  name = f'{whole.name or "pictures"}-{paths_lib.digest(str(whole))}{model.suffix}'
  target = model.folder / 'predictions' / name
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
  table = target.with_name(f'{target.name}.csv')
  try:
    with paths_lib.whole(table.with_suffix('.npz')) as temporary, open(temporary, 'wb') as file:
      np.savez_compressed(file, **arrays)
    with paths_lib.whole(table) as temporary:
      temporary.write_text(_csv(columns), encoding='utf-8')
  except OSError as error:
    raise InputError(
      f'Cannot write into {table.parent}: {error.strerror}. Make it writable, or, for shipped '
      'weights, begin in another folder.'
    ) from error
  return table


def _csv(columns) -> str:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(columns)
  # repr: the shortest text that reads back as the same number.
  writer.writerows(zip(*(map(_text, column) for column in columns.values()), strict=True))
  return buffer.getvalue()


def _text(value) -> str:
  return value if isinstance(value, str) else repr(float(value))
