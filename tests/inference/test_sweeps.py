"""Drawings along conditions, and of images under others than their own."""

import dataclasses

import numpy as np
import pytest
import table_models
from PIL import Image

import cvae_jax
from cvae_jax.inference import drawings, inputs, sampling, sweeps
from cvae_jax.inference.inputs import Inputs
from cvae_jax.inference.sampling import Request
from cvae_jax.runtime.errors import InputError
from made_data import save_picture


def parsed(model, text):
  return sweeps.parse(model, text.split(','))


def drawn(model, mode='sweep', condition='', **flags):
  request = Request(mode=mode, condition=condition.split(',') if condition else None, **flags)
  sampling.check(request)
  return sampling.draw(model, request)


def in_units(model, number, values):
  column = model.columns[number]
  return column.mean + column.std * np.asarray(values, np.float64)


def test_values_and_ranges_are_read(measured):
  asked = parsed(measured, 'digit=3,slant=-0.2:0.4:4')
  assert asked.fixed == {'digit': '3'}
  (along,) = asked.ranges
  assert along.column == 1
  np.testing.assert_allclose(in_units(measured, 1, along.values), [-0.2, 0, 0.2, 0.4], atol=1e-6)
  asked = parsed(measured, 'thickness = 1.5 , digit=all')
  assert asked.fixed == {'thickness': '1.5'}
  np.testing.assert_array_equal(asked.ranges[0].values, np.arange(10))
  assert sweeps.parse(measured, ()) == sweeps.Asked({}, ())


def test_names_may_have_commas_and_be_called_all(mixed):
  asked = parsed(mixed, 'side=up, down,bar=all,grey=60')
  assert asked.fixed == {'side': 'up, down', 'grey': '60'}
  np.testing.assert_array_equal(asked.ranges[0].values, [0, 1])
  columns = (mixed.columns[0]._replace(names=('left', 'all', 'right')), *mixed.columns[1:])
  space = mixed.conditioning._replace(columns=columns)
  named = dataclasses.replace(mixed, of_table=space, class_names=columns[0].names)
  assert parsed(named, 'side=all').fixed == {'side': 'all'}


@pytest.mark.parametrize(
  ('text', 'named'),
  [
    ('slope=1', ["'slope'", 'digit, slant, thickness']),
    ('slent=1', ["'slent'", "'slant'"]),
    ('slant=-1:1', ['slant=-1:1', '2 to 200', 'slant=-1:1:9']),
    ('slant=-1:1:1', ['slant=-1:1:1']),
    ('slant=-1:1:0', ['slant=-1:1:0']),
    ('slant=-1:1:201', ['slant=-1:1:201']),
    ('slant=-1:1:x', ['slant=-1:1:x']),
    ('slant=-1:1:9:2', ['slant=-1:1:9:2']),
    ('slant=:1:3', ['slant=:1:3']),
    ('slant=nan:1:3', ['slant=nan:1:3']),
    ('slant=0:inf:3', ['slant=0:inf:3']),
    ('slant=left', ["slant='left'"]),
    ('slant=all', ["slant='all'"]),
    ('digit=x', ["'x'", 'digit']),
    ('digit=0:9:10', ["'0:9:10'"]),
    ('digit=12', ["'12'"]),
    ('3', ["'3'", 'column=value']),
    ('digit=', ['digit=']),
    ('=3', ['=3']),
    ('digit=3,digit=4', ["'digit' twice"]),
    ('digit=3,digit=all', ["'digit' twice"]),
    ('slant=0:1:3,slant=0.3', ["'slant' twice"]),
  ],
)
def test_mistakes_are_named(measured, text, named):
  with pytest.raises(InputError) as raised:
    parsed(measured, text)
  assert all(part in str(raised.value) for part in named), raised.value
  assert '\n' not in str(raised.value)


def test_a_range_outside_of_the_trained_numbers_is_warned_of_once(measured, capsys):
  drawn(measured, condition='digit=3,slant=0:9:3,thickness=1.5')
  out = capsys.readouterr().out
  assert out.count('Warning') == 1
  assert 'slant=4.5' in out


