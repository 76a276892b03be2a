"""Holes, variations by noise, and paths between noises, of tiny second stages."""

import functools

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from cvae_jax.data.readers import decoding
from cvae_jax.inference import inpainting, inputs
from cvae_jax.inference.flow import rows_of
from cvae_jax.models import latent_flow
from cvae_jax.runtime.errors import InputError

SHAPE = (8, 8, 1)


@pytest.fixture(scope='module')
def model(flow_run):
  return cvae_jax.load(flow_run)


@pytest.fixture(scope='module')
def told(told_flow_run):
  return cvae_jax.load(told_flow_run)


@pytest.fixture(scope='module')
def images(model):
  return model.data().test.images[:2].astype(np.float32) / 255


@pytest.fixture(scope='module')
def mask():
  mask = np.zeros((8, 8), bool)
  mask[4:, 2:6] = True
  return mask


def test_known_pixels_stay_and_the_hole_has_no_effect(model, images, mask):
  filled = model.inpaint(images, mask, [3, 4], num_draws=3, seed=1)
  assert filled.shape == (2, 3, *SHAPE)
  assert (filled.min(), filled.max()) >= (0, 0)
  for draw in range(3):
    np.testing.assert_array_equal(filled[:, draw, ~mask], images[:, ~mask])
  assert filled[:, :, mask].std(axis=1).min() > 1e-5  # each has its own noise
  other = np.where(mask[None, ..., None], np.float32(0.3), images)
  np.testing.assert_array_equal(model.inpaint(other, mask, [3, 4], 3, 1), filled)
  np.testing.assert_array_equal(model.inpaint(images[:1], mask, [3], 3, 1)[0], filled[0])
  assert not np.allclose(model.inpaint(images, mask, [3, 4], 3, 2), filled, atol=1e-4)
  assert not np.allclose(model.inpaint(images, mask, [7, 8], 3, 1), filled, atol=1e-4)


def test_a_mask_for_each_image(model, images, mask):
  masks = np.stack([mask, mask.T])
  filled = model.inpaint(images, masks, num_draws=1, seed=4)[:, 0]
  np.testing.assert_array_equal(filled[~masks], images[~masks])
  first = model.inpaint(images[:1], mask, num_draws=1, seed=4)[:, 0]
  np.testing.assert_allclose(filled[:1], first, atol=1e-5)


def test_fills_fit_the_known_pixels_better_than_samples(model, images, mask):
  rows = inpainting.known_conditions(model.conditioning, None, None, 2).repeat(20)
  many, holes = (np.repeat(x, 20, axis=0) for x in (images, np.stack([mask[..., None]] * 2)))
  latents = model.prior.flow.fill(many, holes, rows)
  samples = model.prior.draw(rows)
  errors = [
    np.mean(np.square(model.decode(z, conditions=rows) - many)[~holes]) for z in (latents, samples)
  ]
  assert errors[0] < 0.97 * errors[1]


def test_an_unknown_class(model, told, images, mask):
  """It is unknown if the flow has seen that; else it is asked for."""
  unknown = model.inpaint(images, mask, seed=1)
  np.testing.assert_array_equal(model.inpaint(images, mask, conditions={}, seed=1), unknown)
  assert not np.allclose(model.inpaint(images, mask, [3, 3], seed=1), unknown, atol=1e-4)
  with pytest.raises(InputError, match='labels'):
    told.inpaint(images, mask)
  filled = told.inpaint(images, mask, ['3', '4'], num_draws=2)
  np.testing.assert_array_equal(filled[:, :, ~mask], np.stack([images[:, ~mask]] * 2, axis=1))


def test_masks_of_all_kinds_mean_the_same(mask):
  wanted = np.stack([mask[..., None]] * 2)
  for given in (
    mask, mask[..., None], mask.astype(int), mask * np.uint8(255), np.where(mask, 0.5, 0.49),
    np.where(mask, 128, 127).astype(np.uint8), np.stack([mask] * 2), wanted,
  ):  # fmt: skip
    np.testing.assert_array_equal(inpainting.holes_of(given, 2, SHAPE), wanted)


