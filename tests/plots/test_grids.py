"""Grids of images, as arrays and as files."""

import numpy as np
import pytest
from PIL import Image

from cvae_jax.plots import grids


@pytest.mark.parametrize('channels', [1, 3])
def test_a_grid_divides_evenly_into_its_tiles(channels):
  images = np.random.RandomState(0).rand(7, 5, 4, channels)
  picture = grids.grid(images, columns=3)
  height, width = picture.shape[0] // 3, picture.shape[1] // 3
  assert picture.shape == (3 * height, 3 * width, channels)
  scale = height // 7
  for number, image in enumerate(images):
    row, column = divmod(number, 3)
    tile = picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
    np.testing.assert_array_equal(tile[::scale, ::scale][1:-1, 1:-1], np.round(image * 255))
  assert not picture[2 * height :, width:].any()  # the rest of the last row is black


def test_tiles_have_a_border_in_its_colour():
  images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
  np.testing.assert_array_equal(grids.tile(images, border=0)[..., 0], [[0, 1, 2], [3, 4, 5]])
  picture = grids.tile(images, border=2, colour=9)
  assert picture.shape == (10, 15, 1)
  np.testing.assert_array_equal(picture[2::5, 2::5, 0], [[0, 1, 2], [3, 4, 5]])
  assert np.sum(picture == 9) == 10 * 15 - 6


def test_the_last_row_is_filled_up():
  rows = grids.rows_of(np.arange(5.0), columns=3, blank=np.nan)
  np.testing.assert_array_equal(rows, [[0, 1, 2], [3, 4, np.nan]])
  assert grids.rows_of(np.zeros((4, 7)), columns=2).shape == (2, 2, 7)


def test_small_grids_are_enlarged_and_large_ones_are_not():
  assert grids.grid(np.zeros((4, 28, 28, 1)), 2).shape == (600, 600, 1)
  assert grids.grid(np.zeros((4, 400, 400, 1)), 2).shape == (804, 804, 1)


@pytest.mark.parametrize(('channels', 'mode'), [(1, 'L'), (3, 'RGB')])
def test_files_hold_the_pixels(tmp_path, channels, mode):
  picture = np.random.RandomState(0).randint(0, 256, (6, 7, channels), np.uint8)
  path = tmp_path / 'new' / 'picture.png'
  grids.save_png(path, picture)
  with Image.open(path) as image:
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(picture.shape), picture)
  assert [file.name for file in path.parent.iterdir()] == ['picture.png']


def test_a_gif_goes_there_and_back(tmp_path):
  frames = [np.full((4, 4, 1), level, np.uint8) for level in (0, 100, 200)]
  grids.save_gif(tmp_path / 'new' / 'x.gif', frames)
  with Image.open(tmp_path / 'new' / 'x.gif') as animation:
    levels = []
    for frame in range(animation.n_frames):
      animation.seek(frame)
      levels.append(int(np.asarray(animation.convert('L')).mean()))
  assert levels == [0, 100, 200, 100]
  assert len(list((tmp_path / 'new').iterdir())) == 1


def test_a_gif_of_one_frame_and_in_colour(tmp_path):
  grids.save_gif(tmp_path / 'x.gif', [np.full((4, 4, 3), 7, np.uint8)])
  with Image.open(tmp_path / 'x.gif') as animation:
    assert animation.n_frames == 1


def test_the_shown_channels_of_images():
  images = np.random.RandomState(0).rand(2, 3, 5, 4, 6)
  shown = grids.shown(images, (5, 0, 5))
  np.testing.assert_array_equal(shown, np.stack([images[..., c] for c in (5, 0, 5)], axis=-1))
  assert grids.shown(images[..., :3], (0, 1, 2)).base is images
