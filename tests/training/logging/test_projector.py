"""Latents for TensorBoard's projector."""

import numpy as np
import pytest
from PIL import Image

from cvae_jax.training.logging import projector


@pytest.fixture
def written(tmp_path):
  random = np.random.RandomState(0)
  images = random.randint(0, 256, (7, 8, 6, 1), np.uint8)
  latents = random.randn(7, 3)
  names = ['T-shirt/top', 'two\twords'] * 3 + ['T-shirt/top']
  projector.write(tmp_path, latents, images, {'': names})
  return tmp_path, latents, images


def test_tensorboard_understands_the_config(written):
  folder, _, _ = written
  plugin = pytest.importorskip('tensorboard.plugins.projector')
  from google.protobuf import text_format

  config = plugin.ProjectorConfig()
  text_format.Parse((folder / projector.CONFIG_NAME).read_text(), config)
  (embedding,) = config.embeddings
  for path in (embedding.tensor_path, embedding.metadata_path, embedding.sprite.image_path):
    assert (folder / path).is_file()
  assert list(embedding.sprite.single_image_dim) == [6, 8]  # width, height


def test_rows_labels_and_tiles_belong_together(written):
  folder, latents, images = written
  table = np.loadtxt(folder / 'projector' / 'latents.tsv', delimiter='\t')
  np.testing.assert_allclose(table, latents, rtol=1e-5)
  labels = (folder / 'projector' / 'labels.tsv').read_text().splitlines()
  assert labels == ['T-shirt/top', 'two words'] * 3 + ['T-shirt/top']
  with Image.open(folder / 'projector' / 'sprite.png') as sprite:
    pixels = np.asarray(sprite)
  assert pixels.shape == (3 * 8, 3 * 6)
  for number, image in enumerate(images):
    row, column = divmod(number, 3)
    tile = pixels[row * 8 : row * 8 + 8, column * 6 : column * 6 + 6]
    np.testing.assert_array_equal(tile, image[..., 0])


def test_several_columns_have_a_header(tmp_path):
  described = {'digit': ['a', 'b', 'unknown'], 'stroke\nwidth': ['1 px', '2 px', '3 px']}
  projector.write(tmp_path, np.zeros((3, 2)), np.zeros((3, 8, 8, 3), np.uint8), described)
  lines = (tmp_path / 'projector' / 'labels.tsv').read_text().splitlines()
  assert lines == ['digit\tstroke width', 'a\t1 px', 'b\t2 px', 'unknown\t3 px']


def test_a_finished_run_has_its_latents(tiny_run):
  table = np.loadtxt(tiny_run / 'projector' / 'latents.tsv', delimiter='\t')
  assert table.shape == (50, 3)  # its validation images
  assert (tiny_run / projector.CONFIG_NAME).is_file()
