"""The functions that formats export: those of the model, deterministic in what they are given."""

import jax
import numpy as np
import pytest

import saved_models
from cvae_jax.exporting import checking, functions
from cvae_jax.models import priors
from cvae_jax.runtime.errors import InputError

ALMOST_ONE = np.float32(1 - 2**-24)


def functions_of(model):
  return {each.name: each for each in functions.functions_of(model)}


def prior_of(model, count=2000, seed=0):
  """The exported prior, with its noise and uniforms for `count` draws of every class in turn."""
  random = np.random.RandomState(seed)
  given = {
    'noise': random.randn(count, model.config.latent_dim),
    'uniform': random.random_sample(count),
    'conditions': checking.conditions(model, count),
  }
  function = functions_of(model)['prior']
  given = {each.name: given[each.name].astype(each.dtype) for each in function.inputs}
  (latents,) = jax.jit(function.call)(*given.values())
  return np.asarray(latents), given


@pytest.mark.parametrize(
  ('columns', 'changes'),
  [
    ((), {}),
    ((), {'conditional': False}),
    (saved_models.COLUMNS, {'likelihood': 'gaussian', 'data__channels': 3}),
    ((), {'likelihood': 'gaussian', 'data__pixel_range': 'symmetric'}),
  ],
)
def test_encoder_and_decoder_are_those_of_the_model(tmp_path, columns, changes):
  model = saved_models.save(tmp_path / 'model', columns=columns, **changes)
  random = np.random.RandomState(0)
  rows = model.conditioning.of(None, {}, 5) if columns else None
  labels = [0, 1, 2, 2, 1] if model.conditional and not columns else None
  images = random.random_sample((5, *model.image_shape)).astype(np.float32)
  latents = random.randn(5, 3).astype(np.float32)
  last = [np.int32(labels)] if labels else [rows.values] if columns else []
  exported = functions_of(model)
  for ours, theirs in zip(
    exported['encoder'].call(images, *last),
    model.encode(images, labels, conditions=rows),
    strict=True,
  ):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
  (ours,) = exported['decoder'].call(latents, *last)
  np.testing.assert_allclose(ours, model.decode(latents, labels, conditions=rows), atol=1e-5)
  names = [each.name for each in exported['decoder'].inputs]
  assert names == ['latents', 'conditions'][: 1 + model.conditional]


def test_a_standard_prior_is_the_noise(tmp_path):
  latents, given = prior_of(saved_models.save(tmp_path / 'model'))
  assert list(given) == ['noise', 'conditions']
  np.testing.assert_array_equal(latents, given['noise'])


def test_a_gaussian_of_each_class_shifts_and_scales_the_noise(tmp_path):
  model = saved_models.save(tmp_path / 'model', prior='class_gaussian')
  latents, given = prior_of(model)
  weights = jax.device_get(model.variables['params']['prior'])
  labels = given['conditions']
  expected = weights['mean'][labels] + np.exp(weights['logvar'][labels] / 2) * given['noise']
  np.testing.assert_allclose(latents, expected, rtol=1e-5, atol=1e-6)


def test_a_vamp_prior_takes_the_component_of_the_uniform(tmp_path):
  model = saved_models.save(tmp_path / 'model', prior='vamp', model__num_pseudo_inputs=4)
  function = functions_of(model)['prior']
  uniform = np.float32([0, 0.24, 0.26, 0.51, 0.76, ALMOST_ONE])
  noise, labels = np.zeros((6, 3), np.float32), np.full(6, 1, np.int32)
  (latents,) = function.call(noise, uniform, labels)
  inputs = model.variables['params']['prior']['inputs'][4:8]  # of class 1
  mean, _ = model.task.network.apply(
    model.variables, inputs, np.full(4, 1, np.int32), train=False, method='encode'
  )
  np.testing.assert_allclose(latents, np.asarray(mean)[[0, 0, 1, 2, 3, 3]], atol=1e-5)


def test_a_fitted_prior_is_taken_where_there_is_one(tmp_path):
  model = saved_models.save(tmp_path / 'model', fitted=True, prior='class_gaussian')
  fitted = jax.device_get(model.prior.fitted)
  function = functions_of(model)['prior']
  labels = np.int32([0, 0, 0, 1, 1, 2])
  uniform = np.float32([0.29, 0.31, ALMOST_ONE, 0.5, 1, 0.95])  # 1 is no uniform, and does no harm
  noise = np.random.RandomState(0).randn(6, 3).astype(np.float32)
  (latents,) = function.call(noise, uniform, labels)
  component = [0, 1, 1, 0, 0, 1]
  factors = fitted.factors[labels, component]
  expected = fitted.means[labels, component] + np.einsum('nij,nj->ni', factors, noise)
  np.testing.assert_allclose(latents, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('conditional', [True, False])
@pytest.mark.parametrize('prior', ['vamp', 'flow', 'fitted'])
def test_draws_have_the_moments_of_what_sample_py_draws(tmp_path, prior, conditional):
  kind = 'standard' if prior == 'fitted' else prior
  model = saved_models.save(
    tmp_path / 'model',
    fitted=prior == 'fitted',
    prior=kind,
    conditional=conditional,
    model__num_pseudo_inputs=4,
    model__num_flow_layers=2,
  )
  latents, given = prior_of(model, 12_000)
  rows = model.conditioning.of([1] if conditional else None, {}, 1)
  mean, std = model.prior.moments(rows)
  own = latents[given['conditions'] == 1] if conditional else latents
  np.testing.assert_allclose(own.mean(axis=0), mean, atol=5 * std.max() / len(own) ** 0.5)
  np.testing.assert_allclose(own.std(axis=0), std, rtol=0.1)


def test_a_table_without_a_class_has_one_fitted_mixture(tmp_path):
  columns = saved_models.COLUMNS[1:]
  model = saved_models.save(tmp_path / 'model', fitted=True, columns=columns)
  latents, given = prior_of(model)
  assert given['conditions'].shape == (2000, 2)
  assert np.isfinite(latents).all()


def test_a_model_of_bfloat16_is_exported_in_float32(tmp_path):
  model = saved_models.save(tmp_path / 'model', precision='bfloat16')
  latents, labels = np.ones((3, 3), np.float32), np.int32([0, 1, 2])
  function = functions_of(model)['decoder']
  assert 'bf16' not in str(jax.make_jaxpr(function.call)(latents, labels))
  np.testing.assert_allclose(
    function.call(latents, labels)[0], model.decode(latents, labels), atol=0.02
  )


def test_a_prior_that_cannot_be_given_noise_is_refused_by_name(tmp_path, monkeypatch):
  monkeypatch.delattr(priors.Gaussian, 'from_noise')
  model = saved_models.save(tmp_path / 'model', prior='class_gaussian')
  with pytest.raises(InputError, match=r"prior='class_gaussian'.*from_noise"):
    functions.functions_of(model)


def test_a_denoising_autoencoder_has_no_prior(tmp_path):
  model = saved_models.save(tmp_path / 'model', objective='dae')
  assert list(functions_of(model)) == ['encoder', 'decoder']
