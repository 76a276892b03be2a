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
from tiny import set_fields, tiny_config

NAMES = tuple('abcdefghij')
PARTS = {'training images': 7, 'labels': 'f1'}


def test_every_field_is_in_the_table_with_its_help():
  fields = [name for name, _ in config_lib.fields(default.get_config())]
  assert sorted(fields) == sorted(config_lib.FIELDS)
  assert all(field.help for field in config_lib.FIELDS.values())


def test_choices_are_those_that_exist():
  known = {'digits', 'mnist', 'fashion_mnist', 'cifar10', 'celeba', 'binarized_mnist', 'folder'}
  assert set(config_lib.FIELDS['data.name'].rule.choices) == known
  for name in config_lib.FIELDS['likelihood'].rule.choices:
    likelihoods.build(tiny_config(likelihood=name))
  for name in config_lib.FIELDS['beta_schedule'].rule.choices:
    schedules.beta_schedule(name, 1.0, 0, 1, 10, 2)
  assert set(config_lib.FIELDS['model.activation'].rule.choices) == set(blocks.ACTIVATIONS)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('batch_size', 0, 'batch_size=0 is not an integer, 1 or more'),
    ('batch_size', 1.5, 'batch_size=1.5 is not an integer'),
    ('batch_size', True, 'batch_size=True is not an integer'),
    ('beta', -1.0, r'beta=-1.0 is not a number, 0 or more'),
    ('beta', float('nan'), 'beta=nan is not a number'),
    ('beta_schedule', 'cylical', r"not one of: constant, .* Did you mean 'cyclical'\?"),
    ('latent_dim', 0, 'latent_dim=0'),
    ('seed', 2**32, 'seed=4294967296 is not an integer, 0 to 4294967295'),
    ('precision', 'float16', "precision='float16' is not one of: float32, bfloat16"),
    ('ema_decay', 1.0, 'ema_decay=1.0 is not a number, 0 or more, less than 1'),
    ('name', '../evil', 'a name that can be that of a folder'),
    ('sigma', 0, 'sigma=0.0 is not a number above 0'),
    ('model__channels', (), r'model.channels=\(\) is not a tuple'),
    ('model__groups', 3, r'model.groups=3 does not divide .* Choose one of: 1, 2, 4'),
    ('data__image_size', 4, 'an integer, 8 to 256'),
    ('latent_dim', 10**9, 'latent_dim=1000000000 is not an integer, 1 to 65536'),
    ('num_epochs', 10**30, 'is not an integer, 1 or more'),
    ('model__channels', (10**9,), 'integers from 1 to 65536'),
    ('model__channels', (8, 8, 8, 8), 'halves the image 4 times, more than data.image_size=8'),
    ('data__channels', 2, 'data.channels=2 is not 1 or 3'),
    ('data__num_classes', 0, r'conditional=True needs classes.* --config.conditional=False'),
    ('data__pixel_range', 'symmetric', r"likelihood='bernoulli' needs pixels in \[0, 1\]"),
    ('data__augment__flip_probability', 1.5, 'is not a number from 0 to 1'),
    ('data__augment__rotation', 400.0, 'is not a number from 0 to 180'),
    ('model__dropout', 1.0, 'is not a number, 0 or more, less than 1'),
    ('charbonnier_epsilon', 1e-320, 'is not a number from 1e-06 to 1'),
    ('beta_delay_epochs', 1e300, 'is not a number from 0 to 1e'),
    ('num_importance_samples', 0, 'is not an integer, 1'),
    ('optimizer', 'adamww', "Did you mean 'adamw'"),
  ],
)
def test_wrong_values_are_named(field, value, message):
  config = tiny_config()
  with config.unlocked(), config.ignore_type():
    set_fields(config, {field: value})
  with pytest.raises(InputError, match=message):
    config_lib.check(config)


def test_free_bits_and_importance_samples_exclude_each_other():
  config_lib.check(tiny_config(free_bits=0.5))
  config_lib.check(tiny_config(num_importance_samples=5))
  with pytest.raises(InputError, match='free_bits=0 or num_importance_samples=1'):
    config_lib.check(tiny_config(free_bits=0.5, num_importance_samples=5))


def test_the_dense_layer_of_conv_is_normalized_too():
  with pytest.raises(InputError, match=r'model.hidden_dim=250. Choose one of: 1, 2'):
    config_lib.check(tiny_config(model__name='conv', model__groups=4, model__hidden_dim=250))
  config_lib.check(tiny_config(model__groups=4, model__hidden_dim=250))


def test_a_learned_sigma_must_begin_where_it_can_be_learned():
  with pytest.raises(InputError, match=r'sigma=0.0001 is less than .* can learn'):
    config_lib.check(tiny_config(likelihood='gaussian_learned', sigma=1e-4))
  config_lib.check(tiny_config(likelihood='gaussian', sigma=1e-4))


def test_an_mlp_halves_nothing():
  config_lib.check(tiny_config(model__name='mlp', model__channels=(8, 8, 8, 8)))


def test_groups_do_not_matter_to_a_batch_norm():
  config_lib.check(tiny_config(model__groups=3, model__norm='batch'))


