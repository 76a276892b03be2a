"""Augmentation: each change against a closed form, SciPy or Pillow; the draws by their moments.

The draws are recovered from results on images that allow it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from configs import default
from cvae_jax.data import augmentation

EVERYTHING = {
  'rotation': 20.0,
  'shift': 2.0,
  'flip_probability': 0.5,
  'brightness': 0.3,
  'contrast': 0.5,
  'auto_contrast': 0.5,
}


def make_augment(**changes):
  config = default.get_config().data.augment
  config.update(changes)
  return augmentation.make_augment(config)


@functools.cache
def compiled(**changes):
  return jax.jit(make_augment(**changes))


def augmented(images, seed=0, **changes):
  return np.asarray(compiled(**changes)(jax.random.key(seed), jnp.asarray(images)))


@jax.jit
def moved(image, angle=0.0, shift=(0.0, 0.0)):
  return augmentation.rotate_and_shift(image, angle, shift)


def random_images(*shape):
  return np.random.default_rng(0).random(shape, np.float32)


def slopes(num_images):
  """Images 9×9 whose channels rise with the row, rise with the column, and are constant."""
  rise = np.arange(9, dtype=np.float32) / 9
  rows, columns = np.meshgrid(rise, rise, indexing='ij')
  image = np.stack([rows, columns, np.full_like(rows, 0.5)], axis=-1)
  return np.broadcast_to(image, (num_images, *image.shape))


def assert_uniform(draws, largest):
  """Uniform in ±largest, by range, mean and standard deviation (about 5 standard errors)."""
  assert len(draws) > 9_000
  assert np.abs(draws).max() <= largest * (1 + 1e-4)
  assert draws.min() < -0.99 * largest
  assert draws.max() > 0.99 * largest
  np.testing.assert_allclose(draws.mean(), 0, atol=0.03 * largest)
  np.testing.assert_allclose(draws.std(), largest / np.sqrt(3), rtol=0.03)


@pytest.mark.parametrize('turns', [-1, 1, 2, 3])
@pytest.mark.parametrize('shape', [(7, 7, 1), (8, 8, 3)])
def test_quarter_turns_are_exact(shape, turns):
  image = random_images(*shape)
  np.testing.assert_allclose(moved(image, 90.0 * turns), np.rot90(image, turns), atol=1e-5)


def test_rotations_of_an_image_that_is_not_square():
  image = random_images(6, 10, 3)
  np.testing.assert_allclose(moved(image, 180.0), image[::-1, ::-1], atol=1e-5)
  quarter = moved(image, 90.0)
  np.testing.assert_allclose(quarter[:, 2:8], np.rot90(image)[2:8], atol=1e-5)
  np.testing.assert_allclose(quarter[:, 0], quarter[:, 2], atol=1e-5)  # the border repeats


@pytest.mark.parametrize('angle', [-40.0, 25.0, 130.0])
def test_rotation_like_scipy(angle):
  image = random_images(6, 10, 3)
  expected = ndimage.rotate(image, angle, reshape=False, order=1, mode='nearest')
  np.testing.assert_allclose(moved(image, angle), expected, atol=1e-5)


def test_shift_by_whole_pixels_repeats_the_border():
  image = random_images(6, 10, 3)
  result = moved(image, shift=(2.0, -3.0))
  rolled = np.roll(image, (2, -3), axis=(0, 1))
  np.testing.assert_array_equal(result[2:, :-3], rolled[2:, :-3])
  np.testing.assert_array_equal(result[:2, :-3], np.broadcast_to(rolled[2:3, :-3], (2, 7, 3)))
  np.testing.assert_array_equal(result[2:, -3:], np.broadcast_to(rolled[2:, -4:-3], (4, 3, 3)))


def test_shift_by_fractions_of_a_pixel_like_scipy():
  image = random_images(6, 10, 3)
  expected = ndimage.shift(image, (-0.25, 1.5, 0), order=1, mode='nearest')
  np.testing.assert_allclose(moved(image, shift=(-0.25, 1.5)), expected, atol=1e-6)


def test_the_shift_follows_the_rotation():
  image = random_images(8, 8, 3)
  expected = ndimage.shift(np.rot90(image), (1, 2, 0), order=1, mode='nearest')
  np.testing.assert_allclose(moved(image, 90.0, (1.0, 2.0)), expected, atol=1e-5)


def test_contrast_is_around_the_mean_of_all_channels():
  image = random_images(6, 5, 3)
  expected = image.mean() + 1.3 * (image - image.mean())
  np.testing.assert_allclose(jax.jit(augmentation.adjust_contrast)(image, 1.3), expected, atol=1e-6)


@pytest.mark.parametrize('factor', [0.25, 1.5])
def test_contrast_like_pillow(factor):
  pixels = np.random.default_rng(0).integers(80, 160, (16, 16), np.uint8)
  pixels[0] = 120
  pixels[1:] = np.concatenate([pixels[1:, :8], 240 - pixels[1:, :8]], axis=1)  # the mean is 120
  expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(factor))
  changed = jax.jit(augmentation.adjust_contrast)(pixels[..., None] / np.float32(255), factor)
  np.testing.assert_allclose(changed[..., 0] * 255, expected, atol=1.01)


def test_auto_contrast_like_pillow():
  pixels = np.random.default_rng(0).integers([40, 0, 100], [90, 256, 103], (16, 16, 3))
  pixels = pixels.astype(np.uint8)
  expected = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels)))
  image = pixels / np.float32(255)
  auto_contrast = jax.jit(augmentation.auto_contrast)
  stretched = auto_contrast(image, 1.0)
  np.testing.assert_allclose(stretched * 255, expected, atol=1.01)
  np.testing.assert_allclose(stretched.min((0, 1)), 0, atol=1e-7)
  np.testing.assert_allclose(stretched.max((0, 1)), 1, atol=1e-7)
  partly = auto_contrast(image, 0.25)
  np.testing.assert_allclose(partly, 0.75 * image + 0.25 * stretched, atol=1e-6)


def test_auto_contrast_leaves_a_constant_channel_under_other_changes():
  images = 0.25 + random_images(64, 8, 8, 3) / 2
  images[..., 1] = np.float32(77 / 255)
  results = augmented(images, auto_contrast=1.0, rotation=30.0, shift=1.5)
  np.testing.assert_allclose(results[..., 1], images[..., 1], atol=1e-6)
  assert np.ptp(results[..., 0]) > 0.95


def test_auto_contrast_and_flip_happen_with_their_probability():
  images = 0.25 + random_images(10_000, 2, 3, 1) / 2
  results = augmented(
    images, auto_contrast=1.0, auto_contrast_probability=0.3, flip_probability=1.0
  )
  stretched = np.ptp(results, axis=(1, 2, 3)) > 0.9999
  np.testing.assert_allclose(stretched.mean(), 0.3, atol=0.025)
  np.testing.assert_array_equal(results[~stretched], images[~stretched, :, ::-1])


def test_draws_of_rotation_and_shift():
  results = augmented(
    slopes(40_000), rotation=12, rotation_probability=0.25, shift=1.75, shift_probability=0.5
  )
  # Around the centre the image is still a slope: rotated, and higher or lower by the shift.
  across = results[:, 4, 5, 0] - results[:, 4, 3, 0]
  along = results[:, 5, 4, 0] - results[:, 3, 4, 0]
  angles = np.degrees(np.arctan2(across, along))
  rotated = np.abs(angles) > 1e-3
  np.testing.assert_allclose(rotated.mean(), 0.25, atol=0.012)
  assert_uniform(angles[rotated], 12.0)

  down, right = (9 * (slopes(1) - results)[~rotated, 4, 4, :2]).T
  shifted = down != 0
  np.testing.assert_allclose(shifted.mean(), 0.5, atol=0.015)
  assert (shifted == (right != 0)).mean() > 0.999  # except draws near 0
  assert_uniform(down[shifted], 1.75)
  assert_uniform(right[shifted], 1.75)
  np.testing.assert_allclose(np.corrcoef(down[shifted], right[shifted])[0, 1], 0, atol=0.05)

  untouched = (results == slopes(1)).all((1, 2, 3))
  np.testing.assert_allclose(untouched.mean(), 0.75 * 0.5, atol=0.012)


GREYS = np.tile(np.float32([0.4, 0.7]), (40_000, 2, 1))[..., None]


def test_draws_of_flip_brightness_and_contrast():
  results = augmented(
    GREYS,
    flip_probability=0.3,
    brightness=0.2,
    brightness_probability=0.5,
    contrast=0.4,
    contrast_probability=0.25,
  )
  rise = (results[:, 0, 1, 0] - results[:, 0, 0, 0]) / 0.3
  flipped = rise < 0
  np.testing.assert_allclose(flipped.mean(), 0.3, atol=0.012)
  factors = results.mean((1, 2, 3)) / 0.55
  brightened = np.abs(factors - 1) > 1e-6
  np.testing.assert_allclose(brightened.mean(), 0.5, atol=0.015)
  assert_uniform(factors[brightened] - 1, 0.2)
  changes = np.abs(rise) / factors - 1
  contrasted = np.abs(changes) > 1e-6
  np.testing.assert_allclose(contrasted.mean(), 0.25, atol=0.012)
  assert_uniform(changes[contrasted], 0.4)
  untouched = (results == GREYS).all((1, 2, 3))
  np.testing.assert_allclose(untouched.mean(), 0.7 * 0.5 * 0.75, atol=0.012)


def test_changes_of_colour_leave_alpha_as_it_is():
  config = default.get_config().data.augment
  config.update({'brightness': 0.5, 'contrast': 0.5, 'auto_contrast': 0.5})
  images = random_images(8, 6, 9, 4)
  key = jax.random.key(0)
  results = jax.jit(augmentation.make_augment(config, has_alpha=True))(key, images)
  np.testing.assert_array_equal(results[..., 3], images[..., 3])
  opaque = jax.jit(augmentation.make_augment(config))(key, images[..., :3])
  np.testing.assert_allclose(results[..., :3], opaque, atol=1e-6)
  assert (results[..., :3] != images[..., :3]).any((1, 2, 3)).all()


def test_draws_do_not_depend_on_other_changes():
  both = augmented(GREYS[:64], brightness=0.2, flip_probability=0.5)
  alone = augmented(GREYS[:64], brightness=0.2)
  np.testing.assert_array_equal(both.min((1, 2, 3)), alone.min((1, 2, 3)))
  ratios = alone.max((1, 2, 3)) / alone.min((1, 2, 3))
  np.testing.assert_allclose(ratios, GREYS.max() / GREYS.min(), rtol=1e-5)  # one factor


def test_off_by_default():
  assert make_augment() is None


@pytest.mark.parametrize('name', ['rotation', 'shift', 'brightness', 'contrast', 'auto_contrast'])
def test_off_without_strength_or_probability(name):
  assert make_augment(**{name: 1.0, f'{name}_probability': 0.0}) is None
  assert make_augment(**{name: 0.0, f'{name}_probability': 1.0}) is None
  assert make_augment(**{name: 1.0}) is not None


def program(augment):
  return jax.jit(augment).lower(jax.random.key(0), jnp.zeros((2, 4, 4, 1))).as_text()


def test_what_is_off_is_left_out_of_the_program():
  assert 'stablehlo.gather' in program(make_augment(shift=1.0))
  flip_alone = program(make_augment(flip_probability=0.5))
  assert 'stablehlo.gather' not in flip_alone
  assert flip_alone == program(
    make_augment(
      flip_probability=0.5, rotation=10.0, rotation_probability=0.0, contrast_probability=0.5
    )
  )


def test_a_later_change_of_the_config_has_no_effect():
  config = default.get_config().data.augment
  config.brightness = 0.2
  augment = augmentation.make_augment(config)
  config.brightness = 0.4
  assert program(augment) == program(make_augment(brightness=0.2))


@pytest.mark.parametrize('num_channels', [1, 3, 5])
def test_all_changes_together_keep_shape_and_range(num_channels):
  images = random_images(64, 8, 10, num_channels)
  results = augmented(images, **EVERYTHING)
  assert results.shape == images.shape
  assert results.dtype == np.float32
  assert results.min() == 0
  assert results.max() == 1


def test_each_image_and_each_key_has_its_own_draws():
  images = np.broadcast_to(random_images(8, 10, 1), (64, 8, 10, 1))
  results = augmented(images, **EVERYTHING)
  assert len(np.unique(results, axis=0)) == 64
  np.testing.assert_array_equal(results, augmented(images, **EVERYTHING))
  other_results = augmented(images, seed=1, **EVERYTHING)
  assert (other_results != results).any((1, 2, 3)).all()
