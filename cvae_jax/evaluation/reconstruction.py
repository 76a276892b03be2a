"""Distances of reconstructions from their images."""

import functools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from cvae_jax.data import batches
from cvae_jax.runtime.registry import Registry

BATCH_SIZE = 256
SSIM_WINDOW = 11  # pixels; images with a shorter side have a smaller window
MAX_PSNR = 100.0  # dB, of equal images, whose PSNR would be infinite

Images = Float[Array, 'batch height width channels']  # in [0, 1]
Scores = Float[Array, ' batch']

# (images, reconstructions) -> scores, in JAX. Trait: `unit`.
RECONSTRUCTION_METRICS = Registry('reconstruction metric')


@RECONSTRUCTION_METRICS.register('mse', unit='per pixel')
def mse(images: Images, reconstructions: Images) -> Scores:
  """The squared error, averaged over pixels and channels."""
  return dm_pix.mse(images, reconstructions)


@RECONSTRUCTION_METRICS.register('psnr', unit='dB')
def psnr(images: Images, reconstructions: Images) -> Scores:
  """The peak signal-to-noise ratio, at most `MAX_PSNR`."""
  return jnp.minimum(dm_pix.psnr(images, reconstructions), MAX_PSNR)


@RECONSTRUCTION_METRICS.register('ssim')
def ssim(images: Images, reconstructions: Images) -> Scores:
  """Structural similarity with a Gaussian window, σ = 1.5, inside the image (Wang et al. 2004)."""
  side = min(images.shape[1:3])
  window = min(SSIM_WINDOW, side - (side + 1) % 2)
  return dm_pix.ssim(images, reconstructions, filter_size=window)


def scores(
  images: Float[np.ndarray, 'images height width channels'],
  reconstructions: Float[np.ndarray, 'images height width channels'],
) -> dict[str, Float[np.ndarray, ' images']]:
  """All `RECONSTRUCTION_METRICS` of each image, with pixels in [0, 1]."""
  compute = functools.partial(_scores, names=tuple(RECONSTRUCTION_METRICS))
  return batches.map_rows(compute, BATCH_SIZE, images, reconstructions)


@functools.partial(jax.jit, static_argnames='names')
def _scores(images: Array, reconstructions: Array, names: tuple[str, ...]) -> dict[str, Array]:
  return {name: RECONSTRUCTION_METRICS[name](images, reconstructions) for name in names}
