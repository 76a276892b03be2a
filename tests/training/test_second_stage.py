"""Flow matching in the latents of a small autoencoder of 8×8 digits."""

import csv
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cvae_jax
import tiny
from conftest import ROOT
from cvae_jax.evaluation import generation, suite
from cvae_jax.inference import bounds, prediction
from cvae_jax.models import flow_matching, gaussians, latent_flow
from cvae_jax.runtime import keys, tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.tasks.first_stage import FirstStage
from cvae_jax.training import first_stage, loop, program
from tiny import TINY_FLAGS

FLOW = {
  'objective': 'flow_matching',
  'condition_dropout': 0.2,
  'num_epochs': 3,
  'data__augment__flip_probability': 0.5,
  'velocity__width': 32,
  'velocity__depth': 1,
}


def config_of(first, **changes):
  return tiny.tiny_config(**{**FLOW, 'first_stage': str(first), **changes})


@pytest.fixture(scope='module')
def first(tmp_path_factory):
  """The run of an unconditional first stage."""
  workdir = tmp_path_factory.mktemp('runs') / 'first'
  loop.train(tiny.tiny_config(objective='autoencoder', beta=0.01, conditional=False), workdir)
  return workdir


@pytest.fixture(scope='module')
def run(first, tmp_path_factory):
  """The run of a second stage."""
  workdir = tmp_path_factory.mktemp('runs') / 'second'
  loop.train(config_of(first), workdir)
  return workdir


def test_the_first_stage_lies_unchanged_in_the_run(first, run):
  before, after = cvae_jax.load(first), cvae_jax.load(run / 'first_stage')
  assert tensor_files.digest(before.variables) == tensor_files.digest(after.variables)
  assert tensor_files.digest(cvae_jax.load(run).variables) == tensor_files.digest(before.variables)


def test_a_run_without_its_first_stage_draws_alike(run, tmp_path):
  copy = shutil.copytree(run, tmp_path / 'elsewhere')
  np.testing.assert_array_equal(
    cvae_jax.load(copy).sample([1, 2], seed=3), cvae_jax.load(run).sample([1, 2], seed=3)
  )


def test_a_run_resumes_bit_for_bit(first, run, tmp_path):
  config = config_of(first)
  workdir = tmp_path / 'resumed'
  tiny.stopped_at(run, workdir, tiny.steps(run)[0])
  loop.train(config, workdir)
  assert tiny.rows(workdir) == tiny.rows(run)
  last = tiny.steps(run)[-1]
  assert tiny.steps(workdir)[-1] == last
  one, other = (cvae_jax.load(x, last).prior.flow.variables for x in (run, workdir))
  assert tensor_files.digest(one) == tensor_files.digest(other)


def test_another_first_stage_is_refused(run, tmp_path):
  other = tmp_path / 'other'
  loop.train(tiny.tiny_config(objective='autoencoder', conditional=False, seed=1), other)
  with pytest.raises(InputError, match='another first stage'):
    loop.train(config_of(other), run)
  assert tiny.steps(run)[-1] == 9  # untouched
  loop.train(config_of(run / 'first_stage'), run)  # its own copy is the same


def test_latents_are_those_of_images_and_of_their_mirror_images(first):
  built = program.build(config_of(first))
  model, images = cvae_jax.load(first), program.datasets.load(built.config).train.images
  posteriors = np.asarray(built.train.images)
  for view, seen in enumerate((images, images[:, :, ::-1])):
    mean, logvar = model.encode(seen)
    np.testing.assert_allclose(posteriors[:, view, 0], mean, atol=1e-5)
    np.testing.assert_allclose(posteriors[:, view, 1], logvar, atol=1e-5)
  assert built.validation.images.shape == (50, 1, 2, 3)


def test_a_flow_sees_standardized_latents(first):
  built = program.build(config_of(first))
  statistics = built.fresh_state().variables[latent_flow.STATISTICS]
  mean, logvar = np.moveaxis(np.asarray(built.train.images).reshape(-1, 2, 3), 1, 0)
  drawn = mean + np.exp(logvar / 2) * np.random.RandomState(0).randn(200, *mean.shape)
  np.testing.assert_allclose(statistics['mean'], drawn.mean(axis=(0, 1)), atol=0.02)
  np.testing.assert_allclose(statistics['std'], drawn.std(axis=(0, 1)), rtol=0.02)


