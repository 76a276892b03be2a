"""How near a reconstruction is to its image."""

import functools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cvae_jax.data import batches

BATCH_SIZE = 256
SSIM_WINDOW = 11  # pixels (Wang et al. 2004); less for images that are smaller
MAX_PSNR = 100.0  # dB: what equal images get, whose PSNR would be infinite


def scores(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, np.ndarray]:
  """Distances of each image from its reconstruction.

  Args:
    images: float32 [N, H, W, C] in [0, 1].
    reconstructions: the same.

  Returns:
    [N] each: 'mse', the mean over pixels and channels; 'psnr' in dB; 'ssim' with the Gaussian
    window of 11 pixels and σ = 1.5 (Wang et al. 2004), over the places where it fits in.
  """
  side = min(images.shape[1:3])
  window = min(SSIM_WINDOW, side - (side + 1) % 2)
  return batches.map_rows(
    functools.partial(_scores, window=window), BATCH_SIZE, images, reconstructions
  )


@functools.partial(jax.jit, static_argnames='window')
def _scores(images: Array, reconstructions: Array, window: int) -> dict[str, Array]:
  return {
    'mse': dm_pix.mse(images, reconstructions),
    'psnr': jnp.minimum(dm_pix.psnr(images, reconstructions), MAX_PSNR),
    'ssim': dm_pix.ssim(images, reconstructions, filter_size=window),
  }
