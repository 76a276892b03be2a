"""A trained model: sampling, encoding, decoding, and the errors of wrong arguments."""

import dataclasses
import pickle
import re
import shutil
import types
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import special

import cvae_jax
import linear_gaussian
from cvae_jax.models import generation
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import loop, restoring
from tiny import make_best, task_of, tiny_config


@pytest.fixture(scope='module')
def run(tiny_run, tmp_path_factory):
  """The tiny run, but with its best validation at step 3 instead of the last."""
  workdir = tmp_path_factory.mktemp('runs') / 'tiny'
  shutil.copytree(tiny_run, workdir)
  make_best(workdir, 3)
  return workdir


@pytest.fixture(scope='module')
def model(run):
  return cvae_jax.load(run)


IMAGES = np.random.RandomState(0).rand(5, 8, 8, 1).astype('float32')
LABELS = [0, 3, 3, 9, 1]


def test_shapes_ranges_and_types(model):
  samples = model.sample(LABELS)
  mean, logvar = model.encode(IMAGES, LABELS)
  decoded = model.decode(mean, LABELS)
  reconstructed = model.reconstruct(IMAGES, LABELS)
  for images in (samples, decoded, reconstructed):
    assert isinstance(images, np.ndarray)
    assert images.shape == (5, 8, 8, 1)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
  assert mean.shape == logvar.shape == (5, 3)
  np.testing.assert_array_equal(decoded, reconstructed)


def test_weights_are_the_average_of_the_best_checkpoint(model, run):
  task = task_of(tiny_config())
  like = jax.jit(task.init)(jax.random.key(0))
  variables, step = restoring.restore_variables(run, 'best', tiny_config(), like)
  assert model.step == step == 3
  encode = jax.jit(partial(task.network.apply, train=False, method='encode'))
  mean, _ = encode(variables, IMAGES, np.array(LABELS))
  np.testing.assert_allclose(model.encode(IMAGES, LABELS)[0], mean, atol=1e-5)
  assert cvae_jax.load(run, checkpoint=2).step == 2
  assert cvae_jax.load(run / 'checkpoints' / '4').step == 4
  assert cvae_jax.load(str(run), checkpoint='last').step == 6


def test_a_seed_is_a_picture(model):
  np.testing.assert_array_equal(model.sample(LABELS, seed=1), model.sample(LABELS, seed=1))
  assert not np.allclose(model.sample(LABELS, seed=1), model.sample(LABELS, seed=2))
  # Another number of images leaves the first ones as they are.
  np.testing.assert_allclose(model.sample(LABELS[:2]), model.sample(LABELS)[:2], atol=1e-6)


def test_temperature_scales_the_latents(model):
  cold = model.sample([3, 3], temperature=0.0)
  np.testing.assert_allclose(cold[0], cold[1], atol=1e-6)
  np.testing.assert_allclose(cold, model.decode(np.zeros((2, 3)), [3, 3]), atol=1e-6)


def test_drawn_pixels_are_black_or_white(model):
  draws = model.sample(np.full(200, 3), draw=True)
  assert set(np.unique(draws)) == {0.0, 1.0}
  np.testing.assert_allclose(
    draws.mean(0), model.sample(np.full(200, 3)).mean(0), atol=4 * 0.5 / np.sqrt(200)
  )