def test_the_loss_of_an_untrained_flow(first):
  """Its velocity is 0: the loss is E‖x₁ − x₀‖², two for each standardized latent."""
  built = program.build(config_of(first))
  variables = built.fresh_state().variables
  batch = jnp.asarray(built.train.images), jnp.asarray(built.train.conditions)
  losses = [built.task.loss(variables, batch, {}, jax.random.key(seed), 0)[0] for seed in range(30)]
  np.testing.assert_allclose(np.mean(losses), 2 * 3, rtol=0.05)


def test_the_loss_hides_conditions(first):
  """An error of the flow under its conditions alone has a part 1 − condition_dropout."""
  built = program.build(config_of(first))
  seen = []

  class Spy:
    def apply(self, variables, *arguments, method=None, **options):
      if method is None:
        seen.append(np.isnan(np.asarray(arguments[2])).all(axis=1))
      return built.task.network.apply(variables, *arguments, method=method, **options)

  task = built.task.__class__.__new__(built.task.__class__)
  task.__dict__ = dict(built.task.__dict__) | {'network': Spy()}
  batch = jnp.asarray(built.train.images), jnp.asarray(built.train.conditions)
  for seed in range(30):
    task.loss(built.fresh_state().variables, batch, {}, jax.random.key(seed), 0)
  assert abs(np.mean(seen) - 0.2) < 0.03
  task.evaluate(
    built.fresh_state().variables,
    (jnp.asarray(built.validation.images), jnp.asarray(built.validation.conditions)),
    jax.random.split(jax.random.key(0), 50),
  )


def test_samples(run):
  model = cvae_jax.load(run)
  assert model.prior.choose(None) == 'flow_matching'
  assert (model.conditional, model.class_names) == (True, (*'0123456789',))
  images = model.sample([3, 3, 8], seed=1)
  assert images.shape == (3, 8, 8, 1)
  np.testing.assert_array_equal(images[:2], model.sample([3, 3, 4], seed=1)[:2])
  assert not np.array_equal(images[0], images[1])
  same = model.with_flow(guidance=1.0)
  np.testing.assert_array_equal(same.sample([3, 3, 8], seed=1), images)
  assert not np.array_equal(model.with_flow(guidance=3.0).sample([3, 3, 8], seed=1), images)
  assert not np.allclose(model.sample([3, 3, 8], seed=1, prior='model'), images, atol=1e-3)


def test_a_sample_follows_the_velocity(run):
  """`draw` is the end of Heun's path from its noise, in units of the latents."""
  model = cvae_jax.load(run).with_flow(steps=7)
  network, variables = model.prior.flow.network, model.prior.flow.variables
  still = model.draw_latents([5, 6], temperature=0.0)  # from the mean of the noise
  rows = jnp.asarray([[5.0], [6.0]])
  velocity = lambda x, t: network.apply(variables, x, t, rows)  # noqa: E731
  end = flow_matching.solve(velocity, jnp.zeros((2, 3)), 7)
  statistics = variables[latent_flow.STATISTICS]
  wanted = statistics['mean'][None] + statistics['std'][None] * end
  np.testing.assert_allclose(still, wanted, atol=1e-5)


def test_one_style_in_every_class(run):
  """A latent restyled to its own class stays; one noise gives the latents of all classes."""
  model = cvae_jax.load(run).with_flow(steps=200)
  latents = model.draw_latents([4], seed=2)
  styles = model.restyle(latents, [4])
  assert styles.shape == (1, 10, 3)
  np.testing.assert_allclose(styles[:, 4], latents, atol=2e-3)
  for label in (0, 9):
    np.testing.assert_allclose(styles[:, label], model.draw_latents([label], seed=2), atol=2e-3)