def test_a_row_along_a_number(measured):
  drawing = drawn(
    measured, condition='digit=3,slant=-0.2:0.4:4', num_images=2, seed=5, prior='model'
  )
  assert drawing.images.shape == (2, 4, 8, 8, 1)
  np.testing.assert_allclose(drawing.conditions['slant'], [[-0.2, 0, 0.2, 0.4]] * 2, atol=1e-6)
  assert set(drawing.labels.ravel()) == {3}
  # What is not named is as in training images, one for each row, and so is the noise.
  thickness = drawing.conditions['thickness']
  np.testing.assert_array_equal(thickness, thickness[:, :1].repeat(4, axis=1))
  np.testing.assert_array_equal(drawing.latents, drawing.latents[:, :1].repeat(4, axis=1))
  given = {'digit': '3', 'slant': [-0.2, 0, 0.2, 0.4] * 2, 'thickness': thickness.ravel()}
  expected = measured.decode(drawing.latents.reshape(8, -1), conditions=given)
  np.testing.assert_allclose(drawing.images.reshape(expected.shape), expected, atol=1e-5)
  assert np.ptp(drawing.images, axis=1).max() > 1e-4
  first = measured.draw_latents(num_images=2, seed=5, prior='model')
  np.testing.assert_allclose(drawing.latents[:, 0], first, atol=1e-6)


def test_two_ranges_are_a_grid_of_one_noise(measured):
  drawing = drawn(
    measured, condition='digit=all,slant=-0.2:0.4:3,thickness=1.5', seed=2, prior='model'
  )
  assert drawing.images.shape == (10, 3, 8, 8, 1)
  assert len(np.unique(drawing.latents.reshape(30, -1), axis=0)) == 1
  np.testing.assert_array_equal(drawing.labels, np.arange(10)[:, None].repeat(3, axis=1))
  given = {
    'digit': np.repeat(list('0123456789'), 3), 'slant': [-0.2, 0.1, 0.4] * 10, 'thickness': 1.5
  }  # fmt: skip
  expected = measured.decode(drawing.latents.reshape(30, -1), conditions=given)
  np.testing.assert_allclose(drawing.images.reshape(expected.shape), expected, atol=1e-5)
  assert drawing.row_names == tuple(f'digit {digit}' for digit in range(10))
  assert all(name.startswith('slant ') for name in drawing.column_names)
  assert 'thickness 1.5' in drawing.title
  # By another way to say it.
  by_label = drawn(
    measured, condition='slant=-0.2:0.4:3,thickness=1.5', seed=2, prior='model',
    label=list('0123456789'),
  )  # fmt: skip
  np.testing.assert_array_equal(by_label.images, drawing.images)


def test_a_model_of_labels_sweeps_over_its_classes(tiny_run):
  model = cvae_jax.load(tiny_run)
  drawing = drawn(model, condition='digit=all', num_images=2, prior='model')
  latents = model.draw_latents([0, 0], prior='model')
  for label in range(10):
    expected = model.decode(latents, [label, label])
    np.testing.assert_allclose(drawing.images[:, label], expected, atol=1e-6)
  assert drawing.conditions is None


@pytest.mark.parametrize(
  ('mode', 'flags', 'named'),
  [
    ('sweep', {'condition': 'digit=3'}, ['--mode=sweep', '0 ranges']),
    ('sweep', {}, ['--mode=sweep', '0 ranges']),
    ('sweep', {'condition': 'digit=all,slant=0:1:2,thickness=1:2:2'}, ['3 ranges']),
    ('sweep', {'condition': 'digit=all,slant=0:1:2', 'num_images': 2}, ['--num_images=2']),
    ('sweep', {'condition': 'digit=all,slant=0:1:2', 'label': ['3']}, ['--label', "'digit'"]),
    ('sweep', {'condition': 'slant=0:1:200', 'num_images': 5_000}, ['1,000,000 images']),
    ('prior', {'condition': 'slant=0:1:3'}, ['range', 'sweep and edit']),
    ('prior', {'condition': 'digit=3', 'label': ['3']}, ['--label', "'digit'"]),
    ('edit', {'condition': 'digit=3'}, ['--mode=edit', 'images']),
    ('edit', {'indices': ['0']}, ['--mode=edit', '--condition']),
    ('edit', {'indices': ['0'], 'condition': 'digit=all,slant=0:1:2'}, ['2 ranges']),
    ('reconstruct', {'indices': ['0'], 'condition': 'digit=3', 'label': ['3']}, ['--label']),
  ],
)
def test_requests_without_a_meaning_are_named(measured, mode, flags, named):
  with pytest.raises(InputError) as raised:
    drawn(measured, mode, **flags)
  assert all(text in str(raised.value) for text in named), raised.value


