"""Checks, files and comparison of configs."""

import json
import shutil

import pytest

from configs import default, mnist
from conftest import ROOT
from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.models import blocks, likelihoods
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks import schedules
from tiny import RESNET, set_fields, tiny_config

NAMES = tuple('abcdefghij')
PARTS = {'training images': 7, 'labels': 'f1'}


def test_every_field_is_in_the_table_with_its_help():
  fields = [name for name, _ in config_lib.fields(default.get_config())]
  assert sorted(fields) == sorted(config_lib.FIELDS)
  assert all(field.help for field in config_lib.FIELDS.values())


def test_choices_are_those_that_exist():
  known = {'digits', 'mnist', 'fashion_mnist', 'cifar10', 'celeba', 'binarized_mnist', 'folder'}
  known |= {'arrays', 'idx', 'parquet'}
  assert set(config_lib.FIELDS['data.name'].rule.choices) == known
  for name in config_lib.FIELDS['likelihood'].rule.choices:
    likelihoods.build(tiny_config(likelihood=name))
  for name in config_lib.FIELDS['beta_schedule'].rule.choices:
    schedules.beta_schedule(name, 1.0, 0, 1, 10, 2)
  assert set(config_lib.FIELDS['model.activation'].rule.choices) == set(blocks.ACTIVATIONS)


@pytest.mark.parametrize(
  ('field', 'value', 'named'),
  [
    ('batch_size', 0, ['batch_size=0 ']),
    ('batch_size', 1.5, ['batch_size=1.5']),
    ('batch_size', True, ['batch_size=True']),
    ('beta', -1.0, ['beta=-1.0']),
    ('beta', float('nan'), ['beta=nan']),
    ('beta_schedule', 'cylical', ["beta_schedule='cylical'", 'constant', "'cyclical'"]),
    ('latent_dim', 0, ['latent_dim=0 ']),
    ('seed', 2**32, ['seed=4294967296', '4294967295']),
    ('precision', 'float16', ["precision='float16'", 'float32, bfloat16']),
    ('ema_decay', 1.0, ['ema_decay=1.0']),
    ('name', '../evil', ["name='../evil'"]),
    ('sigma', 0, ['sigma=0.0']),
    ('model__channels', (), ['model.channels=()']),
    ('model__groups', 3, ['model.groups=3', '1, 2, 4']),
    ('data__image_size', 4, ['data.image_size=4', '8', '256']),
    ('latent_dim', 10**9, ['latent_dim=1000000000', '65536']),
    ('num_epochs', 10**30, [f'num_epochs={10**30}']),
    ('model__channels', (10**9,), ['model.channels=(1000000000,)', '65536']),
    ('model__channels', (8, 8, 8, 8), ['model.channels', '4', 'data.image_size=8']),
    ('data__image_size', (64, 300), ['data.image_size=(64, 300)', 'height,width']),
    ('data__image_size', (64, 48, 3), ['data.image_size=(64, 48, 3)']),
    ('data__image_size', '64x48', ["data.image_size='64x48'"]),
    ('data__channels', 17, ['data.channels=17', '1 to 16']),
    ('data__shown_channels', (0, 1), ['data.shown_channels=(0, 1)', 'three']),
    ('data__shown_channels', (0, 1, 2), ['data.shown_channels=(0, 1, 2)', 'data.channels=1']),
    ('data__alpha', 'keep', ["data.alpha='keep'", 'data.channels=1']),
    ('data__pixel_range', 'symmetric', ["'symmetric'", "likelihood='bernoulli'"]),
    ('data__augment__flip_probability', 1.5, ['data.augment.flip_probability=1.5']),
    ('data__augment__rotation', 400.0, ['data.augment.rotation=400.0', '180']),
    ('model__dropout', 1.0, ['model.dropout=1.0']),
    ('charbonnier_epsilon', 1e-320, ['charbonnier_epsilon=1e-320']),
    ('beta_delay_epochs', 1e300, ['beta_delay_epochs=1e+300']),
    ('num_importance_samples', 0, ['num_importance_samples=0 ']),
    ('optimizer', 'adamww', ["optimizer='adamww'", "'adamw'"]),
  ],
)
def test_wrong_values_are_named(field, value, named):
  config = tiny_config(**RESNET)
  with config.unlocked(), config.ignore_type():
    set_fields(config, {field: value})
  message = refused(config)
  assert all(text in message for text in named), message


def refused(config):
  with pytest.raises(InputError) as raised:
    config_lib.check(config)
  return str(raised.value)


