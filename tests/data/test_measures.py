"""Slant and thickness: of drawn bars, of moved and mirrored images, of real digits; their cache."""

import numpy as np
import pytest
from skimage import morphology, transform

from cvae_jax.data import measures
from cvae_jax.data.measures import measure, slant, thickness
from cvae_jax.data.readers import file_rows, idx_format, mnist
from cvae_jax.runtime.errors import InputError

FINE = 16  # bars are drawn so much larger, then averaged: the grey of an edge tells its place


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """The folder of kept values, empty."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'cvae_jax' / 'measures'


@pytest.fixture
def digits(real_data):
  """The first 100 test images of MNIST, [100, 28, 28, 1]."""
  return idx_format.read_any(real_data / f'{mnist.FILES["test"][0]}.gz')[:100, ..., None]


def bar(size, width, length, shear=0.0, at=(0.0, 0.0)):
  """An image [1, H, W, 1] with a bar `width` wide, `length` high, its top moved to the right."""
  y, x = (
    ((np.arange(n * FINE) + 0.5) / FINE - n / 2 - centre)
    for n, centre in zip(size, at, strict=True)
  )
  is_bar = (abs(y[:, None]) < length / 2) & (abs(x + shear * y[:, None]) < width / 2)
  fine = is_bar.reshape(size[0], FINE, size[1], FINE)
  return np.round(255 * fine.mean((1, 3))).astype(np.uint8)[None, ..., None]


BARS = np.concatenate([bar((28, 28), w, 16, s) for w, s in ((2, 0.3), (3, -0.2), (4, 0), (5, 0.1))])


@pytest.mark.parametrize('size', [(28, 28), (32, 48), (64, 64), (31, 29)], ids=str)
@pytest.mark.parametrize('shear', [-0.7, -0.1, 0.0, 0.35, 0.7])
def test_the_slant_of_a_sheared_bar_is_its_shear(size, shear):
  for width, at in ((2, (0, 0)), (3.5, (1.3, -2.6))):
    assert slant(bar(size, width, 16, shear, at))[0] == pytest.approx(shear, abs=0.01)


@pytest.mark.parametrize('size', [(28, 28), (32, 48), (64, 64), (31, 29)], ids=str)
@pytest.mark.parametrize('width', [2, 3, 4, 5, 6.5])
def test_the_thickness_of_a_bar_is_its_width(size, width):
  """To a quarter of a pixel, one pixel of the enlarged image; to a half where edges are blurred."""
  on_the_grid = (0, (width + size[1]) % 2 / 2)
  assert thickness(bar(size, width, 20, at=on_the_grid))[0] == pytest.approx(width, abs=0.25)
  for at in ((0, 0.2), (-1.4, 2.7)):
    assert thickness(bar(size, width, 20, 0.0, at))[0] == pytest.approx(width, abs=0.5)


def test_both_are_the_same_wherever_the_bar_is_and_however_bright():
  moved = np.roll(BARS, (3, -4), (1, 2))
  darker = BARS // 2
  for function in (slant, thickness):
    np.testing.assert_allclose(function(moved), function(BARS), atol=1e-5)
    np.testing.assert_allclose(function(darker), function(BARS), atol=0.1)


def test_a_mirrored_image_has_the_opposite_slant_and_the_same_thickness():
  for mirrored in (BARS[:, :, ::-1], BARS[:, ::-1]):
    np.testing.assert_allclose(slant(mirrored), -slant(BARS), atol=1e-5)
    np.testing.assert_allclose(thickness(mirrored), thickness(BARS), atol=0.1)


def test_an_image_of_twice_the_size_has_the_same_slant_and_twice_the_thickness():
  pairs = [(bar((28, 28), w, 16, s), bar((56, 56), 2 * w, 32, s)) for w, s in ((2, 0.2), (4, -0.4))]
  small, large = (np.concatenate(images) for images in zip(*pairs, strict=True))
  np.testing.assert_allclose(slant(large), slant(small), atol=0.005)
  np.testing.assert_allclose(thickness(large), 2 * thickness(small), rtol=0.08)


def test_several_channels_are_measured_by_their_mean():
  in_one = np.zeros((len(BARS), 28, 28, 3), np.uint8)
  in_one[..., 1:2] = BARS
  for function in (slant, thickness):
    np.testing.assert_allclose(function(in_one), function(BARS), atol=1e-5)
    np.testing.assert_allclose(function(BARS.repeat(4, -1)), function(BARS), atol=1e-5)


@pytest.mark.parametrize('name', ['slant', 'thickness'])
def test_an_image_without_a_stroke_has_no_number_and_disturbs_no_other(name):
  images = np.concatenate([BARS[:1], 0 * BARS[:1], 0 * BARS[:1] + 77, BARS[1:]])
  values = measure(name, images)
  assert values.dtype == np.float32
  assert np.isnan(values).tolist() == [False, True, True, False, False, False]
  np.testing.assert_array_equal(values[[0, 3, 4, 5]], measures.MEASURES[name](BARS))
  assert measure(name, images[:0]).shape == (0,)


def test_a_stroke_in_one_row_has_no_slant():
  image = np.zeros((1, 28, 28, 3), np.uint8)
  image[0, 9, 3:20] = np.arange(17 * 3).reshape(17, 3)
  assert np.isnan(slant(image))


@pytest.mark.data('mnist')
@pytest.mark.parametrize('shear', [-0.4, 0.25])
def test_shearing_a_real_digit_adds_to_its_slant(digits, shear):
  upright = np.pad(digits, ((0, 0), (0, 0), (14, 14), (0, 0)))
  from_output = transform.AffineTransform(np.array([[1, shear, -14 * shear], [0, 1, 0], [0, 0, 1]]))
  sheared = np.stack([transform.warp(image / 255, from_output) for image in upright])
  added = slant(np.round(255 * sheared).astype(np.uint8)) - slant(upright)
  np.testing.assert_allclose(added, shear, atol=0.02)


@pytest.mark.data('mnist')
def test_the_thickness_of_real_digits_is_that_over_their_medial_axis(digits):
  """As Morpho-MNIST measures it, by functions of scikit-image."""
  values = thickness(digits[:25])
  expected = []
  for image in digits[:25, ..., 0]:
    enlarged = transform.pyramid_expand(image, upscale=4, order=3)
    is_stroke = enlarged >= (enlarged.min() + enlarged.max()) / 2
    axis, distance = morphology.medial_axis(is_stroke, return_distance=True, rng=0)
    expected.append(2 * distance[axis].mean() / 4)
  assert np.mean(values - expected) == pytest.approx(0, abs=0.05)
  assert np.corrcoef(values, expected)[0, 1] > 0.99
  np.testing.assert_allclose(values, expected, atol=0.4)


@pytest.mark.data('mnist')
def test_eroded_digits_are_thinner(digits):
  cross = morphology.disk(1)
  thinner = np.stack([morphology.erosion(image, cross) for image in digits[..., 0]])[..., None]
  lost = thickness(digits) - thickness(thinner)
  assert np.nanmedian(lost) > 0.5


def test_images_in_a_file_are_measured_in_pieces(tmp_path, monkeypatch):
  images = np.concatenate([BARS] * 3)
  expected = {name: measures.MEASURES[name](images) for name in measures.MEASURES}
  monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)
  monkeypatch.setattr(file_rows, 'PIECE_BYTES', 5 * images[0].nbytes)
  np.save(tmp_path / 'images.npy', images)
  rows = file_rows.in_file(np.load(tmp_path / 'images.npy', mmap_mode='r'))
  assert isinstance(rows, file_rows.FileRows)
  for name in ('slant', 'thickness', 'thickness'):
    np.testing.assert_array_equal(measure(name, rows), expected[name])


def test_thickness_is_kept_for_the_same_images_alone(cache):
  assert measure('slant', BARS) is not None
  assert not cache.exists()  # it is quick
  first = measure('thickness', BARS)
  (kept,) = cache.iterdir()
  np.savez(kept, values=first + 1)
  np.testing.assert_array_equal(measure('thickness', BARS.copy()), first + 1)
  np.testing.assert_array_equal(measure('thickness', BARS[::-1]), first[::-1])
  assert len(list(cache.iterdir())) == 2


def test_a_damaged_cache_is_measured_again(cache):
  expected = measure('thickness', BARS)
  (kept,) = cache.iterdir()
  whole = kept.read_bytes()
  flipped = (whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(0, len(whole), 5))
  for content in (b'', b'no archive', whole[:-30], whole[:60], *flipped):
    kept.write_bytes(content)
    np.testing.assert_array_equal(measure('thickness', BARS), expected)
  for values in (expected[:2], expected.astype(float), np.array([None] * 4)):
    np.savez(kept, values=values)
    np.testing.assert_array_equal(measure('thickness', BARS), expected)
    assert kept.read_bytes() == whole or np.load(kept)['values'].dtype == np.float32


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
  (tmp_path / 'cache').write_text('a file')
  np.testing.assert_array_equal(measure('thickness', BARS), thickness(BARS))


def test_an_unknown_measure_is_refused():
  with pytest.raises(InputError, match=r"measure='slnt'.*slant, thickness.*'slant'"):
    measure('slnt', BARS)


def test_each_measure_has_a_unit():
  units = {name: measures.MEASURES.trait(name, 'unit') for name in measures.MEASURES}
  assert units == {'slant': '', 'thickness': 'pixels'}
