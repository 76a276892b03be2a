"""Training from arrays in memory."""

import gzip

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import cvae_jax
from cvae_jax.config import named
from cvae_jax.runtime.errors import InputError, StoppedError
from cvae_jax.training import loop
from tiny import FIELDS

DIGITS = load_digits()
IMAGES = np.uint8(DIGITS.images[:160] * 15)  # [160, 8, 8]
LABELS = DIGITS.target[:160]
SHORT = {name.replace('__', '.'): value for name, value in FIELDS.items()} | {
  'data.max_examples': 0
}


def config(**fields):
  return cvae_jax.default_config(**SHORT | fields)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('fit') / 'run'


@pytest.fixture(scope='module')
def model(folder):
  return cvae_jax.fit(IMAGES, LABELS, config(), folder)


def weights(model):
  return jax.tree.leaves(model.variables)


def assert_same_weights(one, other):
  for a, b in zip(weights(one), weights(other), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_model_is_that_of_its_folder(model, folder):
  assert model.image_shape == (8, 8, 1)
  assert model.class_names == tuple('0123456789')
  assert model.folder == folder
  assert_same_weights(cvae_jax.load(folder), model)
  assert model.sample([3, 4]).shape == (2, 8, 8, 1)


def test_the_same_bits_as_from_files_and_in_any_order_and_type(model, tmp_path):
  held_out = IMAGES[:40] / 255, LABELS[:40].astype(str)  # floats, and texts that are those numbers
  order = np.random.RandomState(1).permutation(np.arange(40, 160))
  given = IMAGES[order][..., None] / np.float32(255), LABELS[order, None]
  fitted = cvae_jax.fit(
    *given, config(), tmp_path / 'fitted', validation=(held_out[0], LABELS[:40])
  )
  np.savez(
    tmp_path / 'file.npz',
    train_images=IMAGES[40:],
    train_labels=LABELS[40:],
    val_images=IMAGES[:40],
    val_labels=LABELS[:40],
    test_images=IMAGES[:9],
    test_labels=LABELS[:9],
  )
  of_file = config(**{'data.name': 'arrays', 'data.dir': str(tmp_path / 'file.npz')})
  loop.train(of_file, tmp_path / 'of_file')
  assert_same_weights(cvae_jax.load(tmp_path / 'of_file'), fitted)
  assert not np.array_equal(weights(fitted)[0], weights(model)[0])  # it held out others


@pytest.mark.slow
@pytest.mark.data('mnist')
def test_arrays_of_mnist_train_bit_for_bit_as_its_files(real_data, tmp_path):
  changes = {'num_epochs': 1, 'data.max_examples': 2000} | {
    name: SHORT[name] for name in ('model.name', 'model.norm', 'model.channels', 'model.groups')
  }
  mnist = named('mnist')
  mnist.update_from_flattened_dict(changes)
  images, labels = (
    np.frombuffer(
      gzip.decompress((real_data / f'train-{name}-ubyte.gz').read_bytes())[begin:], np.uint8
    )
    for name, begin in (('images-idx3', 16), ('labels-idx1', 8))
  )
  fitted = cvae_jax.fit(
    images.reshape(-1, 28, 28), labels, mnist, tmp_path / 'fitted', validation=None
  )
  mnist.data.dir = str(real_data)
  loop.train(mnist, tmp_path / 'of_files')
  assert_same_weights(fitted, cvae_jax.load(tmp_path / 'of_files'))


ANGLE = np.where(np.arange(160) % 4 == 0, np.nan, np.random.RandomState(0).randn(160))
TABLE = {
  'angle': ANGLE,
  'colour': np.array(['red', 'blue'])[LABELS % 2],
  'is_round': [None if label == 4 else bool(label in (0, 6, 8, 9)) for label in LABELS],
}
# What fits no array of NumPy's without pickling.
OF_FILE = TABLE | {
  'is_round': [{None: '?', True: 'yes', False: 'no'}[x] for x in TABLE['is_round']]
}


def rows_of(table, rows):
  return {name: [column[row] for row in rows] for name, column in table.items()}


def train_on_file(path, **arrays):
  """The model that `train.py` trains on an .npz of these arrays."""
  np.savez(path, **arrays)
  fields = {'data.name': 'arrays', 'data.dir': str(path), 'data.validation_examples': 0}
  given = config(**{'data.conditions': 'all', 'data.num_classes': 0} | fields)
  loop.train(given, path.with_suffix(''))
  return cvae_jax.load(path.with_suffix(''))


@pytest.mark.slow
def test_conditions_train_as_the_same_arrays_in_a_file(tmp_path):
  order = np.random.RandomState(1).permutation(160)
  fitted = cvae_jax.fit(
    IMAGES[order], config=config(), workdir=tmp_path / 'fitted', conditions=rows_of(TABLE, order)
  )
  assert fitted.config.data.conditions == 'all'
  assert fitted.config.data.columns == ('number?', 'category:2', 'flag?')
  of_file = train_on_file(tmp_path / 'file.npz', images=IMAGES, **OF_FILE)
  assert_same_weights_beside_a_test_split(fitted, of_file, tmp_path)


def assert_same_weights_beside_a_test_split(fitted, of_file, folder):
  """A file without test images holds some out, so they train on fewer: give it its own."""
  assert not np.array_equal(weights(fitted)[0], weights(of_file)[0])
  arrays = {f'train_{name}': array for name, array in {'images': IMAGES, **OF_FILE}.items()}
  arrays |= {f'test_{name}': array[:20] for name, array in {'images': IMAGES, **OF_FILE}.items()}
  assert_same_weights(fitted, train_on_file(folder / 'split.npz', **arrays))


@pytest.mark.slow
def test_chosen_conditions_and_a_validation_table(tmp_path):
  held_out, rest = range(40), range(40, 160)
  given = config(**{'data.conditions': 'colour,slant'})
  fitted = cvae_jax.fit(
    IMAGES[40:],
    config=given,
    workdir=tmp_path / 'fitted',
    conditions=rows_of(TABLE, rest),
    validation=(IMAGES[:40], rows_of(TABLE, held_out)),
  )
  assert fitted.config.data.conditions == 'colour,slant'
  assert fitted.config.data.columns == ('category:2', 'number')
  assert fitted.class_names == ('blue', 'red')
  assert given.data.columns == ()
  log = (tmp_path / 'fitted' / 'train.log').read_text()
  assert '120 training and 40 validation images' in log


def test_the_same_call_goes_on(model, tmp_path):
  with pytest.raises(StoppedError):
    cvae_jax.fit(IMAGES, LABELS, config(max_train_seconds=1e-9), tmp_path / 'run')
  resumed = cvae_jax.fit(IMAGES, LABELS, config(), tmp_path / 'run')
  assert_same_weights(resumed, model)


def test_other_arrays_are_refused(model, folder):
  for images, labels in ((IMAGES[:-1], LABELS[:-1]), (255 - IMAGES, LABELS), (IMAGES, 9 - LABELS)):
    with pytest.raises(InputError, match=r"workdir='.*run-2'"):
      cvae_jax.fit(images, labels, config(), folder)
  assert_same_weights(cvae_jax.fit(IMAGES, LABELS, config(), folder), model)


def test_without_labels_and_config(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(loop, 'train', lambda config, workdir, source: seen.append((config, workdir)))
  monkeypatch.setattr('cvae_jax.inference.fitting.load', lambda workdir: workdir)
  seen = []
  cvae_jax.fit(np.random.RandomState(0).rand(200, 12, 10, 4))
  ((given, workdir),) = seen
  assert str(workdir) == 'runs/fit'
  assert not given.conditional
  assert tuple(given.data.image_size) == (12, 10)
  assert given.data.channels == 4
  assert given.data.validation_examples == 0  # a tenth


def test_names_of_classes_and_a_fraction(tmp_path):
  names = np.array(['cat', 'dog'])[LABELS % 2]
  model = cvae_jax.fit(IMAGES, names, config(), tmp_path / 'run', validation=0.25)
  assert model.class_names == ('cat', 'dog')
  assert model.config.data.validation_examples == 40
  # A quarter of each class.
  log = (tmp_path / 'run' / 'train.log').read_text()
  assert 'cat 60/20/0, dog 60/20/0' in log
  assert model.elbo(IMAGES, names).elbo.shape == (160,)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'labels': LABELS[:-1]}, '160.*159'),
    ({'images': IMAGES * 1.0}, 'floats from 0 to .*255'),
    ({'images': np.ma.masked_greater(IMAGES, 9)}, 'masked'),
    ({'labels': np.ma.masked_equal(LABELS, 2)}, 'masked'),
    ({'labels': np.array([None] * 160)}, 'None'),
    ({'conditions': TABLE}, 'labels and conditions'),
    ({'labels': None, 'conditions': {'a': ANGLE[1:]}}, r"'a' have shape \[159\].*\[160\]"),
    ({'labels': None, 'conditions': {'a': np.ma.masked_equal(LABELS, 2)}}, 'masked'),
    ({'labels': None, 'conditions': {'a': [None] * 160}}, "'a' is empty"),
    ({'labels': None, 'conditions': {'a': np.full(160, 0.5)}}, "'a' has one value"),
    ({'labels': None, 'conditions': {'a': [[1, 2]] * 160}}, r'\[160, 2\]'),
    ({'labels': None, 'conditions': {'a': [np.inf, *ANGLE[1:]]}}, "'inf'"),
    ({'labels': None, 'conditions': {3: ANGLE}}, 'column 3'),
    ({'labels': None, 'conditions': {}}, r"train conditions are '\{\}'"),
    ({'labels': None, 'conditions': ANGLE}, 'columns by their names'),
    ({'labels': None, 'conditions': TABLE, 'validation': (IMAGES, LABELS)}, 'validation cond'),
    (
      {'labels': None, 'conditions': TABLE, 'validation': (IMAGES, {'angle': ANGLE})},
      "validation images have no 'colour'",
    ),
    (
      {
        'labels': None,
        'conditions': {'angle': ANGLE},
        'config': config(**{'data.conditions': 'angel'}),
      },
      "'angel'.*Did you mean 'angle'",
    ),
    ({'validation': 1.5}, 'validation.*1.5'),
    ({'validation': IMAGES}, 'validation'),
    ({'validation': (IMAGES[:, :7], LABELS)}, 'validation images'),
    ({'validation': (IMAGES, np.full(160, 11))}, "'11'"),
    ({'labels': np.zeros(160, int)}, 'class'),
    ({'config': config(batch_size=160)}, 'batch_size=160'),
    ({'config': {'beta': 4}}, 'dict.*ConfigDict'),
  ],
)
def test_what_cannot_be_fitted_is_named_and_leaves_nothing(tmp_path, arguments, message):
  given = {'images': IMAGES, 'labels': LABELS, 'config': config()} | arguments
  with pytest.raises(InputError, match=message):
    cvae_jax.fit(**given, workdir=tmp_path / 'run')
  assert not list(tmp_path.iterdir())


