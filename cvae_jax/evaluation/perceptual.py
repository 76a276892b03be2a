"""LPIPS, the distance of two images in AlexNet's features (Zhang et al. 2018)."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from cvae_jax.data import batches
from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder, from_user, whole, writing

MIN_IMAGE_SIZE = 64  # smaller images are resized to it; LPIPS was fitted to patches of this size
BATCH_PIXELS = 1 << 20  # of images whose features are in memory at a time

AUTHORS = 'https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/'
ALEXNET, LINEAR = 'alexnet-owt-7be5be79.pth', 'alex.pth'
FILES = {  # name: address and SHA-256
  ALEXNET: (f'https://download.pytorch.org/models/{ALEXNET}',
            '7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02'),
  LINEAR: (f'{AUTHORS}lpips/weights/v0.1/{LINEAR}',
           'df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0'),
}  # fmt: skip
ANSWER_TIMEOUT_SECONDS = 20

# AlexNet's convolutions: name and shape of the kernel in the file, stride, padding, and whether a
# pooling comes before.
CONVOLUTIONS = (
  ('features.0', (64, 3, 11, 11), 4, 2, False),
  ('features.3', (192, 64, 5, 5), 1, 2, True),
  ('features.6', (384, 192, 3, 3), 1, 1, True),
  ('features.8', (256, 384, 3, 3), 1, 1, False),
  ('features.10', (256, 256, 3, 3), 1, 1, False),
)
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32).reshape(1, 1, 1, 3)
SCALE = np.array([0.458, 0.448, 0.450], np.float32).reshape(1, 1, 1, 3)
NORM_EPSILON = 1e-10
HIGHEST = jax.lax.Precision.HIGHEST  # accelerators would multiply float32 at a lower one
LAYOUT = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC'), 'precision': HIGHEST}


class Weights(NamedTuple):
  """float32 arrays of the five layers."""

  kernels: tuple[np.ndarray, ...]  # [height, width, in, out]
  biases: tuple[np.ndarray, ...]  # [1, 1, 1, out]
  linear: tuple[np.ndarray, ...]  # [out], weights of the channels


def weights_of(given: str | None) -> Weights | None:
  """The weights for the flag --lpips; None if it is not given and the user's cache lacks them.

  It names their folder, or 'download' fetches missing files into the cache.

  Raises:
    InputError: see `load` and `download`.
  """
  folder = cache_folder() / 'lpips' if given in (None, 'download') else from_user(given)
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


@jax.jit
def _distances(weights: Weights, features: list[Array], others: list[Array]) -> Array:
  total = 0.0
  for linear, one, other in zip(weights.linear, features, others, strict=True):
    weighted = jnp.einsum('nhwc,c->nhw', (one - other) ** 2, linear, precision=HIGHEST)
    total += jnp.mean(weighted, axis=(1, 2))
  return total


# One program for both sides, so that equal images have bitwise equal features.
@jax.jit
def _features(weights: Weights, images: Array) -> list[Array]:
  """AlexNet's features after each of its five ReLUs, float32 [N, H', W', channels] of length 1."""
  num_images, *sides, _ = images.shape
  images = jnp.broadcast_to(images.astype(jnp.float32), (num_images, *sides, 3))
  if min(sides) < MIN_IMAGE_SIZE:
    height, width = (round(side * MIN_IMAGE_SIZE / min(sides)) for side in sides)
    images = jax.image.resize(images, (num_images, height, width, 3), 'bilinear')
  hidden = (2 * images - 1 - SHIFT) / SCALE
  features = []
  layers = zip(CONVOLUTIONS, weights.kernels, weights.biases, strict=True)
  for (_, _, stride, padding, is_pooled), kernel, bias in layers:
    if is_pooled:
      hidden = nn.max_pool(hidden, (3, 3), (2, 2))
    sides = {'window_strides': [stride] * 2, 'padding': [(padding, padding)] * 2}
    hidden = jax.lax.conv_general_dilated(hidden, kernel, **sides, **LAYOUT)
    hidden = nn.relu(hidden + bias)
    length = jnp.sqrt(jnp.sum(hidden**2, axis=-1, keepdims=True))
    features.append(hidden / (length + NORM_EPSILON))
  return features


def load(folder: Path) -> Weights:
  """The weights in the two files that `download` fetches.

  PyTorch reads tensors only: no code in a file is run.

  Raises:
    InputError: a file is missing or damaged, or PyTorch is not installed.
  """
  missing = [f'{name} ({url})' for name, (url, _) in FILES.items() if not (folder / name).is_file()]
  if missing:
    raise InputError(f'{folder} lacks {" and ".join(missing)}. Put the missing files there.')
  alexnet, linear = {}, {}
  for layer, (name, shape, *_) in enumerate(CONVOLUTIONS):
    alexnet |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
    linear[f'lin{layer}.model.1.weight'] = (1, shape[0], 1, 1)
  tensors = _read(folder / ALEXNET, alexnet)
  return Weights(
    tuple(np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)) for kernel in tensors[::2]),
    tuple(bias.reshape(1, 1, 1, -1) for bias in tensors[1::2]),
    tuple(layer.reshape(-1) for layer in _read(folder / LINEAR, linear)),
  )


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
  """The tensors with these names and shapes, as float32."""
  try:
    import torch
  except ImportError as error:
    text = f'{path} can be read by PyTorch alone, which is not installed: pip install torch.'
    raise InputError(text) from error
  remedy = f'Fetch it again from {FILES[path.name][0]}.'
  try:
    tensors = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # damaged files raise many types
    # Without PyTorch's message, which advises to run the code in the file.
    text = f'{path} is damaged, or no file of PyTorch weights ({type(error).__name__}). {remedy}'
    raise InputError(text) from error
  arrays = []
  for name, shape in shapes.items():
    tensor = tensors.get(name) if isinstance(tensors, dict) else None
    given = f'shape {tuple(tensor.shape)}' if isinstance(tensor, torch.Tensor) else 'no tensor'
    if given != f'shape {shape}':
      raise InputError(f'{path} has {given} for {name!r}, expected shape {shape}. {remedy}')
    arrays.append(tensor.detach().float().numpy())
    if not np.isfinite(arrays[-1]).all():
      raise InputError(f'{path} has numbers that are not finite in {name!r}. {remedy}')
  return arrays


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