@pytest.mark.parametrize(
  ('accepted', 'changes', 'named'),
  [
    # Latents that are a map.
    (
      {'latent_dim': 2 * 2 * 3, 'model__latent_channels': 3, 'conditional': False},
      {'latent_dim': 13},
      ['model.latent_channels=3', '2×2×3 = 12', 'latent_dim=13'],
    ),
    (
      {'latent_dim': 12, 'model__latent_channels': 3, 'conditional': False},
      {'conditional': True},
      ['model.latent_channels=3', 'conditional=False'],
    ),
    (
      {'latent_dim': 12, 'model__latent_channels': 3, 'conditional': False},
      {'model__name': 'conv'},
      ['model.latent_channels=3', 'model.name=resnet', "'conv'"],
    ),
    # The perceptual term.
    (
      {'objective': 'autoencoder'},
      {'perceptual_weight': 0.5},
      ['perceptual_weight=0.5', "'digits' at 8×8×1", '28×28×1'],
    ),
    ({}, {'perceptual_weight': 0.5}, ['perceptual_weight=0.5', "objective='vae'"]),
    (
      {'objective': 'dae'},
      {'perceptual_weight': 0.5},
      ['perceptual_weight=0.5', "objective='dae'"],
    ),
    ({'objective': 'autoencoder'}, {'free_bits': 0.5}, ['free_bits=0.5', "'autoencoder'"]),
    (
      {'objective': 'autoencoder'},
      {'num_importance_samples': 2},
      ['num_importance_samples=2', "'autoencoder'"],
    ),
    ({'free_bits': 0.5}, {'num_importance_samples': 5}, ['free_bits', 'num_importance_samples']),
    ({'num_importance_samples': 5}, {'free_bits': 0.5}, ['free_bits', 'num_importance_samples']),
    # The dense layer of conv is normalized too.
    (
      {'model__groups': 4, 'model__hidden_dim': 250},
      {'model__name': 'conv'},
      ['model.groups=4', 'model.hidden_dim=250', '1, 2'],
    ),
    # A learned sigma cannot start below what it can learn.
    (
      {'likelihood': 'gaussian', 'sigma': 1e-4},
      {'likelihood': 'gaussian_learned'},
      ['sigma=0.0001', "likelihood='gaussian_learned'"],
    ),
    # An mlp does not halve the image.
    (
      {'model__name': 'mlp', 'model__channels': (8, 8, 8, 8)},
      {'model__name': 'resnet'},
      ['model.channels', 'data.image_size=8'],
    ),
    ({}, {'data__image_size': (64, 8), 'model__channels': (8,) * 4}, ['data.image_size=(64, 8)']),
    ({'model__groups': 3, 'model__norm': 'batch'}, {'model__norm': 'group'}, ['model.groups=3']),
    ({'prior': 'flow', 'conditional': False}, {'latent_dim': 1}, ["prior='flow'", 'latent_dim=1']),
    (
      {'prior': 'class_gaussian'},
      {'conditional': False},
      ["prior='class_gaussian'", 'conditional=False'],
    ),
    ({'prior': 'vamp'}, {'model__norm': 'batch'}, ["prior='vamp'", 'model.norm']),
    ({'prior': 'vamp'}, {'model__num_pseudo_inputs': 60_000}, ['model.num_pseudo_inputs=60000']),
    ({'prior': 'vamp'}, {'prior': 'vampp'}, ["prior='vampp'", "'vamp'"]),
  ],
)
def test_fields_that_do_not_fit_each_other_are_named(accepted, changes, named):
  config_lib.check(tiny_config(**(RESNET | accepted)))
  message = refused(tiny_config(**(RESNET | accepted | changes)))
  assert all(text in message for text in named), message


def test_unknown_and_missing_fields_are_named():
  config = tiny_config()
  with config.unlocked():
    config.betaa = 4
  message = refused(config)
  assert "'betaa'" in message
  assert "'beta'" in message
  config = tiny_config()
  with config.unlocked():
    del config.sigma
  assert 'sigma' in refused(config)


@pytest.mark.parametrize('size', [8, (64, 48)])
def test_saved_configs_come_back_the_same(tmp_path, size):
  config = tiny_config(data__dir=str(tmp_path / 'ü'), data__image_size=size)
  config_lib.save(tmp_path, SavedConfig(config, NAMES, 'f00d', PARTS))
  saved = config_lib.read(tmp_path)
  assert saved.class_names == NAMES
  assert (saved.data_fingerprint, saved.data_parts) == ('f00d', PARTS)
  assert saved.config.to_dict() == config.to_dict()
  assert config_lib.differences(saved.config, config) == []


def test_an_image_size_is_one_number_or_two(tmp_path):
  config = tiny_config(data__image_size=(64, 48), data__channels=2)
  assert config_lib.image_shape(config.data) == (64, 48, 2)
  config_lib.save(tmp_path, SavedConfig(config, NAMES, 'f00d', PARTS))
  saved = config_lib.read(tmp_path).config
  saved.data.image_size = 9
  assert config_lib.height_and_width(saved.data) == (9, 9)
  saved.data.image_size = (9, 10)
  assert config_lib.height_and_width(saved.data) == (9, 10)


