"""The network of LPIPS: AlexNet's features, and their distance (Zhang et al. 2018).

`evaluation/perceptual.py` measures with it and fetches its weights; `perceptual_distance='lpips'`
trains with it.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from cvae_jax.runtime.errors import InputError
from cvae_jax.runtime.paths import cache_folder

MIN_IMAGE_SIZE = 64  # smaller images are resized to it; LPIPS was fitted to patches of this size

AUTHORS = 'https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/'
ALEXNET, LINEAR = 'alexnet-owt-7be5be79.pth', 'alex.pth'
FILES = {  # name: address and SHA-256
  ALEXNET: (f'https://download.pytorch.org/models/{ALEXNET}',
            '7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02'),
  LINEAR: (f'{AUTHORS}lpips/weights/v0.1/{LINEAR}',
           'df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0'),
}  # fmt: skip

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


def default_folder() -> Path:
  """Where the weights lie in the user's cache."""
  return cache_folder() / 'lpips'


@functools.cache
def cached(folder: Path) -> Weights:
  """`load`, once in a process."""
  return load(folder)


def distances(
  weights: Weights, features: list[Array], others: list[Array]
) -> Float[Array, ' images']:
  """Σ_layers mean_pixels Σ_channels w (f − g)² of two results of `features`."""
  total = 0.0
  for linear, one, other in zip(weights.linear, features, others, strict=True):
    weighted = jnp.einsum('nhwc,c->nhw', (one - other) ** 2, linear, precision=HIGHEST)
    total += jnp.mean(weighted, axis=(1, 2))
  return total


def features(
  weights: Weights, images: Float[ArrayLike, 'images height width channels']
) -> list[Array]:
  """AlexNet's features after each of its five ReLUs, float32 [N, H', W', channels] of length 1."""
  num_images, *sides, _ = images.shape
  images = jnp.broadcast_to(jnp.asarray(images, jnp.float32), (num_images, *sides, 3))
  if min(sides) < MIN_IMAGE_SIZE:
    height, width = (round(side * MIN_IMAGE_SIZE / min(sides)) for side in sides)
    images = jax.image.resize(images, (num_images, height, width, 3), 'bilinear')
  hidden = (2 * images - 1 - SHIFT) / SCALE
  found = []
  layers = zip(CONVOLUTIONS, weights.kernels, weights.biases, strict=True)
  for (_, _, stride, padding, is_pooled), kernel, bias in layers:
    if is_pooled:
      hidden = nn.max_pool(hidden, (3, 3), (2, 2))
    sides = {'window_strides': [stride] * 2, 'padding': [(padding, padding)] * 2}
    hidden = jax.lax.conv_general_dilated(hidden, kernel, **sides, **LAYOUT)
    hidden = nn.relu(hidden + bias)
    length = jnp.sqrt(jnp.sum(hidden**2, axis=-1, keepdims=True))
    found.append(hidden / (length + NORM_EPSILON))
  return found


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
