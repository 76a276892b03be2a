"""The modes of sample.py, their files, and the flags they take."""

import dataclasses
import inspect
import shutil

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from cvae_jax.inference import drawings, sampling
from cvae_jax.inference.drawings import Drawing
from cvae_jax.inference.latent_prior import LatentPrior
from cvae_jax.inference.model import Model
from cvae_jax.inference.sampling import Request
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop
from tiny import DENSE, tiny_config


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


@pytest.fixture(scope='module')
def unconditional(tmp_path_factory):
  run = tmp_path_factory.mktemp('runs') / 'free'
  loop.train(tiny_config(conditional=False, latent_dim=2, num_epochs=1, **DENSE), run)
  return cvae_jax.load(run)


def request(flags):
  """The request of a command line, whose values have no spaces."""
  words = flags.replace('--', '').split()
  given = dict(zip(words[::2], words[1::2], strict=True))
  lists = ('label', 'indices', 'dims', 'images')
  numbers = {'num_images': int, 'num_draws': int, 'seed': int, 'temperature': float}
  values = {
    name: text.split(',') if name in lists else numbers.get(name, str)(text)
    for name, text in given.items()
  }
  return Request(**values)


def drawn(model, flags):
  asked = request(flags)
  sampling.check(asked)
  return sampling.draw(model, asked)


MODES = {
  '--mode posterior --indices 0,1 --num_draws 3': (2, 4),
  '--mode reconstruct --indices 0,1,2 --split validation': (2, 3),
  '--mode interpolate --indices 0,1,2,3 --interpolation spherical': (2, 11),
  '--mode interpolate --label 3,8 --num_images 2': (2, 11),
  '--mode traverse --label 3': (3, 11),
  '--mode traverse --indices 5': (3, 11),
  '--mode arithmetic --indices 4,8,15': (1, 4),
  '--mode arithmetic --label 3,8,5': (1, 4),
  '--mode manifold --dims 2,0 --label 1': (15, 15),
  '--mode style --num_images 2 --temperature 0.5': (2, 10),
  '--mode style --indices 3': (1, 11),  # the image, and all classes
}


@pytest.mark.parametrize('flags', MODES)
def test_every_mode(model, flags):
  drawing = drawn(model, flags)
  rows, columns = MODES[flags]
  assert drawing.images.shape == (rows, columns, 8, 8, 1)
  assert drawing.images.min() >= 0
  assert drawing.images.max() <= 1
  assert len(drawing.row_names) in (0, rows)
  assert len(drawing.column_names) in (0, columns)