@pytest.mark.parametrize(
  ('wrong', 'named'),
  [
    (np.zeros((8, 8)), 'no white'),
    (np.ones((8, 8)), 'all white'),
    (np.stack([np.eye(8), np.zeros((8, 8))]), 'no white'),
    (np.eye(7), r'\(7, 7\)'),
    (np.stack([np.eye(8)] * 3), r'\(3, 8, 8\)'),
    (np.eye(8) * 1.5, '1.5'),
    (np.eye(8) * np.nan, 'nan'),
    ([['a'] * 8] * 8, 'shape'),
  ],
)
def test_wrong_masks(wrong, named):
  with pytest.raises(InputError, match=named):
    inpainting.holes_of(wrong, 2, SHAPE)


def test_models_without_a_second_stage(tiny_run, images, mask):
  first = cvae_jax.load(tiny_run)
  for refused in (
    lambda: first.inpaint(images, mask, [3, 4]),
    lambda: first.vary(images, [3, 4], noise=0.5),
  ):
    with pytest.raises(InputError, match='second stage'):
      refused()


def save(path, size, white=(0, 0, 2, 2), orientation=None):
  """A mask of this width and height, white from (left, top) to (right, bottom)."""
  picture = Image.new('L', size)
  picture.paste(255, white)
  exif = Image.Exif()
  if orientation:
    exif[0x0112] = orientation
  picture.save(path, exif=exif)
  return path


def test_a_mask_is_cut_and_resized_as_the_pictures(model, tmp_path):
  """The pictures are cut to squares: of 16×8 pixels, columns 4 to 12 are left."""
  mask = save(tmp_path / 'm.png', (16, 8), (4, 0, 6, 3))
  picture = save(tmp_path / 'a.png', (16, 8))
  read = inputs.read_mask(model, mask, [picture])
  wanted = np.zeros((8, 8), bool)
  wanted[:3, :2] = True
  np.testing.assert_array_equal(read >= 128, wanted)
  larger = save(tmp_path / 'l.png', (32, 16), (8, 0, 12, 6))
  np.testing.assert_array_equal(inputs.read_mask(model, larger, [picture]) >= 128, wanted)
  own = save(tmp_path / 'o.png', (8, 8), (0, 0, 2, 3))  # as the model has them
  np.testing.assert_array_equal(inputs.read_mask(model, own, [picture]) >= 128, wanted)
  np.testing.assert_array_equal(inputs.read_mask(model, own, []) >= 128, wanted)
  with pytest.raises(InputError, match=r'm\.png .*16×8 .*10×8'):
    inputs.read_mask(model, mask, [save(tmp_path / 'b.png', (10, 8))])
  with pytest.raises(InputError, match=r'm\.png .*16×8'):
    inputs.read_mask(model, mask, [])
  (tmp_path / 'c.png').write_bytes(b'?')
  for name in ('c.png', 'none.png', '.'):
    with pytest.raises(InputError, match=name if name != '.' else 'no file'):
      inputs.read_mask(model, tmp_path / name, [picture])


def test_the_size_of_a_turned_picture(tmp_path):
  assert decoding.size(save(tmp_path / 'a.jpg', (16, 8))) == (16, 8)
  assert decoding.size(save(tmp_path / 'b.jpg', (16, 8), orientation=6)) == (8, 16)


def test_all_noise_is_a_sample(model, images):
  varied = model.vary(images, [3, 4], num_draws=2, seed=5, noise=1.0)
  samples = model.sample([3, 3, 4, 4], seed=5)
  np.testing.assert_allclose(varied.reshape(samples.shape), samples, atol=1e-5)
  cooler = model.vary(images, [3, 4], num_draws=2, temperature=0.5, seed=5, noise=1)
  samples = model.sample([3, 3, 4, 4], 0.5, seed=5)
  np.testing.assert_allclose(cooler.reshape(samples.shape), samples, atol=1e-5)


def test_less_noise_stays_nearer(model, images):
  reconstructed = model.reconstruct(images, [3, 4])[:, None]
  distances = [
    np.square(model.vary(images, [3, 4], noise=noise) - reconstructed).mean()
    for noise in (1e-4, 0.3, 0.7, 1.0)
  ]
  assert distances[0] < 1e-6
  assert sorted(distances) == distances


