"""The numbers of an evaluation beside those of the training, and the data it is made on."""

import dataclasses

import pytest

import cvae_jax
from cvae_jax.inference import bounds
from cvae_jax.runtime import keys
from cvae_jax.runtime.errors import InputError
from tiny import rows


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_the_numbers_of_the_log_are_those_of_the_evaluation(model, tiny_run):
  dataset = model.data().validation
  key = keys.stream(model.config.seed, 'validation')
  terms = bounds.elbo(model, dataset.images, dataset.labels, key)
  (logged,) = [row for row in rows(tiny_run) if int(row['step']) == model.step]
  for name, values in (
    ('negative_elbo', terms.negative_elbo),
    ('reconstruction', terms.reconstruction),
    ('kl', terms.kl.sum(axis=1)),
  ):
    assert values.mean() == pytest.approx(float(logged[f'validation/{name}']), rel=1e-5)


def test_data_of_other_classes_are_refused(model):
  other = dataclasses.replace(model, class_names=tuple('abcdefghij'))
  with pytest.raises(InputError, match=r'0, 1, 2.*--data_dir'):
    other.data()


def test_errors_about_data_name_the_flags_of_evaluate(model, tmp_path):
  config = model.config.copy_and_resolve_references()
  config.data.name = 'mnist'
  config.data.dir = str(tmp_path / 'nothing here.txt')
  (tmp_path / 'nothing here.txt').touch()
  with pytest.raises(InputError, match=r'nothing here\.txt') as raised:
    dataclasses.replace(model, config=config).data()
  assert '--config' not in str(raised.value)
