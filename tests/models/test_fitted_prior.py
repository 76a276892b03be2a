"""The fitted prior against known mixtures, and as a file."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from cvae_jax.models import fitted_prior
from cvae_jax.runtime import tensor_files
from cvae_jax.runtime.errors import InputError
from tiny import tiny_config

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 3.0], [-2.0, -1.0], [2.5, -0.5]])
COVARIANCES = np.array(
  [[[0.5, 0.3], [0.3, 0.4]], [[0.2, 0.0], [0.0, 1.0]], [[0.3, -0.2], [-0.2, 0.6]]]
)


def log_density(points, weights, means, covariances):
  log_probs = [
    stats.multivariate_normal(mean, covariance).logpdf(points)
    for mean, covariance in zip(means, covariances, strict=True)
  ]
  return special.logsumexp(np.stack(log_probs), b=weights[:, None], axis=0)


@pytest.fixture(scope='module')
def known():
  """Posteriors of 4,000 images, narrow, of class 1; those of class 0 are one Gaussian."""
  random = np.random.RandomState(0)
  component = random.choice(3, 4000, p=WEIGHTS)
  mixed = np.stack([random.multivariate_normal(MEANS[k], COVARIANCES[k]) for k in component])
  single = random.multivariate_normal([1.0, 1.0], [[1.0, 0.5], [0.5, 1.0]], 4000)
  mean = np.float32(np.concatenate([single, mixed]))
  labels = np.repeat(np.int32([0, 1]), 4000)
  return fitted_prior.fit(mean, np.full_like(mean, -14.0), labels, 2)


def test_it_finds_the_mixture(known):
  covariances = known.factors @ known.factors.swapaxes(-1, -2)
  used = known.weights[1] > 0
  assert used.sum() == 3
  order = [np.argmin(np.linalg.norm(known.means[1] - mean, axis=1)) for mean in MEANS]
  np.testing.assert_allclose(known.weights[1, order], WEIGHTS, atol=0.03)
  np.testing.assert_allclose(known.means[1, order], MEANS, atol=0.1)
  np.testing.assert_allclose(covariances[1, order], COVARIANCES, atol=0.1)
  np.testing.assert_allclose(known.weights.sum(axis=1), 1, rtol=1e-5)


def test_one_gaussian_is_fitted_by_an_equal_density(known):
  covariances = known.factors @ known.factors.swapaxes(-1, -2)
  points = stats.multivariate_normal([1, 1], [[1, 0.5], [0.5, 1]]).rvs(4000, random_state=1)
  used = known.weights[0] > 0
  fitted = log_density(points, known.weights[0, used], known.means[0, used], covariances[0, used])
  truth = stats.multivariate_normal([1, 1], [[1, 0.5], [0.5, 1]]).logpdf(points)
  assert abs(np.mean(truth - fitted)) < 0.01  # KL in nats


def test_draws_are_those_of_the_mixture(known):
  count = 40_000
  labels = np.full(count, 1, np.int32)
  draw = lambda temperature: np.asarray(  # noqa: E731
    fitted_prior.draw(known, labels, jax.random.key(0), np.arange(count), temperature)
  )
  drawn, cold = draw(1.0), draw(0.0)
  np.testing.assert_allclose(drawn.mean(axis=0), WEIGHTS @ MEANS, atol=0.08)
  second = np.einsum('k,kij->ij', WEIGHTS, COVARIANCES + MEANS[:, :, None] * MEANS[:, None, :])
  np.testing.assert_allclose(drawn.T @ drawn / count, second, atol=0.25)
  assert len(np.unique(cold.round(4), axis=0)) == 3
  some = fitted_prior.draw(known, labels[:2], jax.random.key(0), np.array([7, 2]), 1.0)
  np.testing.assert_array_equal(some, drawn[[7, 2]])


def test_the_width_of_the_posteriors_is_fitted_too():
  mean = np.zeros((2000, 3), np.float32)
  logvar = np.full_like(mean, np.log(0.25))
  fitted = fitted_prior.fit(mean, logvar, np.zeros(2000, np.int32), 1)
  factors = fitted.factors[0]
  covariance = np.einsum('k,kil,kjl->ij', fitted.weights[0], factors, factors)
  np.testing.assert_allclose(covariance, 0.25 * np.eye(3), atol=0.03)


def test_a_class_with_few_images_or_none_gets_the_fit_to_all():
  mean = np.float32([[1, 1, 1], [3, 3, 3]] * 5 + [[-5, 0, 0]])
  fitted = fitted_prior.fit(mean, np.zeros_like(mean), np.int32([0] * 10 + [2]), 3)
  np.testing.assert_allclose(fitted.means[0, 0], [2, 2, 2], atol=0.2)
  np.testing.assert_allclose(fitted.means[1, 0], mean.mean(axis=0), atol=0.2)
  np.testing.assert_array_equal(fitted.means[1], fitted.means[2])
  assert np.isfinite(fitted.factors).all()
  assert str(fitted) == '1 Gaussian per class'


def test_one_dimension_and_no_classes():
  mean = np.random.RandomState(0).randn(500, 1).astype('float32') + 7
  fitted = fitted_prior.fit(mean, np.full_like(mean, -9), np.zeros(500, np.int32), 1)
  mean, deviation = fitted_prior.moments(fitted, 0)
  assert mean == pytest.approx([7], abs=0.1)
  assert deviation == pytest.approx([1], abs=0.1)
  assert str(fitted).endswith('Gaussian')


def test_moments_are_those_of_the_mixture(known):
  mean, deviation = fitted_prior.moments(known, 1)
  second = np.einsum('k,kij->ij', WEIGHTS, COVARIANCES + MEANS[:, :, None] * MEANS[:, None, :])
  np.testing.assert_allclose(mean, WEIGHTS @ MEANS, atol=0.1)
  np.testing.assert_allclose(deviation**2 + mean**2, np.diag(second), rtol=0.05)


def test_latents_that_no_gaussian_fits():
  mean = np.ones((50, 2), np.float32)
  for broken in (np.full_like(mean, np.nan), np.full_like(mean, 200.0)):
    with pytest.raises(InputError, match='latents'):
      fitted_prior.fit(mean, broken, np.zeros(50, np.int32), 1)
  # Far from 1, and on a line: still finite.
  line = np.float32(1e6 * np.random.RandomState(0).randn(300, 1) * np.ones((1, 3)))
  fitted = fitted_prior.fit(line, np.full_like(line, -9), np.zeros(300, np.int32), 1)
  assert np.isfinite(fitted.factors).all()


def test_a_file_of_other_weights_or_a_damaged_one_is_refused(known, tmp_path):
  classes, _, latent = known.means.shape
  config = tiny_config(latent_dim=latent, data__num_classes=classes)
  own = {'params': {'kernel': np.arange(4.0), 'bias': np.ones(2)}}
  assert fitted_prior.read(tmp_path, own, config) is None
  fitted_prior.save(tmp_path, known, own)
  again = fitted_prior.read(tmp_path, own, config)
  for saved, read in zip(known, again, strict=True):
    np.testing.assert_array_equal(saved, read)
  # Of the same shapes, as after another run of the same length.
  other = {'params': own['params'] | {'bias': np.float64([1, 1 + 1e-9])}}
  with pytest.raises(InputError, match=fitted_prior.FILE_NAME):
    fitted_prior.read(tmp_path, other, config)
  tensor_files.save(tmp_path / fitted_prior.FILE_NAME, {'weights': np.ones(3)})
  with pytest.raises(InputError, match=fitted_prior.FILE_NAME):
    fitted_prior.read(tmp_path, own, config)
  (tmp_path / fitted_prior.FILE_NAME).write_bytes(b'nothing')
  with pytest.raises(InputError, match=fitted_prior.FILE_NAME):
    fitted_prior.read(tmp_path, own, config)


def test_the_first_images_of_each_class_are_fitted(monkeypatch):
  labels = np.random.RandomState(0).randint(0, 5, 200).astype(np.int32)
  labels[labels == 3] = 4  # a class without images
  monkeypatch.setattr(fitted_prior, 'MAX_IMAGES', 30)

  def first(most):
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:most] for c in range(5)]))

  np.testing.assert_array_equal(fitted_prior.rows_to_fit(labels, 5, latent_dim=2), first(30))
  monkeypatch.setattr(fitted_prior, 'MAX_NUMBERS', 200)  # 100 latents
  np.testing.assert_array_equal(fitted_prior.rows_to_fit(labels, 5, latent_dim=2), first(20))


def test_many_classes_are_fitted_each_from_its_own_images():
  random = np.random.RandomState(0)
  labels = random.permutation(np.repeat(np.arange(300, dtype=np.int32), 6))
  mean = np.float32(np.stack([labels, -labels], axis=1) + 0.1 * random.randn(1800, 2))
  fitted = fitted_prior.fit(mean, np.full_like(mean, -14.0), labels, 300)
  expected = np.stack([np.arange(300), -np.arange(300)], axis=1)
  np.testing.assert_allclose(fitted.means[:, 0], expected, atol=0.3)
