"""Which prior a model draws from, and what it says of it."""

import dataclasses
import json
import shutil

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
from tiny import make_best, rows, tiny_config


@pytest.fixture(scope='module')
def model(tiny_run):
  return cvae_jax.load(tiny_run)


def test_training_fits_a_prior_to_where_it_encodes_its_images(model):
  data = model.data().train
  images = data.images.astype(np.float32) / 255
  mean, logvar = model.encode(images, data.labels)
  drawn = model.draw_latents(np.full(20_000, 3), seed=1)
  of_class = data.labels == 3
  # A Gaussian has the moments of what it was fitted to: those of draws from the posteriors.
  np.testing.assert_allclose(drawn.mean(axis=0), mean[of_class].mean(axis=0), atol=0.15)
  variance = np.exp(logvar[of_class]).mean(axis=0) + mean[of_class].var(axis=0)
  np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.2)


def test_the_model_prior_is_what_was_drawn_before_there_was_another(model):
  noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(
    keys.per_example(keys.stream(4, 'prior'), np.arange(6))
  )
  drawn = model.draw_latents(np.arange(6), temperature=0.5, seed=4, prior='model')
  np.testing.assert_allclose(drawn, 0.5 * noise, atol=1e-6)


def test_what_is_said_of_it(model):
  assert model.priors.describe() == 'fitted prior'
  assert model.priors.describe(temperature=0.8) == 'fitted prior, temperature 0.8'
  assert model.priors.describe('model') == 'N(0, I)'
  assert model.priors.describe('model', 0.8) == 'N(0, 0.8² I)'


def test_a_style_is_the_same_latent_where_the_model_s_prior_knows_no_class(model):
  for prior in ('model', 'fitted'):
    styles = model.draw_styles(12, prior=prior)
    np.testing.assert_array_equal(styles, styles[:, :1].repeat(10, axis=1))
    drawn = model.draw_latents(np.arange(12) % 10, prior=prior)
    np.testing.assert_allclose(styles[:, 0], drawn, atol=1e-6)


def test_moments(model):
  mean, deviation = model.priors.moments(0, 'model')
  assert (mean.tolist(), deviation.tolist()) == ([0, 0, 0], [1, 1, 1])
  drawn = model.draw_latents(np.full(20_000, 3), seed=5)
  mean, deviation = model.priors.moments(3)
  np.testing.assert_allclose(mean, drawn.mean(axis=0), atol=0.06)
  np.testing.assert_allclose(deviation, drawn.std(axis=0), rtol=0.06)


def test_a_prior_that_is_not_there(model, tiny_run, tmp_path):
  with pytest.raises(InputError, match=r"prior='fited' is not one of: fitted, model.*'fitted'"):
    model.sample([3], prior='fited')
  shutil.copytree(tiny_run, tmp_path / 'run')
  for path in (tmp_path / 'run').rglob(fitted_prior.FILE_NAME):
    path.unlink()
  without = cvae_jax.load(tmp_path / 'run')
  np.testing.assert_allclose(without.sample([3, 4]), model.sample([3, 4], prior='model'), atol=1e-6)
  with pytest.raises(InputError, match=r'no fitted prior.*train\.py on a finished.*prior "model"'):
    without.sample([3], prior='fitted')