def test_many_images_are_drawn_in_batches_of_one_shape(model):
  labels = np.arange(600) % 10
  together = model.sample(labels)
  assert together.shape == (600, 8, 8, 1)
  np.testing.assert_allclose(together[:5], model.sample(labels[:5]), atol=1e-6)
  assert model.sample([]).shape == (0, 8, 8, 1)
  compiled = generation.decode._cache_size()
  model.sample(np.arange(1000) % 10)
  assert generation.decode._cache_size() == compiled


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda m: m.sample([10]), 'label 10 .*0 to 9.*names'),
    (lambda m: m.encode(np.uint8(IMAGES > 0.5), LABELS), 'integers 0 and 1'),
    (lambda m: m.sample([-1]), 'label -1'),
    (lambda m: m.sample([0.5]), 'labels .*integers'),
    (lambda m: m.sample(3), 'labels are a single'),
    (lambda m: m.sample([3], temperature=-1.0), 'temperature=-1.0 .* 0 to 100'),
    (lambda m: m.sample([3], temperature=float('nan')), 'temperature=nan'),
    (lambda m: m.sample([3], seed=-1), 'seed=-1'),
    (lambda m: m.sample([3], seed=1.5), 'seed=1.5'),
    (lambda m: m.sample([3], temperature=1e300), r'temperature=1e\+300'),
    (lambda m: m.sample([3], temperature='a'), "temperature='a'"),
    (lambda m: m.decode(np.full((5, 3), np.nan), LABELS), 'latents .*finite'),
    (lambda m: m.decode(np.zeros((5, 3)), np.full((5, 10), np.nan)), 'labels .*finite'),
    (lambda m: m.encode(IMAGES[:, 0], LABELS), r'shape \(5, 8, 1, 1\), expected \[N, 8, 8, 1\]'),
    (lambda m: m.elbo(IMAGES), 'labels'),
    (lambda m: m.log_likelihood(IMAGES, LABELS, 0), 'num_samples=0'),
    (lambda m: m.classify(IMAGES * 2), '0 to 1'),
    (lambda m: m.encode(IMAGES, ['0', '3', 'x', '9', '1']), "'x'"),
    (lambda m: m.encode(IMAGES * 255, LABELS), '0 to 1'),
    (lambda m: m.encode(np.int16(IMAGES * 1000), LABELS), 'integers up to'),
    (lambda m: m.encode(IMAGES * np.nan, LABELS), '0 to 1'),
    (lambda m: m.encode(IMAGES, LABELS[:2]), 'labels .* 2 and 5'),
    (lambda m: m.encode(np.ma.masked_greater(IMAGES, 0.9), LABELS), 'images .* masked'),
    (lambda m: m.sample(np.ma.array([1, 2], mask=[0, 1])), 'labels have 1 masked'),
    (lambda m: m.sample([[1], [1, 2]]), 'labels are no array'),
    (lambda m: m.decode(np.zeros((5, 4)), LABELS), r'shape \(5, 4\), expected \[N, 3\]'),
  ],
)
def test_wrong_inputs_are_named(model, call, message):
  with pytest.raises(InputError, match=message):
    call(model)


def test_bytes_a_missing_axis_and_names_of_classes_are_read(model):
  pixels = np.rint(255 * IMAGES).astype(np.uint8)
  expected = model.encode(pixels / np.float32(255), LABELS)
  names = [model.class_names[label] for label in LABELS]
  for given in (pixels, pixels[..., 0], pixels.astype(int).tolist()):
    for labels in (names, np.array(LABELS, float), np.array(LABELS)[:, None]):
      np.testing.assert_array_equal(model.encode(given, labels), expected)
  is_bright = IMAGES > 0.5
  np.testing.assert_array_equal(
    model.encode(is_bright, LABELS), model.encode(np.float32(is_bright), LABELS)
  )