def test_samples_of_conditions(measured):
  drawing = drawn(measured, 'prior', 'slant=0.1,digit=3', num_images=5, seed=4)
  exists = ~np.isnan(drawing.images[..., 0, 0, 0])
  assert exists.sum() == 5
  assert 'slant 0.1' in drawing.title
  given = {name: values[exists] for name, values in drawing.conditions.items() if name != 'digit'}
  np.testing.assert_allclose(given['slant'], 0.1, atol=1e-6)
  expected = measured.sample(seed=4, conditions=given | {'digit': '3'})
  np.testing.assert_allclose(drawing.images[exists], expected, atol=1e-5)
  every = drawn(measured, 'prior', 'slant=0.1', num_images=2)
  np.testing.assert_array_equal(every.labels, np.arange(10)[:, None].repeat(2, axis=1))


def test_an_edit_keeps_the_latent(measured):
  data = measured.data().test
  images = data.images[[3, 5]].astype(np.float32) / 255
  own = inputs.conditions_of(measured, data, np.array([3, 5]))
  mean, _ = measured.encode(images, conditions=own)
  slant, thickness = (in_units(measured, n, own.values[:, n]) for n in (1, 2))
  drawing = drawn(measured, 'edit', 'digit=7', indices=['3', '5'])
  assert drawing.column_names == ('image', 'recon.', 'digit 7')
  np.testing.assert_array_equal(drawing.images[:, 0], images)
  np.testing.assert_allclose(
    drawing.images[:, 1], measured.reconstruct(images, conditions=own), atol=1e-5
  )
  given = {'digit': '7', 'slant': slant, 'thickness': thickness}
  np.testing.assert_allclose(
    drawing.images[:, 2], measured.decode(mean, conditions=given), atol=1e-5
  )
  np.testing.assert_allclose(drawing.latents, mean[:, None].repeat(3, axis=1), atol=1e-6)
  np.testing.assert_array_equal(drawing.labels, [[*[label] * 2, 7] for label in own.labels])
  np.testing.assert_allclose(drawing.conditions['slant'], slant[:, None].repeat(3, 1), atol=1e-5)

  ranged = drawn(measured, 'edit', 'digit=7,slant=0:0.4:3', indices=['3', '5'])
  assert ranged.images.shape[:2] == (2, 5)
  for step, value in enumerate((0, 0.2, 0.4)):
    expected = measured.decode(mean, conditions=given | {'slant': value})
    np.testing.assert_allclose(ranged.images[:, 2 + step], expected, atol=1e-5)
  # --label is the class that the images have, not that which is asked for.
  labelled = drawn(measured, 'edit', 'digit=7', indices=['3', '5'], label=['1'])
  np.testing.assert_array_equal(labelled.labels, [[1, 1, 7]] * 2)


def test_an_edit_keeps_the_noise_where_the_prior_has_classes(tmp_path_factory):
  """The latent of another class is not the same: the noise that gives it is."""
  from cvae_jax.training import loop
  from tiny import tiny_config

  workdir = tmp_path_factory.mktemp('runs') / 'classes'
  loop.train(
    tiny_config(num_epochs=1, prior='class_gaussian', data__conditions='digit,slant'), workdir
  )
  model = cvae_jax.load(workdir)
  images = model.data().test.images[:2].astype(np.float32) / 255
  own = inputs.conditions_of(model, model.data().test, np.arange(2))
  drawing = sweeps.edit(model, Inputs(images, own, ('a', 'b')), parsed(model, 'digit=7'))
  mean, _ = model.encode(images, conditions=own)
  expected = model.prior.under(mean, own, own.replaced(0, 7))
  np.testing.assert_allclose(drawing.latents[:, 2], expected, atol=1e-6)
  assert not np.allclose(drawing.latents[:, 2], mean, atol=1e-6)
  styles = model.restyle(mean, conditions=own)
  np.testing.assert_allclose(styles[:, 7], expected, atol=1e-6)


