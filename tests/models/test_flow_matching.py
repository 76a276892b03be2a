"""Flow matching against the exact flow of a Gaussian mixture in two dimensions, and SciPy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.stats

from cvae_jax.models import flow_matching, velocity
from cvae_jax.runtime.errors import InputError


class Mixture(NamedTuple):
  """Σ w N(m, S) with S = U diag(s) Uᵀ, and the velocity that flow matching learns from it."""

  weights: np.ndarray  # [K]
  means: np.ndarray  # [K, 2]
  axes: np.ndarray  # U, [K, 2, 2]
  variances: np.ndarray  # s, [K, 2]

  def velocity(self, points, times, xp=jnp):
    """E[x₁ − x₀ | x_t]: within a component, x₀, x₁ and x_t are Gaussian together."""
    times, variances = times[:, None, None], self.variances[None]
    along = xp.einsum('nki,kij->nkj', points[:, None] - times * self.means[None], self.axes)
    of_points = (1 - times) ** 2 + times**2 * variances  # of x_t along the axes
    log_weights = -0.5 * (xp.log(of_points) + along**2 / of_points).sum(-1)
    log_weights += xp.log(self.weights)[None]
    weights = xp.exp(log_weights - log_weights.max(-1, keepdims=True))
    with_points = times * variances - (1 - times)  # Cov(x₁ − x₀, x_t) along the axes
    expected = xp.einsum('nkj,kij->nki', with_points / of_points * along, self.axes)
    expected += self.means[None]
    return (weights[..., None] * expected).sum(1) / weights.sum(-1, keepdims=True)

  def log_prob(self, points):
    """log Σ w N(x; m, S), by SciPy."""
    covariances = self.axes * self.variances[:, None] @ self.axes.swapaxes(1, 2)
    parts = zip(self.weights, self.means, covariances, strict=True)
    densities = [w * scipy.stats.multivariate_normal(m, s).pdf(points) for w, m, s in parts]
    return np.log(sum(densities))

  def draw(self, random, number):
    """Points [N, 2]."""
    component = random.choice(len(self.weights), number, p=self.weights)
    along = np.sqrt(self.variances[component]) * random.randn(number, 2)
    offsets = np.einsum('nj,nij->ni', along, self.axes[component])
    return np.float32(self.means[component] + offsets)


def rotations(*angles):
  return np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])


MIXTURE = Mixture(
  weights=np.array([0.5, 0.3, 0.2]),
  means=np.array([[2.0, 0.0], [-1.0, 1.5], [-0.5, -2.0]]),
  axes=rotations(0.5, -1.0, 0.0),
  variances=np.array([[0.4, 0.15], [0.2, 0.5], [0.5, 0.1]]),
)
GAUSSIAN = Mixture(np.ones(1), np.array([[1.0, -2.0]]), rotations(0.3), np.array([[0.6, 0.2]]))


def noise(number=500):
  return jnp.float32(np.random.RandomState(0).randn(number, 2))


def solve(start, num_steps, mixture=MIXTURE, **options):
  run = lambda start: flow_matching.solve(mixture.velocity, start, num_steps, **options)  # noqa: E731
  return np.asarray(jax.jit(run)(start))


def exact(start, begin, end):
  """The points of MIXTURE at time `end`, by an adaptive method of order 8 in float64."""

  def derivative(time, flat):
    points = flat.reshape(-1, 2)
    return MIXTURE.velocity(points, np.full(len(points), time), np).ravel()

  flat = np.float64(start).ravel()
  solution = scipy.integrate.solve_ivp(
    derivative, (begin, end), flat, 'DOP853', rtol=1e-8, atol=1e-8
  )
  return solution.y[:, -1].reshape(-1, 2)


def test_lines_between_noise_and_data():
  data, start = jnp.ones((3, 2, 2)), jnp.full((3, 2, 2), -1.0)
  points, velocities = flow_matching.interpolate(start, data, jnp.array([0.0, 0.25, 1.0]))
  np.testing.assert_allclose(points[:, 0, 0], [-1, -0.5, 1])
  np.testing.assert_array_equal(velocities, 2.0)


def test_times_are_logit_normal():
  times = flow_matching.logit_normal(jax.random.key(0), (1000, 2))
  assert times.shape == (1000, 2)
  assert scipy.stats.kstest(scipy.special.logit(np.asarray(times).ravel()), 'norm').pvalue > 0.01


def test_exact_field_is_the_mean_of_the_velocities_at_a_point():
  """Ties the closed form to `interpolate`: what is left is orthogonal to functions of x_t."""
  random = np.random.RandomState(1)
  data = MIXTURE.draw(random, 200_000)
  start = np.float32(random.randn(*data.shape))
  times = jnp.full(len(data), 0.6)
  points, velocities = flow_matching.interpolate(start, data, times)
  residuals = velocities - jax.jit(MIXTURE.velocity)(points, times)
  features = [jnp.ones_like(points[:, :1]), points, jnp.square(points), jnp.sin(3 * points)]
  products = jnp.concatenate(features, axis=1).T @ residuals / len(points)
  np.testing.assert_allclose(products, 0, atol=0.05)


def test_solving_the_exact_field_draws_from_the_mixture():
  samples = solve(noise(20_000), 50)
  drawn = MIXTURE.draw(np.random.RandomState(2), 20_000)
  np.testing.assert_allclose(samples.mean(0), drawn.mean(0), atol=0.04)
  np.testing.assert_allclose(np.cov(samples.T), np.cov(drawn.T), atol=0.06)
  # The density at samples has the distribution that it has at the mixture's own points.
  test = scipy.stats.ks_2samp(MIXTURE.log_prob(samples), MIXTURE.log_prob(drawn))
  assert test.pvalue > 0.01


def test_log_prob_of_the_exact_field_is_that_of_the_mixture():
  points = MIXTURE.draw(np.random.RandomState(3), 200)
  log_prob = jax.jit(lambda points: flow_matching.log_prob(MIXTURE.velocity, points, 200))(points)
  np.testing.assert_allclose(log_prob, MIXTURE.log_prob(points), atol=1e-3)


def test_log_prob_does_not_depend_on_how_many_rows_of_the_jacobian_are_taken_at_once(monkeypatch):
  points = MIXTURE.draw(np.random.RandomState(3), 5)
  before = flow_matching.log_prob(MIXTURE.velocity, points, 3)
  monkeypatch.setattr(flow_matching, 'MAX_JACOBIAN', 1)
  after = flow_matching.log_prob(MIXTURE.velocity, points, 3)
  np.testing.assert_allclose(after, before, rtol=1e-6)


def test_guidance_of_one_and_zero_are_the_two_velocities_bit_for_bit():
  solved = {}
  for guidance in (0, 1, 2.5):
    field = flow_matching.guided(MIXTURE.velocity, GAUSSIAN.velocity, guidance)
    solved[guidance] = np.asarray(flow_matching.solve(field, noise(), 5))
  np.testing.assert_array_equal(solved[1], flow_matching.solve(MIXTURE.velocity, noise(), 5))
  np.testing.assert_array_equal(solved[0], flow_matching.solve(GAUSSIAN.velocity, noise(), 5))
  assert np.abs(solved[2.5] - solved[1]).max() > 0.1


def test_guidance_goes_on_from_the_unconditional_through_the_conditional_velocity():
  times = jnp.full(500, 0.3)
  mixed = flow_matching.guided(MIXTURE.velocity, GAUSSIAN.velocity, 3.0)(noise(), times)
  conditional, without = (m.velocity(noise(), times) for m in (MIXTURE, GAUSSIAN))
  np.testing.assert_allclose(mixed, 3 * conditional - 2 * without, atol=1e-4)


@pytest.mark.parametrize(('begin', 'end'), [(0.0, 1.0), (1.0, 0.0), (0.4, 1.0)])
def test_many_steps_of_heun_against_scipy(begin, end):
  start = noise(100)
  expected = exact(start, begin, end)
  np.testing.assert_allclose(
    solve(start, 400, begin=begin, end=end), expected, atol=2e-3, rtol=1e-3
  )


@pytest.mark.parametrize(('method', 'order'), [('euler', 1), ('heun', 2)])
def test_order_of_the_error(method, order):
  start, counts = noise(100), np.array([10, 20, 40])
  expected = exact(start, 0.0, 1.0)
  errors = [np.abs(solve(start, int(n), method=method) - expected).mean() for n in counts]
  slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
  assert slope == pytest.approx(-order, abs=0.2)


@pytest.mark.parametrize('begin', [0.0, 0.5])
def test_there_and_back(begin):
  data = MIXTURE.draw(np.random.RandomState(4), 200)
  middle = solve(data, 200, begin=1.0, end=begin)
  assert np.abs(middle - data).max() > 0.3
  np.testing.assert_allclose(solve(middle, 200, begin=begin, end=1.0), data, atol=3e-3)


def test_solution_has_a_gradient():
  scale_of = lambda scale: solve_scaled(scale).sum()  # noqa: E731

  def solve_scaled(scale):
    return flow_matching.solve(lambda points, times: scale * points, jnp.ones((1, 1)), 100)

  assert jax.grad(scale_of)(0.5) == pytest.approx(np.exp(0.5), rel=1e-3)


def test_one_time_step_for_each_image_of_any_shape():
  shapes = []

  def field(points, times):
    shapes.append((points.shape, times.shape))
    return jnp.ones_like(points)

  np.testing.assert_allclose(flow_matching.solve(field, jnp.zeros((3, 2, 4)), 7), 1.0, rtol=1e-6)
  assert set(shapes) == {((3, 2, 4), (3,))}


def test_unusable_settings():
  with pytest.raises(InputError, match='num_steps=0'):
    flow_matching.solve(MIXTURE.velocity, noise(), 0)
  with pytest.raises(InputError, match="method='rk4'"):
    flow_matching.solve(MIXTURE.velocity, noise(), 3, method='rk4')


@pytest.mark.slow
def test_a_trained_network_comes_near_the_exact_field():
  network = velocity.MLP(width=64, depth=2)
  context = jnp.zeros((512, 0))
  params = network.init(jax.random.key(0), noise(512), jnp.zeros(512), context)
  optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, 600))
  data = jnp.asarray(MIXTURE.draw(np.random.RandomState(5), 1 << 16))

  def loss(params, key):
    of_data, of_noise, of_times = jax.random.split(key, 3)
    batch = jax.random.choice(of_data, data, (512,))
    start = jax.random.normal(of_noise, batch.shape)
    times = flow_matching.logit_normal(of_times, (512,))
    points, velocities = flow_matching.interpolate(start, batch, times)
    return jnp.mean(jnp.square(network.apply(params, points, times, context) - velocities))

  @jax.jit
  def train(params):
    def step(carry, key):
      params, state = carry
      updates, state = optimizer.update(jax.grad(loss)(params, key), state)
      return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(1), 600)
    return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

  params = train(params)
  learned = lambda points, times: network.apply(params, points, times, context[: len(points)])  # noqa: E731
  points = MIXTURE.draw(np.random.RandomState(6), 512)
  for time in (0.2, 0.5, 0.8):
    times = jnp.full(512, time)
    between, _ = flow_matching.interpolate(noise(512), points, times)
    expected = MIXTURE.velocity(between, times)
    error = jnp.mean(jnp.square(learned(between, times) - expected))
    assert error < 0.05 * jnp.mean(jnp.square(expected)), time
  log_prob = jax.jit(lambda points: flow_matching.log_prob(learned, points, 50))(points)
  assert np.mean(MIXTURE.log_prob(points) - log_prob) == pytest.approx(0, abs=0.1)