def test_unknown_and_missing_fields_are_named():
  config = tiny_config()
  with config.unlocked():
    config.betaa = 4
  with pytest.raises(InputError, match=r"'betaa'.* Did you mean 'beta'"):
    config_lib.check(config)
  config = tiny_config()
  with config.unlocked():
    del config.sigma
  with pytest.raises(InputError, match=r'lacks the field.* sigma'):
    config_lib.check(config)


def test_saved_configs_come_back_the_same(tmp_path):
  config = tiny_config(data__dir='somewhere/ü')
  config_lib.save(tmp_path, SavedConfig(config, NAMES, 'f00d', PARTS))
  saved = config_lib.read(tmp_path)
  assert saved.class_names == NAMES
  assert (saved.data_fingerprint, saved.data_parts) == ('f00d', PARTS)
  assert saved.config.to_dict() == config.to_dict()
  assert config_lib.differences(saved.config, config) == []


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{', 'is no JSON'),
    ('[]', 'not what this version writes'),
    ('{"class_names": ["a"], "config": {"data.x": 1}}', 'not what this version writes'),
    ('{"format": 99, "cvae_jax": "7.0"}', 'format 99, written by cvae_jax 7.0'),
    ('[' * 100_000, 'is no JSON'),
    ('{"class_names": "abc", "config": {}}', 'class_names are no list of texts'),
    ('{"class_names": [], "config": {}, "data_parts": ["a"]}', 'data_parts are not numbers of'),
    (' ' * config_lib.MAX_BYTES + '{}', 'has more than 16,777,216 bytes'),
  ],
)
def test_broken_files_are_named(tmp_path, content, message):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(InputError, match=message):
    config_lib.read(tmp_path)


def test_a_file_with_a_wrong_value_is_named(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), NAMES, 'f00d', PARTS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  content['config']['latent_dim'] = -1
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r'config.json: latent_dim=-1'):
    config_lib.read(tmp_path)


def test_a_file_of_a_newer_version_says_so(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), NAMES, 'f00d', PARTS))
  path = tmp_path / 'config.json'
  content = json.loads(path.read_text())
  content['cvae_jax'], content['config']['colour'] = '9.1', 'red'
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r"field 'colour'.* written by cvae_jax 9\.1; this is 0\."):
    config_lib.read(tmp_path)


def test_a_file_of_an_older_version_is_read_as_what_it_was(tmp_path):
  """Written by the first version, for configs/mnist.py; never to be written anew."""
  stored = ROOT / 'tests' / 'stored' / 'config_of_0.1.0_before_augmentation.json'
  shutil.copy(stored, tmp_path / 'config.json')
  assert config_lib.read(tmp_path).config.to_dict() == mnist.get_config().to_dict()


def test_classes_without_names_are_noticed(tmp_path):
  config_lib.save(tmp_path, SavedConfig(tiny_config(), ('a', 'b'), 'f00d', PARTS))
  with pytest.raises(InputError, match='names 2 classes, expected 10'):
    config_lib.read(tmp_path)


def test_no_file(tmp_path):
  with pytest.raises(InputError, match='no run folder'):
    config_lib.read(tmp_path / 'nowhere')


def changed(**changes):
  return [d.field for d in config_lib.differences(tiny_config(), tiny_config(**changes))]


def test_what_makes_a_run():
  assert changed(beta=4.0, seed=1, model__norm='batch') == ['beta', 'model.norm', 'seed']
  assert changed(log_every_steps=7, checkpoint_every_steps=1, data__dir='x', profile=True) == []


def test_the_number_of_epochs_is_free_where_no_schedule_depends_on_it():
  assert changed(num_epochs=9) == ['num_epochs']
  for schedule, expected in (('linear', []), ('cyclical', ['num_epochs'])):
    configs = [
      tiny_config(num_epochs=epochs, learning_rate_schedule='constant', beta_schedule=schedule)
      for epochs in (2, 9)
    ]
    assert [d.field for d in config_lib.differences(*configs)] == expected


def test_a_difference_reads_well():
  text = str(config_lib.differences(tiny_config(), tiny_config(beta=4.0))[0])
  assert text == 'beta is 1.0 there, 4.0 here'


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'prior': 'flow', 'latent_dim': 1}, "prior='flow' moves one half.*latent_dim=1. Give 2"),
    ({'prior': 'class_gaussian', 'conditional': False}, 'a Gaussian for each class, but cond'),
    ({'prior': 'vamp', 'model__norm': 'batch'}, 'changes from batch to batch. Set model.norm'),
    ({'prior': 'vamp', 'model__num_pseudo_inputs': 60_000}, '38,400,000 pixels to encode in every'),
    ({'prior': 'vampp'}, "prior='vampp' is not one of.*Did you mean 'vamp'"),
  ],
)
def test_priors_that_make_no_sense(changes, message):
  config_lib.check(tiny_config(prior='vamp'))
  config_lib.check(tiny_config(prior='flow', conditional=False))
  with pytest.raises(InputError, match=message):
    config_lib.check(tiny_config(**changes))
