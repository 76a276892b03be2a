"""Data sets that TensorFlow Datasets prepares: read from a folder, or downloaded into it."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cvae_jax.runtime import quiet_tensorflow as tensorflow_runtime
from cvae_jax.runtime.errors import InputError

# Asked first, so that a machine without a network hears so in seconds, not after all of the
# downloader's retries.
DOWNLOAD_URLS = {
  'mnist': 'https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz',
  'fashion_mnist': (
    'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz'
  ),
  'cifar10': 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  'celeba': 'https://drive.google.com',
}
ANSWER_TIMEOUT_SECONDS = 12
READ_BATCH = 1024  # images


def find(folder: Path, name: str) -> Path | None:
  """The newest prepared version `folder/name/<version>`, or None."""
  versions = []
  for info in (folder / name).glob('*/dataset_info.json'):
    with contextlib.suppress(ValueError):
      versions.append((tuple(int(part) for part in info.parent.name.split('.')), info.parent))
  return max(versions)[1] if versions else None


def is_home(folder: Path) -> bool:
  """Whether `folder` holds what TensorFlow Datasets prepares or downloads, and nothing else."""
  entries = [path for path in folder.iterdir() if not path.name.startswith('.')]
  return all(
    # <set>/<version>/, or <set>/<variant>/<version>/; no deeper, `folder` may be anybody's home.
    path.name == 'downloads'
    or any(any(path.glob(f'{depth}/dataset_info.json')) for depth in ('*', '*/*'))
    for path in entries
  )


def readable() -> bool:
  """Whether what TensorFlow Datasets prepared can be read here."""
  return tensorflow_runtime.installed('tensorflow_datasets')


def read(
  version_folder: Path,
  raw_form: str,
  splits: tuple[str, ...],
  label: Callable[[dict], np.ndarray] = lambda columns: columns['label'],
  fit: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Images [N, H, W, C] uint8 and labels [N] int32 of the named splits.

  Args:
    version_folder: from `find` or `download`.
    raw_form: the files to have instead where TensorFlow is missing, for the error message.
    splits: their names.
    label: gives a batch's labels from its columns.
    fit: is applied to each batch of images as it is read, so that large ones need no memory.

  Raises:
    InputError: TensorFlow is missing, or the prepared files are broken.
  """
  if not readable():
    raise InputError(
      f'{version_folder} was prepared by TensorFlow Datasets and cannot be read without '
      f'TensorFlow. Install it (pip install tensorflow tensorflow-datasets), or put {raw_form} in '
      'a folder and name it with --config.data.dir.'
    )
  with tensorflow_runtime.quiet():
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder_from_directory(version_folder)
      expected = {split: builder.info.splits[split].num_examples for split in splits}
      arrays = {}
      for split in splits:
        images, labels = [], []
        for columns in tfds.as_numpy(builder.as_dataset(split=split, batch_size=READ_BATCH)):
          images.append(fit(np.asarray(columns['image'], np.uint8)))
          labels.append(np.asarray(label(columns), np.int32))
        arrays[split] = np.concatenate(images), np.concatenate(labels)
    except InputError:
      raise
    except Exception as error:  # TensorFlow's errors share no base class of their own.
      raise InputError(
        f'{version_folder} cannot be read: {_first_line(error)}. '
        'Remove the folder to have it prepared again.'
      ) from error
  for split, (images, _) in arrays.items():
    if len(images) != expected[split]:
      raise InputError(
        f'{version_folder} is truncated: split {split!r} has {len(images):,} of the '
        f'{expected[split]:,} images that dataset_info.json promises. '
        'Remove the folder to have it prepared again.'
      )
  return arrays


def download(folder: Path, name: str, raw_form: str) -> Path:
  """Has TensorFlow Datasets download and prepare `name` in `folder`.

  Args:
    folder: where prepared sets lie.
    name: of the set.
    raw_form: the files to have instead where it cannot, for the error message.

  Returns:
    The prepared version's folder.

  Raises:
    InputError: it could not; what the attempt created is removed.
  """
  other_ways = (
    f'Without a network: put {raw_form} in {folder}, or copy a folder {name}/ prepared '
    'by TensorFlow Datasets there; --config.data.dir names another place.'
  )
  if not tensorflow_runtime.installed('tensorflow_datasets', 'importlib_resources', 'requests'):
    raise InputError(
      f'{folder} holds no {name!r}, and downloading it needs TensorFlow Datasets '
      f'(pip install tensorflow tensorflow-datasets importlib_resources). {other_ways}'
    )
  if problem := _unreachable(name):
    raise InputError(
      f'{folder} holds no {name!r}, and its download failed ({problem}). {other_ways}'
    )
  print(f'Downloading {name} into {folder} ...', flush=True)
  created = _first_missing(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Prepared aside and moved into place: what breaks off leaves nothing that looks like a set.
    with tempfile.TemporaryDirectory(dir=folder, prefix='.download-') as aside:
      with tensorflow_runtime.quiet():
        import tensorflow_datasets as tfds

        tfds.builder(name, data_dir=aside).download_and_prepare()
      version = find(Path(aside), name)
      (folder / name).mkdir(exist_ok=True)
      return version.rename(folder / name / version.name)
  except BaseException as error:
    if created is not None:
      shutil.rmtree(created, ignore_errors=True)
    if not isinstance(error, Exception):
      raise
    raise InputError(
      f'Downloading {name!r} into {folder} failed: {_first_line(error)}. {other_ways}'
    ) from error


def _unreachable(name: str) -> str:
  """Why the place that `name` is downloaded from does not answer, or '' where it does."""
  import requests

  if name not in DOWNLOAD_URLS:
    return 'no place to download it from is known'
  url = DOWNLOAD_URLS[name]
  host, problem = url.split('/')[2], []

  def ask():
    try:
      requests.head(url, timeout=ANSWER_TIMEOUT_SECONDS).raise_for_status()
      problem.append('')
    except requests.RequestException as error:
      problem.append(f'{type(error).__name__} at {host}')

  # In a thread, for neither the look-up of a name nor several silent addresses obey a time-out.
  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(ANSWER_TIMEOUT_SECONDS)
  return problem[0] if problem else f'no answer from {host} in {ANSWER_TIMEOUT_SECONDS} s'


def _first_missing(folder: Path) -> Path | None:
  """The topmost folder that creating `folder` would create, or None where it exists."""
  missing = None
  for path in (folder, *folder.parents):
    if path.exists():
      return missing
    missing = path
  return missing


def _first_line(error: Exception) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0]
