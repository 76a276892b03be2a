"""The prior that a model draws from."""

import dataclasses
import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from scipy import stats

import cvae_jax
from cvae_jax.inference import bounds
from cvae_jax.models import fitted_prior
from cvae_jax.runtime import keys, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.vae import VAE
from cvae_jax.training import loop
from tiny import DENSE, make_best, rows, tiny_config


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_training_fits_a_prior_to_the_encoded_images(model):
  data = model.data().train
  images = data.images.astype(np.float32) / 255
  mean, logvar = model.encode(images, data.labels)
  drawn = model.draw_latents(np.full(20_000, 3), seed=1)
  of_class = data.labels == 3
  # A Gaussian has the moments of what it was fitted to: those of draws from the posteriors.
  np.testing.assert_allclose(drawn.mean(axis=0), mean[of_class].mean(axis=0), atol=0.15)
  variance = np.exp(logvar[of_class]).mean(axis=0) + mean[of_class].var(axis=0)
  np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.2)


def test_draws_from_a_standard_prior_are_scaled_noise(model):
  noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(
    keys.per_example(keys.stream(4, 'prior'), np.arange(6))
  )
  drawn = model.draw_latents(np.arange(6), temperature=0.5, seed=4, prior='model')
  np.testing.assert_allclose(drawn, 0.5 * noise, atol=1e-6)


def test_descriptions(model):
  assert model.prior.describe() == 'fitted prior'
  assert model.prior.describe(temperature=0.8) == 'fitted prior, temperature 0.8'
  assert model.prior.describe('model') == 'N(0, I)'
  assert model.prior.describe('model', 0.8) == 'N(0, 0.8² I)'


def test_a_style_is_one_latent_if_the_model_s_prior_does_not_depend_on_the_class(model):
  for prior in ('model', 'fitted'):
    styles = model.draw_styles(12, prior=prior)
    np.testing.assert_array_equal(styles, styles[:, :1].repeat(10, axis=1))
    drawn = model.draw_latents(np.arange(12) % 10, prior=prior)
    np.testing.assert_allclose(styles[:, 0], drawn, atol=1e-6)


def test_moments(model):
  mean, deviation = model.prior.moments(model.conditioning.usual, 'model')
  assert (mean.tolist(), deviation.tolist()) == ([0, 0, 0], [1, 1, 1])
  drawn = model.draw_latents(np.full(20_000, 3), seed=5)
  mean, deviation = model.prior.moments(model.conditions([3]))
  np.testing.assert_allclose(mean, drawn.mean(axis=0), atol=0.06)
  np.testing.assert_allclose(deviation, drawn.std(axis=0), rtol=0.06)


def test_a_missing_prior(model, tiny_run, tmp_path):
  with pytest.raises(InputError, match=r"prior='fited'.*'fitted'"):
    model.sample([3], prior='fited')
  shutil.copytree(tiny_run, tmp_path / 'run')
  for path in (tmp_path / 'run').rglob(fitted_prior.FILE_NAME):
    path.unlink()
  without = cvae_jax.load(tmp_path / 'run')
  np.testing.assert_allclose(without.sample([3, 4]), model.sample([3, 4], prior='model'), atol=1e-6)
  with pytest.raises(InputError, match=r'fitted prior.*prior="model"'):
    without.sample([3], prior='fitted')