def test_bounds_of_a_model_with_a_known_evidence():
  prior = types.SimpleNamespace(check_exists=lambda: None, density=lambda prior: None)
  model = dataclasses.replace(linear_gaussian.model(), prior=prior)
  images = np.random.RandomState(0).randint(0, 256, (50, 3, 3, 1), np.uint8)
  labels = np.arange(50) % linear_gaussian.CLASSES
  exact = np.stack(
    [linear_gaussian.log_evidence(images, np.full(50, c)) for c in range(linear_gaussian.CLASSES)],
    axis=1,
  )
  own = exact[np.arange(50), labels]
  # The posterior is exact: importance weights have no variance, up to rounding.
  np.testing.assert_allclose(model.log_likelihood(images, labels, 10), own, rtol=1e-4)
  elbo, reconstruction, kl = model.elbo(images, labels)
  np.testing.assert_allclose(elbo, -reconstruction - kl, rtol=1e-6)
  assert abs(np.mean(elbo - own)) < 0.3
  np.testing.assert_array_equal(model.elbo(images / 255, labels).elbo, elbo)
  assert not np.array_equal(model.elbo(images, labels, seed=1).elbo, elbo)
  classes = model.classify(images)
  np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-9)
  np.testing.assert_allclose(classes, special.softmax(exact, axis=1), atol=0.2)


def test_a_model_can_be_pickled(model):
  copy = pickle.loads(pickle.dumps(model))
  np.testing.assert_array_equal(copy.sample([1, 2], seed=3), model.sample([1, 2], seed=3))
  np.testing.assert_array_equal(copy.restyle(np.ones((1, 3)), [2]), model.restyle([[1.0] * 3], [2]))
  np.testing.assert_array_equal(copy.encode(IMAGES, LABELS), model.encode(IMAGES, LABELS))


def test_a_name_of_shipped_weights_and_of_a_run_is_explained(run, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  cvae_jax.load('mnist')
  assert capsys.readouterr().out == ''
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'mnist').symlink_to(run)
  assert cvae_jax.load('mnist').folder == Path('shipped/mnist')
  assert 'runs/mnist' in capsys.readouterr().out


def test_a_model_is_equal_to_itself_alone(model):
  assert model == model
  assert model not in [dataclasses.replace(model)]
  assert {model: 'kept'}[model] == 'kept'


def test_nothing_to_interpolate(model):
  assert model.interpolate(IMAGES[:0], IMAGES[:0], [[], []]).shape == (0, 11, 8, 8, 1)


def test_labels_by_name_and_number(model):
  assert model.label('3') == model.label(3) == 3
  for text in ('12', 'three', '-1', '3.0', '', '²', '9' * 5000):
    with pytest.raises(InputError, match=re.escape(repr(text[:40])) + '.* 0, 1, 2'):
      model.label(text)


def test_labels_of_named_classes(model):
  named = dataclasses.replace(model, class_names=('T-shirt/top', 'Trouser'))
  assert named.label('trouser') == named.label('1') == 1
  with pytest.raises(
    InputError, match=r"0 \(T-shirt/top\), 1 \(Trouser\)\. Did you mean 'Trouser'"
  ):
    named.label('trousers')


def test_a_path_that_is_no_run_is_named(tmp_path):
  with pytest.raises(InputError, match=str(tmp_path)):
    cvae_jax.load(tmp_path)


def test_a_checkpoint_needs_no_other_choice(run):
  with pytest.raises(InputError, match=r"checkpoints/4 .*checkpoint='last'"):
    cvae_jax.load(run / 'checkpoints' / '4', 'last')


@pytest.fixture(scope='module')
def unconditional(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'unconditional'
  changes = {'conditional': False, 'likelihood': 'gaussian_learned'}
  loop.train(tiny_config(num_epochs=1, **changes), workdir)
  return cvae_jax.load(workdir)


def test_an_unconditional_model_takes_no_labels(unconditional):
  samples = unconditional.sample(num_images=5, seed=1)
  assert samples.shape == (5, 8, 8, 1)
  assert not np.allclose(samples[0], samples[1])
  mean, _ = unconditional.encode(samples)
  np.testing.assert_allclose(
    unconditional.decode(mean), unconditional.reconstruct(samples), atol=1e-6
  )
  draws = unconditional.sample(num_images=5, seed=1, draw=True)
  assert np.abs(draws - samples).mean() > 0.02  # σ begins at 0.5


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda m: m.sample([3]), 'unconditional'),
    (lambda m: m.sample(), 'num_images'),
    (lambda m: m.sample(num_images=-1), 'num_images=-1'),
    (lambda m: m.encode(np.zeros((1, 8, 8, 1)), [3]), 'unconditional'),
    (lambda m: m.label('3'), "'3'"),
  ],
)
def test_an_unconditional_model_refuses_labels_and_wrong_counts(unconditional, call, message):
  with pytest.raises(InputError, match=message):
    call(unconditional)


