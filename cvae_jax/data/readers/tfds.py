"""Data sets that TensorFlow Datasets prepares: found, read from a folder, or downloaded into it."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cvae_jax.data.readers import files
from cvae_jax.data.readers.sources import Split
from cvae_jax.runtime import paths, processes, quiet_tensorflow
from cvae_jax.runtime.errors import InputError, reason

ANSWER_TIMEOUT_SECONDS = 12
READ_BATCH = 1024  # images
INSTALL = 'pip install tensorflow tensorflow-datasets'


def load(
  data, find_raw: Callable, read_raw: Callable, raw_files: str, probe_url: str | None, **options
) -> dict[str, Split]:
  """Reads a data set: prepared by TensorFlow Datasets, else raw files, else what it downloads.

  Args:
    data: `config.data`; `data.name` is also the name that TensorFlow Datasets has for it.
    find_raw: given a folder, finds the raw files in it; None where there are none.
    read_raw: reads the splits from what `find_raw` found.
    raw_files: describes the raw files in error messages.
    probe_url: a file on the server of the download, asked for first: without a network this
      fails in seconds, not after all retries. None: there is no download.
    **options: of `read`.

  Raises:
    InputError: the data set is broken or not there, its download fails, or TensorFlow is missing.
  """
  folder, name = files.data_folder(data), data.name
  prepared = find(folder, name)
  if prepared and quiet_tensorflow.installed('tensorflow_datasets'):
    return read(prepared, **options)
  if raw := find_raw(folder):
    return read_raw(raw)
  if prepared:
    raise InputError(
      f'{prepared} was prepared by TensorFlow Datasets and cannot be read without TensorFlow. '
      f'Install it ({INSTALL}), or put {raw_files} in a folder and name it with --config.data.dir.'
    )
  if not probe_url:
    raise files.not_found(folder, name, raw_files)
  others = sorted(path for path in folder.glob('*') if not files.is_left_by_system(path.name))
  # <name>/<version>/ or <name>/<variant>/<version>/; no deeper: `folder` may be a home folder.
  depths = ('*/dataset_info.json', '*/*/dataset_info.json')
  if not all(p.name == 'downloads' or any(any(p.glob(depth)) for depth in depths) for p in others):
    shown = ', '.join(path.name for path in others[:3]) + (', ...' if len(others) > 3 else '')
    raise InputError(
      f'data.dir={str(folder)!r} holds other files ({shown}), but no {name!r}: expected '
      f'{name}/<version>/ as TensorFlow Datasets prepares it, or {raw_files} there or in {name}/. '
      'Name an empty folder to download it.'
    )
  return read(_download(folder, name, raw_files, probe_url), **options)


def find(folder: Path, name: str) -> Path | None:
  """The newest prepared version `folder/name/<version>`, or None.

  `folder` may also be `name` itself, one level too deep.
  """
  for parent in (folder, folder.parent) if folder.name == name else (folder,):
    versions = []
    for info in (parent / name).glob('*/dataset_info.json'):
      with contextlib.suppress(ValueError):
        versions.append((tuple(map(int, info.parent.name.split('.'))), info.parent))
    if versions:
      return max(versions)[1]
  return None


def read(
  version_folder: Path,
  splits: tuple[str, ...] = ('train', 'test'),
  label: Callable[[dict], np.ndarray] = lambda columns: columns['label'],
  fit: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> dict[str, Split]:
  """Reads a prepared data set.

  Args:
    version_folder: from `find`.
    splits: their names.
    label: gives the labels of a batch from its columns, or several for each image.
    fit: resizes each batch of images as it is read, so that large images need no memory.

  Returns:
    Images [N, H, W, C] uint8 and labels [N], or [N, labels], int32 of each split.

  Raises:
    InputError: the prepared files are broken.
  """
  with quiet_tensorflow.quiet():
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder_from_directory(paths.plain(version_folder))
      arrays = {}
      for split in splits:
        batches = [
          (fit(np.asarray(columns['image'], np.uint8)), np.asarray(label(columns), np.int32))
          for columns in tfds.as_numpy(builder.as_dataset(split=split, batch_size=READ_BATCH))
        ]
        images, labels = map(np.concatenate, zip(*batches, strict=True))
        if len(images) != (expected := builder.info.splits[split].num_examples):
          raise InputError(
            f'{version_folder} is truncated: split {split!r} has {len(images):,} images, expected '
            f'{expected:,} by dataset_info.json. Remove the folder to prepare it again.'
          )
        arrays[split] = Split(images, labels)
      return arrays
    except InputError:
      raise
    except Exception as error:  # TensorFlow's errors share no base class.
      raise InputError(
        f'{version_folder} cannot be read: {reason(error)}. Remove the folder to prepare it again.'
      ) from error


def _download(folder, name, raw_files, url):
  """Returns the folder of the prepared version; removes all that a failed download created."""
  missing = f'{folder} holds no {name!r}'
  advice = (
    f'Without a network: put {raw_files} in {folder}, or copy a folder {name}/ prepared '
    'by TensorFlow Datasets there; --config.data.dir names another folder.'
  )
  if not quiet_tensorflow.installed('tensorflow_datasets', 'importlib_resources', 'requests'):
    raise InputError(
      f'{missing}, and downloading it needs TensorFlow Datasets ({INSTALL} importlib_resources). '
      f'{advice}'
    )
  if problem := _unreachable(url):
    raise InputError(f'{missing}, and its download failed ({problem}). {advice}')
  print(f'Downloading {name} into {folder} ...', flush=True)
  created = next((path for path in (*folder.parents[::-1], folder) if not path.exists()), None)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Prepared elsewhere and moved into place: half a download never looks like a data set.
    with tempfile.TemporaryDirectory(dir=folder, prefix='.download-') as temporary:
      with quiet_tensorflow.quiet():
        import tensorflow_datasets as tfds

        tfds.builder(name, data_dir=paths.plain(Path(temporary))).download_and_prepare()
      version = find(Path(temporary), name)
      (folder / name).mkdir(exist_ok=True)
      return version.rename(folder / name / version.name)
  except BaseException as error:
    if created is not None:
      shutil.rmtree(created, ignore_errors=True)
    if not isinstance(error, Exception):
      raise
    raise InputError(
      f'Downloading {name!r} into {folder} failed: {reason(error)}. {advice}'
    ) from error


def _unreachable(url: str) -> str:
  """Why the server of `url` does not answer; '' where it does."""
  import requests

  def ask():
    requests.head(url, timeout=ANSWER_TIMEOUT_SECONDS).raise_for_status()

  host = url.split('/')[2]
  try:
    # No timeout of `requests` bounds the lookup of a name, or several silent addresses.
    in_time = processes.within(ANSWER_TIMEOUT_SECONDS, ask)
  except requests.RequestException as error:
    return f'{type(error).__name__} at {host}'
  return '' if in_time else f'no answer from {host} in {ANSWER_TIMEOUT_SECONDS} s'