@pytest.mark.parametrize(
  ('channels', 'chosen', 'shown'),
  [
    (1, (), (0,)),
    (2, (), (0, 1, 1)),
    (3, (), (0, 1, 2)),
    (9, (), (0, 1, 2)),
    (9, (8, 0, 4), (8, 0, 4)),
  ],
)
def test_three_channels_are_shown_as_rgb_or_one_as_grey(channels, chosen, shown):
  config = tiny_config(data__channels=channels, data__shown_channels=chosen)
  config_lib.check(config)
  assert config_lib.shown_channels(config.data) == shown


def test_a_saved_folder_of_data_is_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config_lib.save(tmp_path, SavedConfig(tiny_config(data__dir='data'), NAMES, None, None))
  assert config_lib.read(tmp_path).config.data.dir == str(tmp_path / 'data')


def test_a_number_of_classes_left_to_the_data_is_that_of_the_saved_run():
  saved, given = tiny_config(data__num_classes=7), tiny_config(data__num_classes=0)
  assert config_lib.differences(saved, given) == []
  assert [each.field for each in config_lib.differences(saved, tiny_config())] == [
    'data.num_classes'
  ]
  assert config_lib.with_data(given, 7).data.num_classes == 7
  assert given.data.num_classes == 0


def test_names_of_classes_are_composed(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), ('cafe\u0301', *'123456789'), None, None))
  assert config_lib.read(tmp_path).class_names[0] == 'caf\xe9'


@pytest.mark.parametrize(
  ('content', 'named'),
  [
    ('{', 'JSON'),
    ('[]', 'list'),
    ('{"class_names": ["a"], "config": {"data.x": 1}}', 'data'),
    ('{"format": 99, "cvae_jax": "7.0"}', 'format 99.*7.0'),
    ('[' * 100_000, 'JSON'),
    ('{"class_names": "abc", "config": {}}', 'class_names'),
    ('{"class_names": [], "config": {}, "data_parts": ["a"]}', 'data_parts'),
    (' ' * config_lib.MAX_BYTES + '{}', '16,777,216'),
  ],
)
def test_broken_files_are_named(tmp_path, content, named):
  path = tmp_path / 'config.json'
  path.write_text(content)
  with pytest.raises(InputError, match=f'{path}.*{named}'):
    config_lib.read(tmp_path)


def test_a_file_with_a_wrong_value_is_named(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), NAMES, 'f00d', PARTS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  content['config']['latent_dim'] = -1
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r'config.json: latent_dim=-1'):
    config_lib.read(tmp_path)


def test_a_file_of_a_newer_version_is_named_with_it(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), NAMES, 'f00d', PARTS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  content['cvae_jax'], content['config']['colour'] = '9.1', 'red'
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r"'colour'.*9\.1.*0\."):
    config_lib.read(tmp_path)


def test_a_file_of_an_older_version_is_read_with_its_defaults(tmp_path):
  """The stored file is what the first version wrote for configs/mnist.py: never write it anew."""
  stored = ROOT / 'tests' / 'stored' / 'config_of_0.1.0_before_augmentation.json'
  shutil.copy(stored, tmp_path / 'config.json')
  assert config_lib.read(tmp_path).config.to_dict() == mnist.get_config().to_dict()


def test_names_that_an_earlier_version_kept_as_bytes_become_text(tmp_path):
  config = tiny_config(data__num_classes=3)
  config_lib.save(tmp_path, SavedConfig(config, ('caf\udce9', 'café', r'a\x'), None, None))
  assert config_lib.read(tmp_path).class_names == (r'caf\xe9', 'café', r'a\x')


def test_a_wrong_number_of_class_names_is_noticed(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), ('a', 'b'), 'f00d', PARTS))
  with pytest.raises(InputError, match=r'\b2\b.*\b10\b.*data.num_classes'):
    config_lib.read(tmp_path)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match='nowhere'):
    config_lib.read(tmp_path / 'nowhere')


def changed(**changes):
  return [d.field for d in config_lib.differences(tiny_config(), tiny_config(**changes))]


def test_a_run_is_another_with_other_fields_but_for_the_free_ones():
  assert changed(beta=4.0, seed=1, model__norm='batch') == ['beta', 'model.norm', 'seed']
  assert changed(log_every_steps=7, checkpoint_every_steps=1, data__dir='x', profile=True) == []


def test_the_number_of_epochs_is_free_if_no_schedule_depends_on_it():
  assert changed(num_epochs=9) == ['num_epochs']
  for schedule, expected in (('linear', []), ('cyclical', ['num_epochs'])):
    configs = [
      tiny_config(num_epochs=epochs, learning_rate_schedule='constant', beta_schedule=schedule)
      for epochs in (2, 9)
    ]
    assert [d.field for d in config_lib.differences(*configs)] == expected


def test_a_difference_names_field_and_values():
  text = str(config_lib.differences(tiny_config(), tiny_config(beta=4.0))[0])
  for named in ('beta', '1.0', '4.0'):
    assert named in text
