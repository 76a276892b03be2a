"""Figures: their content is visible, and no text is cut off."""

import matplotlib
import numpy as np
import pytest

from cvae_jax.data.readers.mnist import FASHION_CLASSES as FASHION
from cvae_jax.plots import figures
from figure_text import check_text, overlapping

RANDOM = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def same_numbers():
  """The same random numbers in any order of the tests."""
  RANDOM.seed(0)


@pytest.mark.parametrize('columns', [1, 3, 10])
def test_long_names_neither_overlap_nor_are_cut_off(columns):
  names = tuple(f'holiday_2026_{column}_$x_$_IMG' for column in range(columns))
  figure = figures.image_grid(RANDOM.rand(2, columns, 28, 28, 1), names[:1] * 2, names, 'Of files')
  check_text(figure)
  assert overlapping(figure) == []


@pytest.mark.parametrize('size', [8, 28, 64, 256])
def test_no_pixel_of_an_image_is_lost(size):
  """Stripes of one pixel are found again in the picture."""
  images = np.zeros((1, 2, size, size, 1))
  images[0, 0, :, ::2] = 1
  figure = figures.image_grid(images, column_names=('a', 'b'))
  _, picture = check_text(figure)
  line = picture[picture.shape[0] // 2, :, 0]
  assert np.count_nonzero(np.diff((line > 127).astype(int)) == 1) >= size // 2


@pytest.mark.parametrize('columns', [1, 4, 11])
@pytest.mark.parametrize('channels', [1, 3])
def test_image_grid(columns, channels):
  images = RANDOM.rand(3, columns, 14, 14, channels)
  images[2, -1] = np.nan
  title = 'Traversals, in standard deviations of the prior'
  names = FASHION[:3]
  seen, picture = check_text(
    figures.image_grid(images, names, tuple(map(str, range(columns))), title)
  )
  assert {title, *names} <= set(seen)
  assert picture.std() > 20


def test_headings_begin_above_their_first_column():
  headings = {
    0: 'reconstructions',
    7: 'denoising (Gaussian, σ = 0.25)',
    14: 'samples from the prior',
  }
  figure = figures.image_grid(RANDOM.rand(2, 20, 28, 28, 1), ('given', 'beta=1'), headings=headings)
  seen, _ = check_text(figure)
  assert set(headings.values()) <= set(seen)
  assert overlapping(figure) == []
  (axes,) = figure.axes
  across = axes.get_window_extent()
  for text in figure.texts:
    column = next(column for column, name in headings.items() if name == text.get_text())
    begin = across.x0 + across.width * column / 20
    assert text.get_window_extent().x0 == pytest.approx(begin, abs=2)


def test_the_pixels_of_an_image_grid():
  images = np.zeros((1, 2, 4, 4, 3))
  images[0, 0, ..., 0] = 1
  images[0, 1, ..., 2] = 1
  _, picture = check_text(figures.image_grid(images))
  colours = {tuple(c) for c in picture.reshape(-1, 3)}
  assert {(255, 0, 0), (0, 0, 255), (255, 255, 255)} <= colours
  red = np.argwhere((picture == (255, 0, 0)).all(-1))
  blue = np.argwhere((picture == (0, 0, 255)).all(-1))
  assert red[:, 1].max() < blue[:, 1].min()


@pytest.mark.parametrize('count', [3, 10_000])
def test_latent_scatter_names_all_classes_and_none_covers_the_others(count):
  labels = np.arange(count) % 10
  points = (
    RANDOM.randn(count, 2) * 0.3 + 3 * np.array([np.cos(labels * 0.63), np.sin(labels * 0.63)]).T
  )
  seen, picture = check_text(figures.latent_scatter(points, labels, FASHION, ('PCA 1', 'PCA 2')))
  present = FASHION[: min(count, 10)]
  assert set(present) <= set(seen)
  if count == 10_000:
    for colour in figures.COLOURS:
      rgb = np.array(matplotlib.colors.to_rgb(colour)) * 255
      assert np.any(np.abs(picture - rgb).max(-1) < 40), colour


def test_names_of_classes_that_lie_together_do_not_cover_each_other():
  labels = np.arange(2000) % 10
  figure = figures.latent_scatter(RANDOM.randn(2000, 2), labels, FASHION, ('PCA 1', 'PCA 2'))
  check_text(figure)
  assert overlapping(figure) == []


def test_points_of_unknown_class_are_grey_and_have_no_name():
  points, labels = RANDOM.randn(200, 2), np.where(np.arange(200) < 150, -1, 3)
  figure = figures.latent_scatter(points, labels, FASHION, ('PCA 1', 'PCA 2'))
  seen, _ = check_text(figure)
  assert set(seen) & set(FASHION) == {FASHION[3]}
  grey, known = figure.axes[0].collections[:2]
  assert (len(grey.get_offsets()), len(known.get_offsets())) == (150, 50)
  assert matplotlib.colors.to_hex(grey.get_facecolor()[0]) == figures.UNKNOWN.lower()


def test_latent_scatter_without_labels():
  check_text(figures.latent_scatter(RANDOM.randn(50, 2), None, (), ('z0', 'z1')))


@pytest.mark.parametrize('size', [1, 16, 256])
def test_kl_and_aggregate_posterior(size):
  kl = RANDOM.rand(size)
  title = 'KL per dimension to the aggregate posterior'
  seen, _ = check_text(figures.kl_per_dimension(kl, kl > 0.5, title))
  assert any(f'{kl.sum():.2f} nats' in text for text in seen)
  check_text(figures.aggregate_posterior(RANDOM.randn(300, size), kl, standard=size > 1))


def test_reliability():
  edges = np.linspace(0, 1, 4)
  values = np.array([np.nan, 0.5, 0.9])
  check_text(figures.reliability(edges, values, values, np.array([0, 3, 9]), 0.1))


@pytest.mark.parametrize(('name', 'unit'), [('thickness', 'pixels'), ('$a_{b} ' * 20, '')])
def test_asked_against_measured(name, unit):
  asked = RANDOM.randn(500)
  figure = figures.asked_against_measured(asked, asked + 0.1, name, unit, 0.987)
  seen, _ = check_text(figure)
  assert any('500 samples' in text and '0.987' in text for text in seen)
  assert any(text.startswith('asked: ') and text.endswith(unit) for text in seen)
  (diagonal,) = figure.axes[0].lines
  np.testing.assert_array_equal(*diagonal.get_data())
  one_value = figures.asked_against_measured(np.ones(3), np.ones(3), name, unit, 0.0)
  assert np.ptp(one_value.axes[0].get_xlim()) > 0


def test_a_saved_figure_leaves_no_other_file(tmp_path):
  target = tmp_path / 'new' / 'x.png'
  figures.save({target: figures.image_grid(RANDOM.rand(1, 2, 8, 8, 1))})
  assert [path.name for path in target.parent.iterdir()] == ['x.png']


def lightness_seen_without_green_cones(colour):
  """Deuteranopia (Viénot et al. 1999), roughly: red and green become one axis."""
  red, green, blue = matplotlib.colors.to_rgb(colour)
  return np.array([0.29 * red + 0.71 * green, blue])


def test_colours_can_be_told_apart_without_green_cones():
  seen = [lightness_seen_without_green_cones(colour) for colour in figures.COLOURS]
  distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
  assert len(set(figures.COLOURS)) == 10
  assert min(distances) > 0.04