def test_a_damaged_fitted_prior_stops_only_what_needs_it(model, tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  files = sorted(run.rglob(fitted_prior.FILE_NAME))
  for path in files:
    path.write_bytes(b'damaged')
  broken = cvae_jax.load(run)
  for prior in (None, 'fitted'):
    with pytest.raises(InputError, match=rf'{fitted_prior.FILE_NAME}.*prior="model"'):
      broken.sample([3], prior=prior)
  expected = model.sample([3, 4], prior='model')
  np.testing.assert_array_equal(broken.sample([3, 4], prior='model'), expected)
  assert broken.reconstruct(expected, [3, 4]).shape == expected.shape
  # The prior of another run, with the same step and shapes.
  other = model.variables | {'params': {'other': np.ones(3)}}
  fitted_prior.save(files[0].parent, model.prior.fitted, other)
  with pytest.raises(InputError, match=fitted_prior.FILE_NAME):
    cvae_jax.load(run, int(files[0].parent.name)).sample([3])
  # train.py on the finished run fits both again.
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  for path in files:
    again = cvae_jax.load(path.parent).sample([3, 4])
    np.testing.assert_allclose(
      again, cvae_jax.load(tiny_run, path.parent.name).sample([3, 4]), atol=1e-5
    )


def test_the_prior_of_the_best_checkpoint_is_fitted_to_its_weights(tiny_run, tmp_path, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  make_best(run, 3)
  digests, finish = [], VAE.finish

  def record(task, variables, *rest):
    digests.append(tensor_files.digest(variables))
    return finish(task, variables, *rest)

  monkeypatch.setattr(VAE, 'finish', record)
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  best, last = (cvae_jax.load(run, checkpoint) for checkpoint in ('best', 'last'))
  assert (best.step, last.step) == (3, 6)
  assert digests == [tensor_files.digest(best.variables)]  # the last has its prior already
  for model in (best, last):
    assert model.prior.choose(None) == 'fitted'
  assert not np.allclose(best.prior.fitted.means, last.prior.fitted.means, atol=1e-6)


def test_a_run_without_a_fitted_prior_succeeds(tiny_run, tmp_path, capsys, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in run.rglob(fitted_prior.FILE_NAME):
    path.unlink()

  def fit(*_):
    raise InputError('No Gaussian fits.')

  monkeypatch.setattr(fitted_prior, 'fit', fit)
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)
  loop.train(config, run)
  assert 'No Gaussian fits.' in capsys.readouterr().out
  monkeypatch.setattr(fitted_prior, 'MAX_NUMBERS', 10)
  loop.train(config, run)
  assert '90 numbers' in capsys.readouterr().out  # of 10 covariances
  assert cvae_jax.load(run).prior.choose(None) == 'model'


def test_wrong_arguments(model):
  for count in (-1, 2.5, '3', True):
    with pytest.raises(InputError, match='count='):
      model.draw_styles(count)
  for temperature in (True, -1, float('nan'), '1'):
    with pytest.raises(InputError, match=r'temperature=.*0 to 100'):
      model.prior.describe(temperature=temperature)
    with pytest.raises(InputError, match=r'temperature=.*0 to 100'):
      model.sample([3], temperature=temperature)
  with pytest.raises(InputError, match='seed=True'):
    model.sample([3], seed=True)
  assert len(repr(model)) < 500


def test_large_latents_are_drawn_in_small_batches(model):
  """Each image of a batch has a covariance of its own in memory."""
  size, count = 2_000, 30
  fitted = fitted_prior.FittedPrior(
    np.ones((10, 1), np.float32),
    np.zeros((10, 1, size), np.float32),
    np.broadcast_to(np.eye(size, dtype=np.float32), (10, 1, size, size)),
  )
  batches = []

  def draw_fitted(prior, labels, *rest):
    batches.append(len(labels))
    return draw(prior, labels, *rest)

  draw, fitted_prior.draw = fitted_prior.draw, draw_fitted
  try:
    prior = dataclasses.replace(model.prior, fitted=fitted, latent_dim=size)
    drawn = prior.draw(model.conditions(np.arange(count) % 10))
  finally:
    fitted_prior.draw = draw
  assert max(batches) * size**2 * 4 < 100e6
  assert drawn.shape == (count, size)
  assert drawn.std() == pytest.approx(1, abs=0.02)


def test_a_run_from_before_priors(tiny_run, model, tmp_path):
  """Without a prior in its config or fitted ones beside its checkpoints, it loads and continues."""
  shutil.copytree(tiny_run, tmp_path / 'run')
  path = tmp_path / 'run' / 'config.json'
  content = json.loads(path.read_text())
  new = ('depth', 'pool', 'num_pseudo_inputs', 'num_flow_layers', 'flow_hidden_dim')
  for name in new:
    del content['config']['model'][name]
  del content['config']['prior']
  path.write_text(json.dumps(content))
  for fitted in (tmp_path / 'run').rglob(fitted_prior.FILE_NAME):
    fitted.unlink()
  old = cvae_jax.load(tmp_path / 'run')
  expected = model.sample([3, 4], prior='model')
  np.testing.assert_array_equal(old.sample([3, 4]), expected)
  # train.py finds it complete, and fits the missing priors.
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), tmp_path / 'run')
  np.testing.assert_allclose(
    cvae_jax.load(tmp_path / 'run').sample([3, 4]), model.sample([3, 4]), atol=1e-5
  )


@pytest.mark.slow
@pytest.mark.parametrize('prior', ['flow', 'class_gaussian', 'vamp'])
def test_a_run_with_a_learned_prior(prior, tmp_path):
  """The KL in its log is that of the evaluation, and its own prior can be drawn from."""
  config = tiny_config(
    prior=prior,
    free_bits=0.001,
    model__num_pseudo_inputs=2,
    model__num_flow_layers=2,
    model__flow_hidden_dim=4,
    **DENSE,
  )
  loop.train(config, tmp_path / 'run')
  model = cvae_jax.load(tmp_path / 'run')
  assert model.prior.describe('model') == f'{prior} prior'
  data = model.data().validation
  key = keys.stream(config.seed, 'validation')
  terms = bounds.elbo(model.task, model.variables, data.images, data.labels, key)
  logged = {int(row['step']): row for row in rows(tmp_path / 'run')}[model.step]
  assert terms.kl.sum(axis=1).mean() == pytest.approx(float(logged['validation/kl']), rel=1e-4)
  own = model.draw_latents(np.full(2000, 3), prior='model')
  log_prior = jax.jit(partial(model.task.network.apply, method='log_prior'))(
    model.variables, own, np.full(2000, 3)
  )
  # The density at the draws, compared with a Gaussian of their moments.
  fitted = stats.multivariate_normal(own.mean(axis=0), np.cov(own.T)).logpdf(own)
  assert np.mean(log_prior - fitted) == pytest.approx(0, abs=0.1)
  # A style is the noise of a latent.
  threes, sevens = (model.draw_latents(np.full(9, c), prior='model') for c in (3, 7))
  styles = model.restyle(threes, np.full(9, 3))
  np.testing.assert_allclose(styles[:, 3], threes, atol=1e-5)
  if prior != 'vamp':  # its style takes the likeliest component, not the drawn one
    np.testing.assert_allclose(styles[:, 7], sevens, atol=1e-5)
  assert np.abs(threes - sevens).max() > 1e-4