@pytest.mark.parametrize(
  ('changes', 'named'),
  [
    ({'first_stage': ''}, 'first_stage'),
    ({'first_stage': 'nowhere'}, 'nowhere'),
    ({'data__image_size': 16}, 'image_size'),
    ({'data__augment__rotation': 5.0}, 'rotation'),
  ],
)
def test_what_is_refused(first, changes, named, tmp_path):
  with pytest.raises(InputError, match=named):
    loop.train(config_of(first, **changes), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_second_stage_is_no_first_stage(run, tmp_path):
  with pytest.raises(InputError, match='flow_matching'):
    loop.train(config_of(run), tmp_path / 'run')


def test_a_first_stage_without_a_distribution_of_latents_is_refused(tmp_path):
  loop.train(tiny.tiny_config(objective='dae', num_epochs=1), tmp_path / 'dae')
  with pytest.raises(InputError, match='dae'):
    loop.train(config_of(tmp_path / 'dae'), tmp_path / 'run')


def test_a_conditional_first_stage_knows_the_conditions_of_the_data(tiny_run, tmp_path):
  """Else labels would mean other classes, or rows other columns."""
  data = program.datasets.load(tiny.tiny_config()).train
  first = first_stage.read(config_of(tiny_run))
  first_stage.check_conditions(first, data)
  names = (*data.class_names[:-1], 'other')
  with pytest.raises(InputError, match='in the same way'):
    first_stage.check_conditions(first, data._replace(class_names=names))


def test_only_bounds_that_read_the_class_say_which_it_is(run, tmp_path):
  model = cvae_jax.load(run)
  with pytest.raises(InputError, match='second stage'):
    model.classify(model.data().test.images[:2])
  folder = tmp_path / 'pictures'
  for name, image in zip(('a', '3/b'), model.data().test.images, strict=False):
    path = folder / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(path)
  prediction.predict(dataclasses.replace(model, folder=tmp_path), folder)
  (table,) = tmp_path.rglob('*.csv')
  with open(table, newline='', encoding='utf-8') as file:
    found = {row['file']: (row['class'], row['class_from']) for row in csv.DictReader(file)}
  assert found == {'a.png': ('', ''), '3/b.png': ('3', 'folder')}


def test_names_of_results_tell_settings_of_the_flow(run):
  model = cvae_jax.load(run)
  assert model.prior.flow.suffix == ''
  assert model.with_flow(guidance=1.5, steps=7).prior.flow.suffix == '-guidance1.5-steps7'


def test_settings_that_a_model_does_not_have(first, run, tmp_path):
  with pytest.raises(InputError, match='second stage'):
    cvae_jax.load(first).with_flow(steps=5)
  for wrong in ({'steps': 0}, {'steps': 1001}, {'guidance': -1.0}, {'guidance': 101.0}):
    with pytest.raises(InputError, match=next(iter(wrong))):
      cvae_jax.load(run).with_flow(**wrong)
  loop.train(config_of(first, condition_dropout=0.0, num_epochs=1), tmp_path / 'run')
  model = cvae_jax.load(tmp_path / 'run')
  assert model.sample([1]).shape == (1, 8, 8, 1)
  with pytest.raises(InputError, match='condition_dropout'):
    model.with_flow(guidance=2.0)


def test_a_conditional_first_stage(tiny_run, tmp_path, capsys):
  """The second stage is a prior of the same labels; the decoder is given them too."""
  loop.train(config_of(tiny_run, num_epochs=1), tmp_path / 'run')
  model, first = cvae_jax.load(tmp_path / 'run'), cvae_jax.load(tiny_run)
  latents = model.draw_latents([7, 2])
  np.testing.assert_array_equal(model.sample([7, 2]), first.decode(latents, [7, 2]))
  model.elbo(np.zeros((1, 8, 8, 1)), [3])
  capsys.readouterr()
  model.data()
  assert 'not the images' not in capsys.readouterr().out


def test_shipped_weights_and_checkpoints_are_first_stages(first):
  read = lambda name, **changes: first_stage.read(config_of(name, **changes))  # noqa: E731
  assert isinstance(read('digits', data__image_size=28), FirstStage)
  step = tiny.steps(first)[0]
  chosen = read(first / 'checkpoints' / str(step))
  assert chosen.step == step
  assert chosen.digest == tensor_files.digest(cvae_jax.load(first, step).variables)


@pytest.fixture
def bent(run):
  """The model of a second stage whose flow is far from N(0, I): its weights are random."""
  model, random = cvae_jax.load(run), np.random.RandomState(1)
  variables = model.prior.flow.variables
  bend = lambda x: x + 0.2 * np.float32(random.randn(*x.shape))  # noqa: E731
  variables = variables | {'params': jax.tree.map(bend, variables['params'])}
  flow = dataclasses.replace(model.prior.flow, variables=variables)
  return dataclasses.replace(model, prior=dataclasses.replace(model.prior, flow=flow))


def test_a_style_of_the_first_stage_stays_under_its_own_prior(bent):
  own = bent.draw_styles(2, prior='model')
  np.testing.assert_array_equal(own, np.repeat(own[:, :1], 10, axis=1))  # N(0, I)
  assert np.ptp(bent.draw_styles(2), axis=1).max() > 0.01


def test_bounds_are_of_the_flow_by_default(bent):
  """−KL is log p(z | c) − log q(z | x) at the draw, with the latents' own units."""
  model = bent.with_flow(steps=9)
  images, labels = model.data().test.images[:5], np.array([3, 1, 4, 1, 5])
  own, bound = model.elbo(images, labels, prior='model'), model.elbo(images, labels)
  np.testing.assert_array_equal(own.reconstruction, bound.reconstruction)
  np.testing.assert_allclose(bound.elbo, -bound.reconstruction - bound.kl, rtol=1e-5)
  network, variables = model.prior.flow.network, model.prior.flow.variables
  key = keys.of_user(0, 'validation')
  terms = bounds.elbo(model.task, model.variables, images, labels, key)
  rows, std = labels[:, None].astype(np.float32), variables[latent_flow.STATISTICS]['std']
  points = network.apply(variables, terms.latents, method='standardized')
  velocity = lambda x, t: network.apply(variables, x, t, rows)  # noqa: E731
  log_prior = flow_matching.log_prob(velocity, points, 9) - np.log(std).sum()
  log_posterior = gaussians.log_normal(terms.latents, terms.mean, terms.logvar)
  np.testing.assert_allclose(bound.kl, log_posterior - log_prior, rtol=1e-4, atol=1e-4)
  # Guidance gives no density; another class another one.
  guided = model.with_flow(guidance=3.0).elbo(images, labels)
  np.testing.assert_array_equal(guided.kl, bound.kl)
  assert not np.allclose(model.elbo(images, labels + 1).kl, bound.kl, atol=1e-3)
  with pytest.raises(InputError, match='fitted'):
    model.elbo(images, labels, prior='fitted')


def test_iwae_of_one_sample_is_the_elbo_in_expectation(bent):
  model = bent.with_flow(steps=4)
  images, labels = model.data().test.images[:20], np.arange(20) % 10
  one, elbo = (
    np.stack([bound(seed) for seed in range(40)]).mean(axis=1)
    for bound in (
      lambda seed: model.log_likelihood(images, labels, 1, seed),
      lambda seed: model.elbo(images, labels, seed).elbo,
    )
  )
  error = np.hypot(one.std(), elbo.std()) / np.sqrt(40)
  assert abs(one.mean() - elbo.mean()) < 4 * error
  many = model.log_likelihood(images, labels, 60)
  assert many.mean() > one.mean() + 4 * error
  own = model.log_likelihood(images, labels, 60, prior='model')
  assert not np.allclose(own, many, atol=0.1)


@pytest.mark.parametrize('prior', [None, 'model'])
def test_an_evaluation_states_prior_and_number_of_images(run, prior, monkeypatch):
  model = cvae_jax.load(run).with_flow(guidance=2.0, steps=3)
  density = model.prior.density()
  monkeypatch.setattr(suite, 'OPERATIONS_ON_CPU', 36 * density.operations)
  asked = suite.chosen(['likelihood', 'iwae'], ['prior'])
  found = suite.evaluate(model, model.data(), 'test', 50, 200, asked=asked, prior=prior)
  metrics, settings = {metric.name: metric for metric in found.metrics}, '-guidance2-steps3'
  texts = metrics['negative_elbo'].protocol, metrics['iwae'].protocol
  if prior:
    assert found.name == f'test-first200-iwae50-model_prior{settings}-only-likelihood-iwae'
    assert all('p(z) is its N(0, I)' in text for text in texts)
    assert 'negative_elbo_of_all' not in metrics
    return
  assert found.name == f'test-first200-iwae50{settings}-only-likelihood-iwae'
  assert all('p(z | c) is flow matching, 3 steps, unguided' in text for text in texts)
  assert texts[0].startswith('36 images of 200, evenly spaced')
  assert texts[1].startswith('K = 2 (of 50), 18 images of 200, evenly spaced')
  rows = np.arange(36) * 200 // 36
  test, own = (
    model.data().test,
    suite.evaluate(model, model.data(), 'test', 50, 200, asked=('likelihood',), prior='model'),
  )
  all_own = own.metrics[0].value
  key = keys.stream(model.config.seed, 'validation')
  given = model.task, model.variables, test.images[rows], test.conditions[rows], key
  under = bounds.elbo(*given, density, indices=rows).negative_elbo
  before = bounds.elbo(*given, indices=rows).negative_elbo
  assert metrics['negative_elbo'].value == pytest.approx(under.mean(), rel=1e-4)
  estimate = metrics['negative_elbo_of_all'].value
  assert estimate == pytest.approx(all_own + (under - before).mean(), rel=1e-4)


@pytest.mark.parametrize(
  ('available', 'images', 'samples', 'expected'),
  [(36, 200, 50, (6 + 10, 2)), (10_000, 200, 50, (200, 50)), (10_000, 20, 5_000, (20, 500))],
)
def test_images_and_samples_of_iwae_under_a_flow(available, images, samples, expected, monkeypatch):
  monkeypatch.setattr(suite, '_num_densities', lambda density: available)
  density = bounds.Density(print, {}, 'a flow')
  count, num_samples = suite.in_iwae(images, samples, density)
  assert num_samples == expected[1]
  assert count * num_samples <= available
  assert count >= expected[0]


def test_a_model_can_be_pickled(run):
  model = cvae_jax.load(run)
  copy = pickle.loads(pickle.dumps(model))
  np.testing.assert_array_equal(copy.sample([1, 2]), model.sample([1, 2]))


def train(folder, first, *arguments, devices):
  """train.py on simulated devices."""
  command = [sys.executable, str(ROOT / 'train.py'), '--config', str(ROOT / 'configs/default.py')]
  command += [*TINY_FLAGS, *tiny.flags(FLOW | {'first_stage': str(first)}), *arguments]
  flags = {'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
  done = subprocess.run(
    command, cwd=folder, env=os.environ | flags, capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stderr) == (0, '')
  return done.stdout


def assert_near(run, other):
  for row, expected in zip(tiny.rows(run), tiny.rows(other), strict=True):
    numbers = [[float(x[name] or 'nan') for name in expected] for x in (row, expected)]
    np.testing.assert_allclose(*numbers, rtol=1e-4)


@pytest.mark.slow
def test_one_device_or_four_train_the_same_second_stage(first, run, tmp_path):
  said = train(tmp_path, first, '--workdir=four', devices=4)
  assert 'on 4 cpu device(s)' in said
  assert 'left out' not in said
  assert_near(tmp_path / 'four', run)


@pytest.mark.slow
def test_a_sweep_of_second_stages_on_four_devices(first, run, tmp_path):
  """Seeds have runs on devices of their own, widths programs; each is the run that trains alone."""
  sweep = ['--sweep=velocity.width=32,64', '--sweep=seed=0,1,2', '--workdir=sweep']
  said = train(tmp_path, first, *sweep, devices=4)
  assert 'left out' not in said  # also its pictures
  assert_near(tmp_path / 'sweep' / 'velocity.width=32,seed=0', run)
  loop.train(config_of(first, velocity__width=64, seed=2), tmp_path / 'alone')
  assert_near(tmp_path / 'sweep' / 'velocity.width=64,seed=2', tmp_path / 'alone')
  picture = 'samples/step_9.png'
  assert (tmp_path / 'sweep/velocity.width=64,seed=2' / picture).is_file()
  report = (tmp_path / 'sweep/report.html').read_text()
  assert 'velocity_error' in report
  assert 'velocity.width=64' in report


def test_a_comparison_draws_from_the_flow(first, run):
  assert generation.learned(cvae_jax.load(run)) == 'flow_matching'
  assert generation.learned(cvae_jax.load(first)) == 'model'