def test_what_the_modes_show(model):
  test = model.data().test
  images, labels = test.images.astype(np.float32) / 255, test.labels

  pairs = drawn(model, '--mode reconstruct --indices 0,1,2')
  np.testing.assert_allclose(pairs.images[0], images[:3])
  np.testing.assert_allclose(pairs.images[1], model.reconstruct(images[:3], labels[:3]), atol=1e-5)
  # In another class.
  threes = drawn(model, '--mode reconstruct --indices 0,1,2 --label 3')
  np.testing.assert_allclose(threes.images[1], model.reconstruct(images[:3], [3, 3, 3]), atol=1e-5)
  varied = drawn(model, '--mode posterior --indices 0 --temperature 0')
  np.testing.assert_allclose(varied.images[0, 0], images[0])
  for column in range(1, 9):
    np.testing.assert_allclose(varied.images[0, column], pairs.images[1, 0], atol=1e-5)

  path = drawn(model, '--mode interpolate --indices 0,1')
  np.testing.assert_allclose(path.images[0, [0, -1]], pairs.images[1, :2], atol=1e-5)
  between = drawn(model, '--mode interpolate --label 3,8 --num_images 2')
  for column, label in ((0, 3), (-1, 8)):
    expected = model.decode(model.draw_latents([label] * 2), [label] * 2)
    np.testing.assert_allclose(between.images[:, column], expected, atol=1e-5)

  styles = drawn(model, '--mode style --num_images 2')
  latents = model.draw_latents([0, 1])  # the second row's is of a 1
  expected = model.decode(latents[1:], [7])[0]
  np.testing.assert_allclose(styles.images[1, 7], expected, atol=1e-5)
  originals = images[[5, 8]]
  styles = drawn(model, '--mode style --indices 5,8')
  np.testing.assert_array_equal(styles.images[:, 0], originals)
  mean, _ = model.encode(originals, labels[[5, 8]])
  np.testing.assert_allclose(styles.images[:, 8], model.decode(mean, [7, 7]), atol=1e-5)
  np.testing.assert_array_equal(styles.labels[:, 0], labels[[5, 8]])
  traversed = drawn(model, '--mode traverse --label 3 --prior model')
  latent = np.array([[0, 3.0, 0]])
  np.testing.assert_allclose(traversed.images[1, -1], model.decode(latent, [3])[0], atol=1e-5)
  traversed = drawn(model, '--mode traverse --label 3')
  mean, deviation = model.prior.moments(model.conditions([3]))
  latent = mean + np.array([[0, 3.0, 0]]) * deviation
  np.testing.assert_allclose(traversed.images[1, -1], model.decode(latent, [3])[0], atol=1e-5)

  mean, _ = model.encode(images[:3], labels[:3])
  sum_of = drawn(model, '--mode arithmetic --indices 0,1,2')
  np.testing.assert_allclose(sum_of.images[0, :3], images[:3])
  expected = model.decode((mean[0] - mean[1] + mean[2])[None], labels[2:3])
  np.testing.assert_allclose(sum_of.images[0, 3:], expected, atol=1e-5)
  means = [model.encode(images[labels == c], labels[labels == c])[0].mean(0) for c in (3, 8, 5)]
  of_classes = drawn(model, '--mode arithmetic --label 3,8,5')
  expected = model.decode((means[0] - means[1] + means[2])[None], [5])
  np.testing.assert_allclose(of_classes.images[0, 3:], expected, atol=1e-5)


def test_the_same_seed_is_the_same_picture(model):
  for mode in ('prior', 'style', 'posterior --indices 0,1'):
    first, again, other = (
      drawn(model, f'--mode {mode} --seed {seed}').images for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ('--label three', "'three'"),
    ('--temperature nan', 'temperature=nan'),
    ('--format gif', '--format=gif .* interpolate, traverse'),
    ('--mode posterior', '--mode=posterior .* images'),
    ('--mode posterior --images none.png', r'none\.png'),
    ('--mode posterior --indices 0,x', '--indices=0,x'),
    ('--mode posterior --indices 300', 'index 300 .* 0 to 299'),
    ('--mode posterior --indices 0 --images a.png', '--images and --indices'),
    ('--mode posterior --indices 0,1,2 --label 1,2', '2 classes .* 3 images'),
    ('--mode posterior --images a.png --split train', '--split .* --images'),
    ('--mode style --label 3', '--label .* --mode=style without images'),
    ('--mode interpolate', '--mode=interpolate .* 0 classes: expected 2'),
    ('--mode interpolate --label 3', '--mode=interpolate .* 1 classes: expected 2'),
    ('--mode interpolate --indices 1,2,3', '3 image'),
    ('--mode arithmetic --indices 1,2', '--mode=arithmetic .* 2 images: expected 3'),
    ('--mode arithmetic --label 1,2', '--mode=arithmetic .* 2 classes: expected 3'),
    ('--mode traverse --indices 1,2', '--mode=traverse .* 2 images: expected 1'),
    ('--mode manifold --dims 0,3', '--dims=0,3 .* 0 to 2'),
    ('--mode manifold --dims 1,1', '--dims=1,1'),
    ('--mode manifold --label 1,2', '--mode=manifold .* 2 classes: expected 0 or 1'),
    ('--num_draws 3', '--num_draws .* --mode=prior: .* posterior'),
    ('--split train', '--split .* --mode=prior'),
    ('--mode interpolate --label 3,8 --interpolation spherical', '--interpolation .* without'),
    ('--mode interpolate --indices 0,1 --seed 0', '--seed .* --indices'),
    ('--label ,', '--label is empty'),
    ('--mode traverse --split train', '--split .* without images'),
  ],
)
def test_mistakes_are_named(model, flags, message):
  with pytest.raises(InputError, match=message):
    drawn(model, flags)


