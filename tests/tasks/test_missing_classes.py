"""The bound of images whose class may be missing (M2), by hand from bounds where it is given."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvae_jax import config as config_lib
from cvae_jax.models import conditions as conditions_lib
from cvae_jax.models import cvae
from cvae_jax.runtime.errors import InputError
from tiny import task_of, tiny_config

NAN = math.nan
IMAGES = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1), np.uint8)
KEY = jax.random.key(1)
# A category that may be missing, a flag that may be too, a number, and another such category.
COLUMNS = ('category:3?', 'flag?', 'number', 'category:2?')
NAMES = 3, 2  # of the two
ROWS = np.float32(
  [
    [2, 1, 0.5, 0],
    [NAN, 0, -1, 1],
    [0, NAN, 0.25, NAN],
    [NAN, NAN, 2, NAN],
    [1, 0, 0, 1],
    [NAN, 1, 1, 0],
  ]
)
KNOWN = np.where(np.isnan(ROWS), 1, ROWS)


def untrained(columns=COLUMNS, **changes):
  """An untrained task with a constant β = 1, and its variables with heads that are sure of some."""
  fields = {'beta_schedule': 'constant', 'data__num_classes': 3, 'data__columns': columns}
  config = tiny_config(**(fields | changes))
  config_lib.check(config)
  task = task_of(config)
  return task, variables_of(task.network)


@functools.cache
def variables_of(network):
  variables = jax.jit(functools.partial(cvae.init, network))(jax.random.key(0))
  random = np.random.RandomState(1)
  return jax.tree.map(lambda x: np.float32(x + 0.3 * random.randn(*x.shape)), variables)


def loss_of(task, variables, rows, images=IMAGES, step=0):
  """The loss as a function of the parameters."""

  def loss(params):
    batch = images, jnp.asarray(rows)
    value, (terms, _) = task.loss(
      variables | {'params': params}, batch, task.hyperparameters, KEY, jnp.int32(step)
    )
    return value, terms

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def loss_and_terms(task, variables, rows, images=IMAGES):
  (value, terms), _ = loss_of(task, variables, rows, images)(variables['params'])
  assert set(terms) == set(task.terms)
  return float(value), {name: float(term) for name, term in terms.items()}


def gradient(task, variables, rows):
  _, slope = loss_of(task, variables, rows)(variables['params'])
  return slope


@functools.cache
def compiled_bound(task):
  return jax.jit(task.bound)


def bound(task, variables, images, rows, keys):
  return compiled_bound(task)(variables, (images, jnp.float32(rows)), keys)


def by_hand(task, variables, choose=lambda terms: terms.negative_elbo):
  """Σ_c q(c | x) f(x, c) of each image, from one bound for each of its completions, float64."""
  pixels = jnp.float32(IMAGES) / 255
  log_probs = task.network.apply(variables, pixels, train=False, method='infer')
  assert [x.shape for x in log_probs] == [(6, names) for names in NAMES]
  probabilities = [np.exp(np.float64(x)) for x in log_probs]
  keys = jax.random.split(KEY, 6)
  total, class_kl = np.zeros(6), np.zeros(6)
  for image, row in enumerate(ROWS):
    options = [
      [(name, p[image, name]) for name in range(len(p[image]))] if np.isnan(row[number]) else
      [(int(row[number]), 1.0)]
      for number, p in zip((0, 3), probabilities, strict=True)
    ]  # fmt: skip
    for (first, p), (second, q) in itertools.product(*options):
      given = row.copy()
      given[0], given[3] = first, second
      one = slice(image, image + 1)
      result = bound(task, variables, IMAGES[one], given[None], keys[one])
      assert float(result.class_kl[0]) == 0
      total[image] += p * q * float(choose(result.terms)[0])
    for number, p in zip((0, 3), probabilities, strict=True):
      if np.isnan(row[number]):
        class_kl[image] += stats.entropy(p[image], np.full(p.shape[1], 1 / p.shape[1]))
  return total, class_kl, log_probs


def test_the_bound_is_the_sum_over_classes_by_hand():
  task, variables = untrained()
  keys = jax.random.split(KEY, 6)
  result = bound(task, variables, IMAGES, ROWS, keys)
  total, class_kl, log_probs = by_hand(task, variables)
  assert max(np.ptp(np.exp(x), axis=1).max() for x in log_probs) > 0.1  # not all alike
  np.testing.assert_allclose(result.terms.negative_elbo, total, rtol=1e-5)
  np.testing.assert_allclose(result.class_kl, class_kl, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(np.asarray(result.class_kl) > 0, np.isnan(ROWS[:, [0, 3]]).any(1))
  terms = jax.jit(task.evaluate)(variables, (IMAGES, jnp.asarray(ROWS)), keys)
  assert set(terms) == set(task.validation_terms)
  np.testing.assert_allclose(terms['negative_elbo'], total + class_kl, rtol=1e-5)
  np.testing.assert_allclose(terms['class_kl'], class_kl, rtol=1e-4, atol=1e-6)


def test_the_posterior_is_that_of_the_likeliest_class():
  task, variables = untrained()
  keys = jax.random.split(KEY, 6)
  result = bound(task, variables, IMAGES, ROWS, keys)
  _, _, log_probs = by_hand(task, variables)
  likeliest = ROWS.copy()
  for number, log_prob in zip((0, 3), log_probs, strict=True):
    best = np.argmax(log_prob, axis=1)
    likeliest[:, number] = np.where(np.isnan(ROWS[:, number]), best, ROWS[:, number])
  expected = bound(task, variables, IMAGES, likeliest, keys)
  for name in ('mean', 'logvar', 'latents'):
    np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=1e-5)
  pixels = np.float32(IMAGES / 255)
  mean, logvar = task.encode(variables, pixels, jnp.asarray(ROWS))
  np.testing.assert_allclose(mean, result.mean, atol=1e-5)
  np.testing.assert_allclose(logvar, result.logvar, atol=1e-5)


@pytest.mark.parametrize('prior', ['standard', 'class_gaussian', 'vamp', 'flow'])
@pytest.mark.parametrize('weight', [1.0, 3.5])
def test_the_loss_is_the_bound_and_the_cross_entropy(prior, weight):
  small = {'model__num_flow_layers': 2, 'model__num_pseudo_inputs': 2}
  task, variables = untrained(prior=prior, classifier_weight=weight, beta=0.5, **small)
  loss, terms = loss_and_terms(task, variables, ROWS)
  # A loss draws for a batch, a bound for each image: the same noise for all completions.
  noise = _noise(task)
  pixels = jnp.float32(IMAGES) / 255
  log_probs = task.network.apply(variables, pixels, train=False, method='infer')
  probabilities = [np.exp(np.float64(x)) for x in log_probs]
  reconstruction, kl = np.zeros(6), np.zeros(6)
  draw = lambda mean, logvar: mean + jnp.exp(0.5 * logvar) * noise  # noqa: E731
  run = jax.jit(functools.partial(task.network.apply, draw=draw, train=False))
  for first, second in itertools.product(*map(range, NAMES)):
    weights, given = np.ones(6), ROWS.copy()
    for number, name, p in zip((0, 3), (first, second), probabilities, strict=True):
      missing = np.isnan(ROWS[:, number])
      weights *= np.where(missing, p[:, name], ROWS[:, number] == name)
      given[:, number] = np.where(missing, name, ROWS[:, number])
    forward = run(variables, pixels, given)
    reconstruction -= weights * np.float64(task.likelihood.log_prob(pixels, forward.outputs))
    kl += weights * np.float64(forward.kl).sum(axis=-1)
  even = lambda p: np.full(p.shape[-1], 1 / p.shape[-1])  # noqa: E731
  class_kl, cross_entropy = np.zeros(6), 0.0
  for number, p in zip((0, 3), probabilities, strict=True):
    missing = np.isnan(ROWS[:, number])
    class_kl += np.where(missing, [stats.entropy(row, even(row)) for row in p], 0)
    known = np.flatnonzero(~missing)
    cross_entropy -= np.log(p[known, ROWS[known, number].astype(int)]).mean()
  assert terms['reconstruction'] == pytest.approx(reconstruction.mean(), rel=1e-5)
  assert terms['kl'] == pytest.approx(kl.mean(), rel=1e-4, abs=1e-5)
  assert terms['class_kl'] == pytest.approx(class_kl.mean(), rel=1e-4)
  assert terms['cross_entropy'] == pytest.approx(cross_entropy, rel=1e-5)
  expected = (reconstruction + 0.5 * (kl + class_kl)).mean() + weight * cross_entropy
  assert loss == pytest.approx(expected, rel=1e-5)


def _noise(task):
  """What `gaussians.reparameterize` adds in `loss`, from its second key."""
  shape = len(IMAGES), task.network.latent_dim
  return jax.random.normal(jax.random.split(KEY, 5)[1], shape, jnp.float32)


def test_labelled_images_alone_give_the_ordinary_loss():
  task, variables = untrained()
  loss, terms = loss_and_terms(task, variables, KNOWN)
  assert terms['class_kl'] == 0
  # Its network lacks only q(c | x): no cell of a category is empty.
  plain, _ = untrained(('category:3', 'flag?', 'number', 'category:2'))
  params = {k: v for k, v in variables['params'].items() if not k.startswith('classifiers')}
  expected, ordinary = loss_and_terms(plain, {'params': params}, KNOWN)
  assert loss - terms['cross_entropy'] == pytest.approx(expected, rel=1e-6)
  for name, value in ordinary.items():
    assert terms[name] == pytest.approx(value, rel=1e-6)
  slope, other = gradient(task, variables, KNOWN), gradient(plain, {'params': params}, KNOWN)
  for name in ('class_embedding', 'mean_head', 'decoder'):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), slope[name], other[name]
    )


def test_images_without_a_class_teach_the_classifier_and_labels_too():
  task, variables = untrained(classifier_weight=1e-9)
  unlabelled = np.where(np.arange(4) % 3 == 0, np.float32(NAN), KNOWN)
  slopes = gradient(task, variables, unlabelled)
  for head in ('classifiers_0', 'classifiers_1'):
    assert np.abs(slopes[head]['kernel']).max() > 1e-3
  slopes = gradient(task, variables, KNOWN)  # the weight is next to nothing
  for head in ('classifiers_0', 'classifiers_1'):
    assert np.abs(slopes[head]['kernel']).max() < 1e-6


@pytest.mark.parametrize(('epochs', 'step', 'rise'), [(2.0, 0, 0), (2.0, 3, 0.5), (1.0, 8, 1)])
def test_a_warm_up_scales_what_the_bound_teaches_the_classifier(epochs, step, rise):
  """Epochs have 3 steps. Values stay; labels teach at once."""
  plain, variables = untrained(classifier_weight=1e-9)
  warm, _ = untrained(classifier_weight=1e-9, classifier_warmup_epochs=epochs)
  results = [
    loss_of(task, variables, ROWS, step=step)(variables['params']) for task in (plain, warm)
  ]
  (value, terms), slope = results[0]
  (same, same_terms), other = results[1]
  assert float(same) == pytest.approx(float(value), rel=1e-6)
  assert float(same_terms['class_kl']) == pytest.approx(float(terms['class_kl']), rel=1e-6)
  for head in ('classifiers_0', 'classifiers_1'):
    expected = rise * np.asarray(slope[head]['kernel'])
    np.testing.assert_allclose(other[head]['kernel'], expected, rtol=1e-4, atol=1e-6)
    assert np.abs(slope[head]['kernel']).max() > 1e-2
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    other['decoder'],
    slope['decoder'],
  )


@pytest.mark.parametrize('columns', [COLUMNS, ('category:3', 'number'), ('category:3?',)])
def test_with_all_conditions_hidden_the_loss_is_that_of_unknown_rows(columns):
  rows = ROWS if columns == COLUMNS else np.nan_to_num(ROWS[:, [0, 2]])[:, : len(columns)]
  task, variables = untrained(columns, condition_dropout=1.0, classifier_weight=0.0)
  assert not task.network.is_inferring
  loss, terms = loss_and_terms(task, variables, rows)
  unknown = np.full_like(rows, NAN)
  same, _ = loss_and_terms(task, variables, unknown)
  assert loss == same
  # The same network in a run that hides nothing.
  plain, _ = untrained(columns, condition_dropout=1e-9, classifier_weight=0.0)
  assert loss_and_terms(plain, variables, unknown) == (loss, terms)
  assert loss_and_terms(plain, variables, rows)[0] != loss
  kernel = gradient(task, variables, rows)['class_embedding']['kernel']
  says_unknown = _unknown_inputs(task.network.columns)
  assert np.abs(kernel[~says_unknown]).max() == 0
  assert np.all(np.abs(kernel[says_unknown]).max(axis=1) > 1e-4)


def _unknown_inputs(columns):
  """Which inputs of the embedding say that a value is unknown."""
  flags = []
  for column in columns:
    flags += [False] * (column.num_names or 1) + [True] * column.has_unknown
  return np.array(flags)


def test_hidden_conditions_do_not_teach_what_the_class_is():
  """With q(c | x): each hidden image gives its ELBO without conditions, labels still teach."""
  task, variables = untrained(condition_dropout=1.0)
  assert task.network.is_inferring
  loss, terms = loss_and_terms(task, variables, ROWS)
  plain, _ = untrained(condition_dropout=1.0, classifier_weight=0.0)
  params = {k: v for k, v in variables['params'].items() if not k.startswith('classifiers')}
  expected, ordinary = loss_and_terms(plain, {'params': params}, ROWS)
  assert terms['class_kl'] == 0
  assert loss - terms['cross_entropy'] == pytest.approx(expected, rel=1e-6)
  assert terms['kl'] == pytest.approx(ordinary['kl'], rel=1e-5)
  kernel = gradient(task, variables, ROWS)['class_embedding']['kernel']
  says_unknown = _unknown_inputs(task.network.columns)
  assert np.abs(kernel[~says_unknown]).max() == 0
  assert np.all(np.abs(kernel[says_unknown]).max(axis=1) > 1e-4)


def test_some_are_hidden_others_not():
  task, _ = untrained(condition_dropout=0.25)
  hidden = task.hidden(KEY, 10_000)
  assert abs(np.mean(hidden) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 10_000)
  rows = np.ones((10_000, 4), np.float32)
  seen = np.isnan(conditions_lib.hide(rows, hidden))
  np.testing.assert_array_equal(seen, np.broadcast_to(np.asarray(hidden)[:, None], seen.shape))
  assert untrained()[0].hidden(KEY, 6) is None


def test_conditions_are_never_hidden_in_an_evaluation():
  keys = jax.random.split(KEY, 6)
  task, variables = untrained(condition_dropout=1.0)
  plain, _ = untrained(condition_dropout=1e-9)
  one, other = (bound(t, variables, IMAGES, ROWS, keys) for t in (task, plain))
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert not np.allclose(
    one.terms.reconstruction, bound(task, variables, IMAGES, ROWS * NAN, keys).terms.reconstruction
  )


@pytest.mark.parametrize('samples', [1, 3])
def test_a_flow_learns_from_all_columns(samples):
  task, variables = untrained(
    prior='flow',
    classifier_weight=0.0,
    num_importance_samples=samples,
    model__num_flow_layers=2,
    model__flow_hidden_dim=4,
  )
  slope = gradient(task, variables, ROWS)
  assert sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(slope['prior'])) > 1e-3
  latents = jnp.ones((6, 3))
  density = jax.jit(functools.partial(task.network.apply, method='log_prior'))
  before = density(variables, latents, KNOWN)
  for number in range(4):
    changed = KNOWN.copy()
    changed[:, number] = changed[:, number] == 0
    assert np.all(np.abs(density(variables, latents, changed) - before) > 1e-6)


@pytest.mark.parametrize('prior', ['class_gaussian', 'vamp'])
def test_a_mixture_for_each_class_follows_the_first_category(prior):
  columns = 'number', 'category:3', 'flag'
  task, variables = untrained(columns, prior=prior, model__num_pseudo_inputs=2)
  density = jax.jit(functools.partial(task.network.apply, method='log_prior'))
  latents = jnp.ones((3, 3))
  rows = np.float32([[0.5, 0, 1], [0.5, 1, 1], [0.5, 2, 1]])
  before = np.asarray(density(variables, latents, rows))
  assert len(np.unique(before.round(4))) == 3
  others = np.float32([[-2, 0, 0], [1, 1, 0], [0, 2, 1]])
  np.testing.assert_array_equal(density(variables, latents, others), before)
  np.testing.assert_array_equal(density(variables, latents, rows[[1, 2, 0]]), before[[1, 2, 0]])
  if prior == 'class_gaussian':
    own = (np.float64(variables['params']['prior'][name]) for name in ('mean', 'logvar'))
    mean, logvar = own
    expected = stats.norm.logpdf(1, mean, np.exp(logvar / 2)).sum(axis=1)
    np.testing.assert_allclose(before, expected, rtol=1e-5)
  slope = gradient(task, variables, np.tile(rows, (2, 1)))['prior']
  assert all(np.abs(leaf).max() > 1e-5 for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize('prior', ['class_gaussian', 'vamp'])
@pytest.mark.parametrize(
  ('columns', 'changes', 'named'),
  [
    (('number', 'flag'), {}, 'data.conditions='),
    (('number', 'category:3?'), {'classifier_weight': 0.0}, 'data.conditions='),
    (('category:3',), {'condition_dropout': 0.5}, 'condition_dropout=0.5'),
  ],
)
def test_a_mixture_for_each_class_needs_the_class(prior, columns, changes, named):
  with pytest.raises(InputError, match=f"prior='{prior}'.*{named}.*standard"):
    untrained(columns, prior=prior, data__conditions='a,b', **changes)
  untrained(columns, prior='flow', data__conditions='a,b', **changes)


@pytest.mark.parametrize(
  ('columns', 'changes', 'named'),
  [
    (('category:300?',), {}, 'data.conditions=.*300.*classifier_weight=0'),
    (('category:20?', 'category:20?'), {}, 'data.conditions=.*400.*classifier_weight=0'),
    (('category:3?',), {'num_importance_samples': 2}, 'num_importance_samples=2'),
    (('category:3?',), {'objective': 'dae'}, "objective='dae'.*classifier_weight=0"),
  ],
)
def test_what_cannot_be_summed_over_is_refused(columns, changes, named):
  with pytest.raises(InputError, match=named):
    untrained(columns, **changes)
  untrained(columns, classifier_weight=0.0, **changes)


def test_known_classes_are_never_summed_over():
  untrained(('category:300', 'category:300', 'category:256?'))


def test_a_grid_of_samples_has_a_row_for_each_class_with_the_rest_from_the_table():
  task, variables = untrained(classifier_weight=0.0)
  labels = jnp.array([0, 0, 1, 2, 2, 2, 1, 0])
  rows = np.asarray(conditions_lib.of_classes(task.network.columns, labels, ROWS))
  np.testing.assert_array_equal(rows[:, 0], labels)
  np.testing.assert_array_equal(rows[:, 1:], np.concatenate([ROWS, ROWS[:2]])[:, 1:])
  pictures = task.pictures(variables, (IMAGES, ROWS), KEY)
  assert pictures['samples'].shape == (3, 10, 8, 8, 1)
  assert np.isfinite(pictures['samples']).all()
  task, variables = untrained(('number', 'flag?'), data__num_classes=0)
  pictures = task.pictures(variables, (IMAGES, ROWS[:, [2, 1]]), KEY)
  assert pictures['samples'].shape == (8, 8, 8, 8, 1)


def test_a_denoising_autoencoder_of_a_table():
  task, variables = untrained(objective='dae', classifier_weight=0.0)
  loss, terms = loss_and_terms(task, variables, ROWS)
  assert loss == pytest.approx(terms['reconstruction'])
  hidden, _ = untrained(objective='dae', classifier_weight=0.0, condition_dropout=1.0)
  other, variables = loss_and_terms(hidden, variables_of(hidden.network), ROWS), variables
  unknown = loss_and_terms(hidden, variables_of(hidden.network), ROWS * NAN)
  assert other == unknown