def test_a_workdir_is_a_path():
  with pytest.raises(InputError, match='workdir=3'):
    cvae_jax.fit(IMAGES, LABELS, config(), workdir=3)


def test_labels_that_are_other_numbers_than_their_classes(tmp_path, capsys):
  model = cvae_jax.fit(IMAGES, LABELS + 1, config(), tmp_path / 'run')
  assert 'labels 1 to 10 are the classes 0 to 9' in capsys.readouterr().out
  expected = model.elbo(IMAGES, LABELS).elbo
  np.testing.assert_array_equal(model.elbo(IMAGES, (LABELS + 1).astype(str)).elbo, expected)
  with pytest.raises(InputError, match=r'label 10 .*names as texts: 1, 2'):
    model.elbo(IMAGES, LABELS + 1)


def test_a_model_of_arrays_is_evaluated_on_images_that_it_has_not_seen(model, tmp_path, capsys):
  with pytest.raises(InputError, match=r'arrays in memory.*test_images'):
    model.data()
  given = {'train_images': IMAGES, 'train_labels': LABELS}
  np.savez(tmp_path / 'train.npz', **given)
  with pytest.raises(InputError, match=r'arrays in memory.*test_images'):
    model.data(str(tmp_path / 'train.npz'))
  test = {'test_images': 255 - IMAGES[:20], 'test_labels': LABELS[:20]}
  np.savez(tmp_path / 'whole.npz', **given, **test)
  assert len(model.data(str(tmp_path / 'whole.npz')).test.labels) == 20
  assert capsys.readouterr().out == ''  # the same images are held out: no note


def test_channels_to_show_may_go_with_the_arrays(tmp_path):
  shown = config(**{'data.shown_channels': (3, 1, 0), 'num_epochs': 1})
  images = np.repeat(IMAGES[..., None], 5, axis=-1)
  assert cvae_jax.fit(images, None, shown, tmp_path / 'run').image_shape == (8, 8, 5)


def test_default_config_takes_fields():
  given = cvae_jax.default_config(beta=4, **{'model.name': 'mlp', 'model.channels': [8, 4]})
  assert (given.beta, given.model.name, given.model.channels) == (4, 'mlp', (8, 4))
  assert given.latent_dim == cvae_jax.default_config().latent_dim
  for fields, message in (
    ({'bata': 4}, "'bata'.*beta"),
    ({'model.nam': 'mlp'}, 'model.name'),
    ({'latent_dim': 0.5}, 'latent_dim=0.5'),
    ({'model.name': 'mlpp'}, "'mlp'"),
  ):
    with pytest.raises(InputError, match=message):
      cvae_jax.default_config(**fields)