def test_files_keep_conditions_by_column_and_move(measured, tmp_path):
  drawing = drawn(measured, condition='digit=all,slant=-0.2:0.4:3,thickness=1.5')
  drawings.write(drawing, tmp_path / 'x.npz')
  saved = np.load(tmp_path / 'x.npz')
  np.testing.assert_allclose(saved['condition_slant'], [[-0.2, 0.1, 0.4]] * 10, atol=1e-6)
  np.testing.assert_allclose(saved['condition_thickness'], np.full((10, 3), 1.5), atol=1e-5)
  np.testing.assert_array_equal(saved['condition_digit'], saved['labels'])
  drawings.write(drawing, tmp_path / 'x.gif')
  with Image.open(tmp_path / 'x.gif') as animation:
    assert animation.n_frames == 4  # three there, one back
  squares = drawn(measured, 'prior', 'digit=3', num_images=5)
  drawings.write(squares, tmp_path / 'y.npz')
  saved = np.load(tmp_path / 'y.npz')
  assert saved['condition_slant'].shape == saved['labels'].shape == (5,)
  styles = drawn(measured, 'style', indices=['3'])
  assert styles.conditions['slant'].shape == styles.labels.shape == (1, 11)


def test_every_other_mode_takes_conditions(measured):
  """What is not named in a traversal or a manifold is usual, or as in one training image."""
  assert drawn(measured, 'traverse').images.shape[:2] == (3, 11)
  for mode in ('traverse', 'manifold'):
    steep, upright = (
      drawn(measured, mode, f'digit=3,slant={slant},thickness=1.5') for slant in (0.4, 0)
    )
    assert not np.allclose(steep.images, upright.images, atol=1e-5)
  path = drawn(measured, 'interpolate', 'slant=0.1,thickness=1.5', label=['3', '8'], num_images=2)
  ends = {'slant': 0.1, 'thickness': 1.5}
  for column, digit in ((0, '3'), (-1, '8')):
    latents = measured.draw_latents(num_images=2, conditions=ends | {'digit': digit})
    expected = measured.decode(latents, conditions=ends | {'digit': digit})
    np.testing.assert_allclose(path.images[:, column], expected, atol=1e-5)
  for mode, indices in (('posterior', '0'), ('reconstruct', '0 1'), ('interpolate', '0 1')):
    rows = indices.split()
    steep, upright = (
      drawn(measured, mode, f'slant={slant}', indices=rows).images for slant in (0.4, 0)
    )
    assert steep.shape == upright.shape
    assert not np.allclose(steep, upright, atol=1e-5)
  assert drawn(measured, 'arithmetic', indices=list('012')).images.shape[:2] == (1, 4)
  assert drawn(measured, 'arithmetic', label=list('385')).images.shape[:2] == (1, 4)


@pytest.mark.slow
def test_conditions_of_pictures_are_found_from_their_bounds(inferring, tmp_path, capsys):
  data = table_models.split(40, 5)
  paths = [tmp_path / f'{row}.png' for row in range(40)]
  found = inputs.find_conditions(inferring, data.images, paths).conditions
  side, bar, grey = data.cells.T
  np.testing.assert_array_equal(found.labels, side)
  np.testing.assert_array_equal(found.values[:, 1], bar)
  errors = np.abs(in_units(inferring, 2, found.values[:, 2]) - grey)
  assert errors.mean() < 5  # of 50
  given = inputs.find_conditions(
    inferring, data.images, paths, {'grey': grey, 'bar': 'no'}
  ).conditions
  np.testing.assert_allclose(in_units(inferring, 2, given.values[:, 2]), grey, atol=1e-4)
  assert not given.values[:, 1].any()
  # In a folder of a class, whose name counts more.
  folders = [tmp_path / 'right' / '0.png', *paths[1:]]
  named = inputs.find_conditions(inferring, data.images, folders)
  assert named.conditions.labels[0] == 1
  assert named.from_folder.tolist() == [True, *[False] * 39]
  assert named.probabilities[0] == 1
  np.testing.assert_array_equal(named.conditions.labels[1:], side[1:])

  save_picture(tmp_path / 'a.png', data.images[0, ..., 0])
  drawing = drawn(inferring, 'edit', 'bar=all', images=[str(tmp_path / 'a.png')])
  assert drawing.column_names == ('image', 'recon.', 'bar no', 'bar yes')
  rows = drawing.images[0, 2:, 7].mean(axis=(1, 2))
  assert rows[0] < 0.2 < 0.5 < rows[1]
  (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith('a.png'))
  assert all(name in line for name in (table_models.NAMES[int(side[0])], 'bar ', 'grey '))