@pytest.mark.parametrize('noise', [0, -0.1, 1.01, float('nan'), 'much', True])
def test_wrong_noise(model, images, noise):
  with pytest.raises(InputError, match='noise='):
    model.vary(images, [3, 4], noise=noise)


@pytest.mark.parametrize('labels', [[3, 3], [3, 4]])
def test_spherical_paths_through_noise_end_in_reconstructions(model, images, labels):
  model = model.with_flow(steps=100)
  first, second = images[:1], images[1:]
  path = model.interpolate(
    first, second, ([labels[0]], [labels[1]]), num_steps=5, method='spherical'
  )
  ends = model.reconstruct(images, labels)
  np.testing.assert_allclose(path[0, [0, -1]], ends, atol=2e-3)


def test_a_path_through_noise_is_spherical_there(model, images):
  """Half-way it is what the flow makes of the middle of the arc between the noises."""
  flow = model.prior.flow
  of_flow = flow.network, flow.variables
  rows = [model.conditions([label]) for label in (3, 3)]
  latents = [
    model.encode(image[None], conditions=own)[0] for image, own in zip(images, rows, strict=True)
  ]
  path = model.interpolate(images[:1], images[1:], ([3], [3]), num_steps=3, method='spherical')
  first, second = (
    np.asarray(latent_flow.to_noise(*of_flow, z, rows_of(flow.network, own.values)))[0]
    for z, own in zip(latents, rows, strict=True)
  )
  cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
  middle = (first + second) / (2 * np.cos(np.arccos(cosine) / 2))
  no_change = np.zeros(1, np.float32)
  values = rows_of(flow.network, rows[0].values)
  end = latent_flow.from_noise(*of_flow, middle[None], values, values, no_change)
  wanted = model.decode(np.asarray(end), conditions=rows[0])
  np.testing.assert_allclose(path[:, 1], wanted, atol=1e-4)


def test_linear_paths_stay_in_the_latents(model, images):
  path = model.interpolate(images[:1], images[1:], ([3], [4]), num_steps=3)
  means, _ = model.encode(images, [3, 4])
  middle = model.decode(means.mean(axis=0, keepdims=True), [3])  # its decoder reads no class
  np.testing.assert_allclose(path[:, 1], middle, atol=1e-5)


def test_between_two_classes_the_velocity_is_between_theirs(model):
  """The ends are those of the classes; half-way it depends on both."""
  flow = model.prior.flow
  noise = np.ones((3, model.config.latent_dim), np.float32)
  own, *rows = (
    rows_of(flow.network, model.conditions(labels).values)
    for labels in ([3, 8, 3], [3] * 3, [8] * 3)
  )
  from_noise = functools.partial(latent_flow.from_noise, flow.network, flow.variables, noise)
  paths = np.asarray(from_noise(*rows, np.float32([0, 0.5, 1])))
  ends = np.asarray(from_noise(own, own, np.zeros(3, np.float32)))
  np.testing.assert_allclose(paths[[0, 2]], ends[:2], atol=1e-5)
  whole = np.linalg.norm(paths[2] - paths[0])
  assert all(0.1 * whole < np.linalg.norm(paths[1] - end) < 0.9 * whole for end in paths[[0, 2]])


def test_unknown_conditions_give_nothing_to_guide_by(model, images, mask):
  guided = model.with_flow(guidance=2.0)
  with pytest.raises(InputError, match='guidance=2'):
    guided.inpaint(images, mask)
  with pytest.raises(InputError, match='guidance=2'):
    guided.vary(images, noise=0.5)
  assert guided.inpaint(images, mask, [3, 4], num_draws=1).shape == (2, 1, *SHAPE)


def test_a_picture_that_cannot_be_read_is_named(model, tmp_path):
  Image.new('L', (8, 8), 255).save(tmp_path / 'mask.png')
  broken = tmp_path / 'broken.png'
  broken.write_bytes(b'no picture')
  with pytest.raises(InputError, match='broken'):
    inputs.read_mask(model, tmp_path / 'mask.png', [broken])