def test_a_fitted_prior_that_is_damaged_stops_only_what_needs_it(model, tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  files = sorted(run.rglob(fitted_prior.FILE_NAME))
  for path in files:
    path.write_bytes(b'damaged')
  broken = cvae_jax.load(run)
  for prior in (None, 'fitted'):
    with pytest.raises(InputError, match=r'prior\.safetensors.*"model"'):
      broken.sample([3], prior=prior)
  expected = model.sample([3, 4], prior='model')
  np.testing.assert_array_equal(broken.sample([3, 4], prior='model'), expected)
  assert broken.reconstruct(expected, [3, 4]).shape == expected.shape
  # That of another run, of the same step and shapes.
  other = model.variables | {'params': {'other': np.ones(3)}}
  fitted_prior.save(files[0].parent, model.priors.fitted, other)
  with pytest.raises(InputError, match='fitted to other weights'):
    cvae_jax.load(run, int(files[0].parent.name)).sample([3])
  # train.py, called on it, fits both again.
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  for path in files:
    again = cvae_jax.load(path.parent).sample([3, 4])
    np.testing.assert_allclose(
      again, cvae_jax.load(tiny_run, path.parent.name).sample([3, 4]), atol=1e-5
    )


def test_the_best_checkpoint_gets_a_prior_of_its_own_weights(tiny_run, tmp_path, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  make_best(run, 3)
  seen, finish = [], VAE.finish

  def fit(task, variables, *rest):
    seen.append(tensor_files.digest(variables))
    return finish(task, variables, *rest)

  monkeypatch.setattr(VAE, 'finish', fit)
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  best, last = (cvae_jax.load(run, checkpoint) for checkpoint in ('best', 'last'))
  assert (best.step, last.step) == (3, 6)
  assert seen == [tensor_files.digest(best.variables)]  # the last has one
  for model in (best, last):
    assert model.priors.choose(None) == 'fitted'
  assert not np.allclose(best.priors.fitted.means, last.priors.fitted.means, atol=1e-6)


def test_where_no_prior_can_be_fitted_the_run_ends_well(tiny_run, tmp_path, capsys, monkeypatch):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  for path in run.rglob(fitted_prior.FILE_NAME):
    path.unlink()

  def fit(*_):
    raise InputError('No Gaussian fits.')

  monkeypatch.setattr(fitted_prior, 'fit', fit)
  config = tiny_config(checkpoint_every_steps=2, keep_checkpoints=10)
  loop.train(config, run)
  assert 'no prior for step 6: No Gaussian fits.' in capsys.readouterr().out
  monkeypatch.setattr(fitted_prior, 'MAX_NUMBERS', 10)
  loop.train(config, run)
  assert '10 classes would be 90 numbers, more than 10' in capsys.readouterr().out
  assert cvae_jax.load(run).priors.choose(None) == 'model'


def test_arguments_that_mean_nothing(model):
  for count in (-1, 2.5, '3', True):
    with pytest.raises(InputError, match=r'count=.* is not an integer, 0 or more'):
      model.draw_styles(count)
  for label in (10, -1, None, 1.0):
    with pytest.raises(InputError, match=r'label=.* is not an integer from 0 to 9'):
      model.priors.moments(label)
  for temperature in (True, -1, float('nan'), '1'):
    with pytest.raises(InputError, match=r'temperature=.* is not a number from 0 to 100'):
      model.priors.describe(temperature=temperature)
    with pytest.raises(InputError, match=r'temperature=.* is not a number from 0 to 100'):
      model.sample([3], temperature=temperature)
  with pytest.raises(InputError, match='seed=True is not an integer'):
    model.sample([3], seed=True)
  assert len(repr(model)) < 500


def test_large_latents_are_drawn_in_pieces_that_fit(model):
  """Each image of a piece has a covariance of its own in memory."""
  size, count = 2_000, 30
  fitted = fitted_prior.FittedPrior(
    np.ones((10, 1), np.float32),
    np.zeros((10, 1, size), np.float32),
    np.broadcast_to(np.eye(size, dtype=np.float32), (10, 1, size, size)),
  )
  seen = []

  def draw_fitted(prior, labels, *rest):
    seen.append(len(labels))
    return draw(prior, labels, *rest)

  draw, fitted_prior.draw = fitted_prior.draw, draw_fitted
  try:
    priors = dataclasses.replace(model.priors, fitted=fitted, latent_dim=size)
    drawn = priors.draw(np.arange(count) % 10)
  finally:
    fitted_prior.draw = draw
  assert max(seen) * size**2 * 4 < 100e6
  assert drawn.shape == (count, size)
  assert drawn.std() == pytest.approx(1, abs=0.02)


def test_a_run_of_before_there_were_priors(tiny_run, model, tmp_path):
  """Its config knows no prior, its checkpoints have none fitted: it loads, and goes on."""
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
  # train.py on it finds it complete, and fits what is missing.
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), tmp_path / 'run')
  np.testing.assert_allclose(
    cvae_jax.load(tmp_path / 'run').sample([3, 4]), model.sample([3, 4]), atol=1e-5
  )


@pytest.mark.slow
@pytest.mark.parametrize('prior', ['flow', 'class_gaussian', 'vamp'])
def test_a_run_with_a_learned_prior(prior, tmp_path):
  """Its KL in the log is that of the evaluation, and its own prior can be drawn from."""
  config = tiny_config(
    prior=prior,
    free_bits=0.001,
    model__num_pseudo_inputs=2,
    model__num_flow_layers=2,
    model__flow_hidden_dim=4,
  )
  loop.train(config, tmp_path / 'run')
  model = cvae_jax.load(tmp_path / 'run')
  assert model.priors.describe('model') == f'{prior} prior'
  images, labels, _ = model.data().validation
  terms = bounds.elbo(model, images, labels, keys.stream(config.seed, 'validation'))
  logged = {int(row['step']): row for row in rows(tmp_path / 'run')}[model.step]
  assert terms.kl.sum(axis=1).mean() == pytest.approx(float(logged['validation/kl']), rel=1e-4)
  own = model.draw_latents(np.full(2000, 3), prior='model')
  log_prior = model.task.network.apply(model.variables, own, np.full(2000, 3), method='log_prior')
  # Draws lie where the density says: no worse than a Gaussian of their moments, in the mean.
  fitted = stats.multivariate_normal(own.mean(axis=0), np.cov(own.T)).logpdf(own)
  assert np.mean(log_prior - fitted) == pytest.approx(0, abs=0.1)
  # A style is the noise: what it gave in one class, it gives in the others.
  threes, sevens = (model.draw_latents(np.full(9, c), prior='model') for c in (3, 7))
  styles = model.restyle(threes, np.full(9, 3))
  np.testing.assert_allclose(styles[:, 3], threes, atol=1e-5)
  if prior != 'vamp':  # whose component it takes for the likeliest
    np.testing.assert_allclose(styles[:, 7], sevens, atol=1e-5)
  assert np.abs(threes - sevens).max() > 1e-4