def test_a_conditional_model_needs_labels(model):
  for call in (
    lambda: model.sample(),
    lambda: model.sample(num_images=3),
    lambda: model.encode(IMAGES),
  ):
    with pytest.raises(InputError, match='labels'):
      call()


def test_mixtures_lie_between_classes(model):
  latents = np.random.RandomState(0).randn(2, 3)
  classes = np.eye(10, dtype=np.float32)
  np.testing.assert_allclose(
    model.decode(latents, classes[[3, 8]]), model.decode(latents, [3, 8]), atol=1e-6
  )
  between = model.decode(latents, (classes[[3, 3]] + classes[[8, 8]]) / 2)
  assert not np.allclose(between, model.decode(latents, [3, 3]), atol=1e-5)
  with pytest.raises(InputError, match='labels have shape'):
    model.decode(latents, np.ones((2, 9), np.float32))
  with pytest.raises(InputError, match='labels have shape'):
    model.encode(IMAGES, classes[LABELS])  # an image is of one class


def test_variations_are_draws_from_the_posterior(model):
  mean, logvar = model.encode(IMAGES, LABELS)
  varied = model.vary(IMAGES, LABELS, num_draws=4, seed=2)
  assert varied.shape == (5, 4, 8, 8, 1)
  own_keys = keys.per_example(keys.stream(2, 'posterior'), np.arange(20))
  noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(own_keys).reshape(5, 4, 3)
  expected = model.decode(mean + np.exp(0.5 * logvar) * noise[:, 1], LABELS)
  np.testing.assert_allclose(varied[:, 1], expected, atol=1e-5)
  with pytest.raises(InputError, match='num_draws=0'):
    model.vary(IMAGES, LABELS, num_draws=0)


def test_interpolation_begins_and_ends_at_reconstructions(model):
  for method in ('linear', 'spherical'):
    path = model.interpolate(IMAGES[:2], IMAGES[2:4], ([0, 3], [3, 9]), 5, method)
    assert path.shape == (2, 5, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], model.reconstruct(IMAGES[:2], [0, 3]), atol=1e-5)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(IMAGES[2:4], [3, 9]), atol=1e-5)
  with pytest.raises(
    InputError, match=r"'sperical' is not one of: linear, spherical\..*'spherical"
  ):
    model.interpolate(IMAGES[:2], IMAGES[2:4], ([0, 3], [3, 9]), method='sperical')
  with pytest.raises(InputError, match=r'2 images .* 3'):
    model.interpolate(IMAGES[:2], IMAGES[2:], ([0, 3], [3, 9, 1]))


def test_the_latents_of_a_sample(model):
  for prior in (None, 'model'):
    latents = model.draw_latents(LABELS, temperature=0.5, seed=3, prior=prior)
    expected = model.sample(LABELS, 0.5, 3, prior=prior)
    np.testing.assert_allclose(model.decode(latents, LABELS), expected, atol=1e-6)
  own = model.draw_latents(np.zeros(4000, int), prior='model')
  assert own.std() == pytest.approx(1, abs=0.03)


def test_the_data_of_a_model(model):
  data = model.data()
  assert [len(split.labels) for split in data] == [100, 50, 300]
  assert data.train.class_names == model.class_names


def test_other_images_than_in_training_are_noted(model, capsys):
  assert model.data() is not None
  assert capsys.readouterr().out == ''
  dataclasses.replace(model, data_fingerprint='other').data()
  assert capsys.readouterr().out.startswith('Note: ')
