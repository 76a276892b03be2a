"""What the page of the shipped mnist computes in a browser, against JAX."""

import base64
import math
import shutil

import numpy as np
import pytest

import cvae_jax
from cvae_jax import exporting

playwright = pytest.importorskip(
  'playwright.sync_api', reason='playwright is not installed (make export-tools)'
)
CHROMIUM = shutil.which('chromium')
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed'),
]
SEED = 24  # of the page's noises


def noise(seed, length):
  """The first draw of `assets/random.js`: mulberry32 and Box-Muller, written anew."""
  state = seed

  def uniform():
    nonlocal state
    state = (state + 0x6D2B79F5) % 2**32
    t = ((state ^ state >> 15) * (1 | state)) % 2**32
    t ^= (t + (t ^ t >> 7) * (61 | t)) % 2**32
    return (t ^ t >> 14) / 2**32

  return np.float32(
    [
      math.sqrt(-2 * math.log(1 - uniform())) * math.cos(2 * math.pi * uniform())
      for _ in range(length)
    ]
  )


def of_jax(model, images, eps):
  """(ELBOs [N, 10] over the draws ±eps, p(c | x), tiles [N, 10, 784]), of grey values."""
  network, likelihood = model.task.network, model.task.likelihood
  elbos, means = [], []
  for label in range(10):
    labels = np.full(len(images), label)
    mean, logvar = model.encode(images, labels)
    draws = np.stack([mean + sign * np.exp(logvar / 2) * eps for sign in (1, -1)])
    outputs = network.apply(
      model.variables, draws, labels.astype(np.int32), train=False, method='decode'
    )
    kl = 0.5 * (mean**2 + np.exp(logvar) - logvar - 1).sum(axis=1)
    elbos.append(np.asarray(likelihood.log_prob(images[None], outputs)).mean(axis=0) - kl)
    means.append(mean)
  elbos = np.stack(elbos, axis=1)
  posterior = np.exp(elbos - elbos.max(axis=1, keepdims=True))
  latents = np.stack(means, axis=1)[np.arange(len(images)), elbos.argmax(axis=1)]
  tiles = model.decode(np.repeat(latents, 10, axis=0), np.tile(np.arange(10), len(images)))
  return elbos, posterior / posterior.sum(axis=1, keepdims=True), tiles.reshape(-1, 10, 784)


@pytest.fixture
def page(tmp_path, real_data):
  model = cvae_jax.load('mnist')
  output = exporting.write(model, 'html', tmp_path / 'mnist.html', str(real_data))
  assert output.stat().st_size < 2e6
  errors = []
  with playwright.sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.on('console', lambda message: errors.append(message.text))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(output.as_uri())
    page.evaluate('window.page.ready')
    yield page
    browser.close()
  assert errors == []


READ = """async ([text, size, numStates]) => {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const states = [];
  for (let at = 0; at < bytes.length; at += size) {
    await page.setImage(Float32Array.from(bytes.subarray(at, at + size), (v) => v / 255), 2);
    const state = page.state();
    states.push(states.length < numStates ? state : {label: state.label});
  }
  return states;
}"""


@pytest.mark.data('mnist')
def test_the_page_computes_what_jax_does(page, real_data):
  model = cvae_jax.load('mnist')
  test = model.data(str(real_data)).test
  pixels, labels = test.images[:1000], test.labels[:1000]
  states = page.evaluate(READ, [base64.b64encode(pixels.tobytes()).decode(), 784, 100])

  elbos, probabilities, tiles = of_jax(model, np.float32(pixels[:100]) / 255, noise(SEED, 16))
  found = {name: [state[name] for state in states[:100]] for name in ('elbos', 'bars', 'tiles')}
  np.testing.assert_allclose(found['elbos'], elbos, rtol=0, atol=1e-3)
  np.testing.assert_allclose(found['bars'], probabilities, rtol=0, atol=1e-3)
  np.testing.assert_allclose(found['tiles'], tiles, rtol=0, atol=1e-3)

  right = np.mean([state['label'] for state in states] == labels)
  assert abs(right - np.mean(model.classify(pixels).argmax(axis=1) == labels)) <= 0.005
