"""Augmentation: random changes of training images on the device, inside the compiled step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict, FrozenConfigDict

CHANGES = ('auto_contrast', 'rotation', 'shift', 'flip', 'brightness', 'contrast')  # in this order


def make_augment(
  config: ConfigDict, has_alpha: bool = False
) -> Callable[[Array, Array], Array] | None:
  """Builds the augmentation of a config, with draws of its own for each image.

  Args:
    config: `data.augment` of a checked config. A change whose strength or probability is 0 is left
      out of the program; the draws of the others do not depend on it.
    has_alpha: the last channel is no colour: brightness and contrast leave it as it is.

  Returns:
    augment(key, images), float32 [B, H, W, C] in [0, 1] to the same; None where all is off.
  """
  config = FrozenConfigDict(config)  # read again when the step is compiled
  # A flip has no strength.
  on = {name for name in CHANGES if config[f'{name}_probability'] and config.get(name, 1.0)}
  if not on:
    return None
  import dm_pix  # late: a model that only draws needs none of it

  def augment_image(key, image):
    uniforms = jax.random.uniform(key, (len(CHANGES), 3), jnp.float32)
    uniforms = dict(zip(CHANGES, uniforms, strict=True))

    def draw(name):
      return config[name] * (2 * uniforms[name][1:] - 1)

    def sometimes(name, changed, unchanged):
      return jnp.where(uniforms[name][0] < config[f'{name}_probability'], changed, unchanged)

    def recoloured(name, change, image):
      if not has_alpha:
        return sometimes(name, change(image), image)
      colours, alpha = image[..., :-1], image[..., -1:]
      return jnp.concatenate([sometimes(name, change(colours), colours), alpha], axis=-1)

    # First, on the original pixels: interpolation may round a constant channel to one that is not
    # quite constant, which would be stretched to black and white.
    if 'auto_contrast' in on:
      image = recoloured('auto_contrast', lambda x: auto_contrast(x, config.auto_contrast), image)
    if on & {'rotation', 'shift'}:
      angle = sometimes('rotation', draw('rotation')[0], 0.0) if 'rotation' in on else 0.0
      shift = sometimes('shift', draw('shift'), 0.0) if 'shift' in on else (0.0, 0.0)
      image = rotate_and_shift(image, angle, shift)
    if 'flip' in on:
      image = sometimes('flip', dm_pix.flip_left_right(image), image)
    if 'brightness' in on:
      # A factor, so that black stays black; dm_pix.adjust_brightness adds.
      image = recoloured('brightness', lambda x: x * (1 + draw('brightness')[0]), image)
    if 'contrast' in on:
      image = recoloured('contrast', lambda x: adjust_contrast(x, 1 + draw('contrast')[0]), image)
    return jnp.clip(image, 0.0, 1.0)

  return lambda key, images: jax.vmap(augment_image)(jax.random.split(key, len(images)), images)


def rotate_and_shift(
  image: Array, angle: Array | float, shift: Array | tuple[float, float]
) -> Array:
  """Rotates an image around its centre, then shifts it, in one bilinear interpolation.

  Beyond the border its nearest pixels repeat.

  Args:
    image: float32 [H, W, C].
    angle: degrees, counter-clockwise.
    shift: [2] pixels, down and to the right.
  """
  height, width, _ = image.shape
  middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
  angle = jnp.deg2rad(jnp.asarray(angle, jnp.float32))
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  # Where each pixel comes from: undo the shift, then the rotation.
  rows = jnp.arange(height, dtype=jnp.float32)[:, None] - middle_row - shift[0]
  columns = jnp.arange(width, dtype=jnp.float32)[None, :] - middle_column - shift[1]
  source = [cos * rows + sin * columns + middle_row, cos * columns - sin * rows + middle_column]
  # dm_pix.affine_transform gives the same, but is 10 to 100 times slower on a CPU, as it also
  # interpolates between channels. Its matrix product rounds the coordinates to TF32 on a GPU.
  return jax.vmap(
    lambda channel: jax.scipy.ndimage.map_coordinates(channel, source, order=1, mode='nearest'),
    in_axes=-1,
    out_axes=-1,
  )(image)


def adjust_contrast(image: Array, factor: Array | float) -> Array:
  """Scales the distance of all pixels [H, W, C] from the mean of all channels."""
  # dm_pix takes the mean of each channel, which would change the hue of a tinted image.
  import dm_pix

  return dm_pix.adjust_contrast(image.reshape(len(image), -1, 1), factor).reshape(image.shape)


def auto_contrast(image: Array, weight: float) -> Array:
  """Stretches each channel so that its darkest pixel becomes 0 and its brightest 1.

  A constant channel stays as it is.

  Args:
    image: float32 [H, W, C].
    weight: of the stretched image in the result, 0 to 1.
  """
  darkest = jnp.min(image, axis=(0, 1), keepdims=True)
  spread = jnp.max(image, axis=(0, 1), keepdims=True) - darkest
  stretched = jnp.where(spread > 0, (image - darkest) / jnp.where(spread > 0, spread, 1.0), image)
  return (1 - weight) * image + weight * stretched
