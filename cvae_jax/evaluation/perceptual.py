"""LPIPS, the distance of two images in AlexNet's features (Zhang et al. 2018)."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cvae_jax.data import batches
from cvae_jax.models import lpips as network
from cvae_jax.models.lpips import FILES, MIN_IMAGE_SIZE, Weights, load
from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import from_user, whole, writing

BATCH_PIXELS = 1 << 20  # of images whose features are in memory at a time

ANSWER_TIMEOUT_SECONDS = 20

# One program for both sides, so that equal images have bitwise equal features.
_features, _distances = jax.jit(network.features), jax.jit(network.distances)


def weights_of(given: str | None) -> Weights | None:
  """The weights for the flag --lpips; None if it is not given and the user's cache lacks them.

  It names their folder, or 'download' fetches missing files into the cache.

  Raises:
    InputError: see `load` and `download`.
  """
  folder = network.default_folder() if given in (None, 'download') else from_user(given)
  if given == 'download':
    if not libraries.installed('torch'):
      raise InputError("LPIPS's weights are read by PyTorch, which is missing: pip install torch.")
    print(f'downloading the weights of LPIPS into {folder}, 244 MB', flush=True)
    download(folder)
  try:
    return load(folder)
  except InputError:
    if given is None:
      return None
    raise


def lpips(
  weights: Weights, images: np.ndarray, reconstructions: np.ndarray
) -> Float[np.ndarray, ' images']:
  """LPIPS of each image and its reconstruction: version 0.1, AlexNet.

  Σ_layers mean_pixels Σ_channels w (f / ‖f‖ − g / ‖g‖)², with f and g the features after a ReLU
  (Zhang et al. 2018, eq. 1). AlexNet's strides leave nothing of an image of 28×28, so smaller
  images are first resized bilinearly, until their shorter side has `MIN_IMAGE_SIZE` pixels. State
  this size with the value, which depends on it.

  Args:
    weights: from `load`.
    images: float [N, H, W, 1 or 3] in [0, 1]; one channel counts as three equal ones.
    reconstructions: as `images`; equal ones have a distance of 0.

  Raises:
    ValueError: other shapes or dtypes.
  """
  given = [f'{array.dtype}{list(array.shape)}' for array in (images, reconstructions)]
  floating = all(jnp.issubdtype(array.dtype, np.floating) for array in (images, reconstructions))
  shape = images.shape
  if not floating or shape != reconstructions.shape or len(shape) != 4 or shape[3] not in (1, 3):
    raise ValueError(f'images are {given[0]} and {given[1]}, expected float[N, H, W, 1 or 3] twice')
  weights = jax.device_put(weights)
  num_pixels = shape[1] * shape[2] * max(1, MIN_IMAGE_SIZE / min(shape[1:3])) ** 2
  size = max(1, int(BATCH_PIXELS / num_pixels))

  def distances(*pair):
    return _distances(weights, *(_features(weights, array) for array in pair))

  return batches.map_rows(distances, size, images, reconstructions)


def download(folder: Path) -> None:
  """Fetches the files that are missing or damaged, 244 MB, each whole or not at all.

  Raises:
    InputError: no answer, an answer with another file, or the folder cannot be written.
  """
  by_hand = f'Fetch it in another way and put it into {folder}.'
  for name, (url, sha256) in FILES.items():
    with writing(folder, 'Give another folder.'):
      if (folder / name).is_file() and _sha256(folder / name) == sha256:
        continue
      with whole(folder / name) as temporary:
        _fetch(url, temporary, by_hand)
        if (given := _sha256(temporary)) != sha256:
          raise InputError(f'{url} has SHA-256 {given[:8]}…, expected {sha256[:8]}…. {by_hand}')


def _fetch(url: str, path: Path, advice: str) -> None:
  import requests

  try:
    with requests.get(url, stream=True, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
      answer.raise_for_status()
      with open(path, 'wb') as file:
        file.writelines(answer.iter_content(1 << 20))
  except requests.RequestException as error:
    status = '' if error.response is None else f' {error.response.status_code}'
    text = f'{url} cannot be downloaded: {type(error).__name__}{status}. {advice}'
    raise InputError(text) from error


def _sha256(path: Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