def test_all_flags_of_a_mode_are_arguments_of_its_function():
  """Flags about labels, images to start from and the model itself apart."""
  apart = {'label', 'condition', 'images', 'indices', 'split', 'data_dir', 'guidance', 'steps'}
  for drawer in sampling.DRAWERS.values():
    assert set(drawer.flags) - apart <= set(inspect.signature(drawer.draw).parameters)


def test_an_unconditional_model(unconditional):
  assert drawn(unconditional, '').images.shape == (8, 8, 8, 8, 1)
  for flags in ('--mode manifold', '--mode reconstruct --indices 0,1', '--mode traverse'):
    assert np.isfinite(drawn(unconditional, flags).images).all()
  for flags in (
    '--label 3', '--mode style', '--mode style --indices 0', '--mode interpolate --label 3,8'
  ):  # fmt: skip
    with pytest.raises(InputError, match='unconditional'):
      drawn(unconditional, flags)


def test_files(model, tmp_path):
  style = drawn(model, '--mode style --num_images 2')
  drawings.write(style, tmp_path / 'style.npz')
  saved = np.load(tmp_path / 'style.npz')
  np.testing.assert_array_equal(saved['images'], style.images)
  decoded = model.decode(saved['latents'].reshape(20, -1), saved['labels'].ravel())
  np.testing.assert_allclose(decoded, style.images.reshape(decoded.shape), atol=1e-5)
  assert saved['column_names'].tolist() == [str(digit) for digit in range(10)]
  drawings.write(style, tmp_path / 'style.png')  # a figure, because of its names
  with Image.open(tmp_path / 'style.png') as figure:
    assert figure.width > 600
  drawings.write(drawn(model, '--label 3 --num_images 5'), tmp_path / 'three.png')
  with Image.open(tmp_path / 'three.png') as grid:
    assert grid.width % 30 == 0  # three tiles of 8 + 2 pixels across, enlarged
  drawings.write(drawn(model, '--label 3 --num_images 5'), tmp_path / 'three.npz')
  five = np.load(tmp_path / 'three.npz')  # without the empty tile of the second row
  assert (five['images'].shape, five['latents'].shape) == ((5, 8, 8, 1), (5, 3))
  assert five['labels'].tolist() == [3] * 5
  drawings.write(drawn(model, '--mode traverse'), tmp_path / 'z.gif')
  with Image.open(tmp_path / 'z.gif') as animation:
    assert animation.n_frames == 20  # eleven there, nine back
    assert animation.info['loop'] == 0
  assert len(list(tmp_path.iterdir())) == 5
  many = Drawing(np.broadcast_to(np.float32(0), (10, 100_000, 8, 8, 1)))
  with pytest.raises(InputError, match='1,000,000 images of 8×8'):
    drawings.write(many, tmp_path / 'many.png')


@pytest.mark.parametrize(
  'flags',
  [
    '--num_images 80',
    '--mode posterior --indices 0 --num_draws 800',
    '--mode style --num_images 80',
    '--mode interpolate --label 3,8 --num_images 80',
  ],
)
def test_too_many_for_one_picture_are_not_drawn(model, monkeypatch, flags):
  monkeypatch.setattr(drawings, 'MAX_PIXELS', 800 * 64 - 1)
  monkeypatch.setattr(LatentPrior, 'draw', lambda *_: pytest.fail('drawn'))
  monkeypatch.setattr(Model, 'vary', lambda *_: pytest.fail('drawn'))
  with pytest.raises(InputError, match=r'8(00|01|80) images of 8×8'):
    drawn(model, flags)


def test_of_many_classes_the_first_are_drawn(model, monkeypatch):
  monkeypatch.setattr(drawings, 'MAX_CLASSES', 4)
  drawing = drawings.samples(model)
  assert drawing.labels.tolist() == [[label] * 10 for label in range(4)]
  assert 'the first 4 of 10 classes' in drawing.title
  assert len(drawings.samples(model, range(6)).labels) == 6


def test_formats(tmp_path):
  assert sampling.format_of(None, None) == 'png'
  assert sampling.format_of('gif', None) == 'gif'
  assert sampling.format_of(None, tmp_path / 'x.NPZ') == 'npz'
  with pytest.raises(InputError, match=r'--output=.*\.png'):
    sampling.format_of(None, tmp_path / 'x')
  with pytest.raises(InputError, match=r'x\.gif.* --format=png'):
    sampling.format_of('png', tmp_path / 'x.gif')


def test_a_class_may_have_a_comma_in_its_name(model):
  names = ('1', '2', '1,2', 'a,b', 'a,b,c', *'56789')
  named = dataclasses.replace(model, class_names=names)
  for given, expected in (
    ('1,2', [2]),
    ('2,1', [1, 0]),
    ('a,b', [3]),
    ('a,b,c', [4]),
    ('1,a,b', [0, 3]),
    ('9,8', [9, 8]),
  ):
    assert sampling._labels(named, given.split(',')) == expected


def test_names_of_files_tell_requests_apart(model):
  flags = ['--label 3', '--label 3 --seed 1', '--label 3 --num_images 5', '', *MODES]
  flags += ['--mode reconstruct --indices 0,1,2,3', '--mode reconstruct --indices 0,1,2,9']
  flags += ['--mode reconstruct --images a/x.png', '--mode reconstruct --images b/x.png']
  for mode in ('traverse', 'arithmetic'):
    flags += [f'--mode {mode} --label 1,2,3', f'--mode {mode} --indices 1,2,3']
  flags += ['--mode reconstruct --indices 1,2,3', '--mode reconstruct --indices 1,2,3 --label 1']
  flags += ['--label 3 --prior model', *(f'--label {",".join("7" * n)}' for n in (100, 101))]
  names = [sampling.file_name(request(text), model) for text in flags]
  assert len(set(names)) == len(names)
  assert names[0] == '3-seed0-fitted_prior.png'
  assert 'reconstruct-i1-2-3.png' in names
  assert max(map(len, names)) < 150
  asked = dataclasses.replace(model, asked_step=4290)
  assert sampling.file_name(request('--label 3'), asked) == '3-seed0-fitted_prior-step4290.png'
  hostile = Request(label=['../../x y'], mode='manifold', prior='model')
  assert sampling.file_name(hostile, model) == 'manifold-.._.._x_y-model_prior.png'


def test_a_run_that_moved(tiny_run, tmp_path, monkeypatch):
  shutil.copytree(tiny_run, tmp_path / 'else where' / 'ü')
  monkeypatch.chdir(tmp_path)
  model = cvae_jax.load('else where/ü')
  assert str(model.folder) == 'else where/ü'


def test_names_that_are_numbers_of_other_classes_are_shown_with_their_own(model, capsys, tmp_path):
  named = dataclasses.replace(model, class_names=(*'0213456', '10', 'cat', '9'))
  one = drawn(named, '--label 1 --num_images 1')
  assert one.title.startswith("Samples of '1' (class 2), z ~ ")
  assert set(one.labels.ravel()) == {2}
  rows = ('0', "'2' (class 1)", "'1' (class 2)", '3')
  assert drawn(named, '--num_images 1').row_names[:4] == rows
  assert drawn(named, '--mode style --num_images 1').column_names[-3:] == (
    "'10' (class 7)", 'cat', '9'
  )  # fmt: skip
  assert drawn(named, '--mode interpolate --label 2,cat').title.startswith(
    "From '2' (class 1) to cat"
  )
  assert "'10' (class 7)" in drawn(named, '--mode traverse --label 7').title  # no name is 7


def test_a_class_that_no_font_shows_is_called_by_its_number_in_pictures(model, capsys, tmp_path):
  nothing = '\U0003fffd'  # no character
  named = dataclasses.replace(model, class_names=(*'012345678', nothing))
  drawing = drawn(named, '--num_images 1')
  drawings.write(drawing, tmp_path / 'all.png', named.class_names)
  assert f'class 9 is {nothing}' in capsys.readouterr().out
  drawings.write(drawing, tmp_path / 'all.npz', named.class_names)
  assert np.load(tmp_path / 'all.npz')['row_names'][9] == nothing
