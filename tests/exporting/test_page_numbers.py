"""What the page of the shipped mnist computes in a browser, against JAX."""

import base64
import shutil

import numpy as np
import pytest

import cvae_jax
from cvae_jax import exporting
from page_reference import read

playwright = pytest.importorskip(
  'playwright.sync_api', reason='playwright is not installed (make export-tools)'
)
CHROMIUM = shutil.which('chromium')
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed'),
]


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

  elbos, probabilities, tiles = read(model, np.float32(pixels[:100]) / 255)
  found = {name: [state[name] for state in states[:100]] for name in ('elbos', 'bars', 'tiles')}
  np.testing.assert_allclose(found['elbos'], elbos, rtol=0, atol=1e-3)
  np.testing.assert_allclose(found['bars'], probabilities, rtol=0, atol=1e-3)
  np.testing.assert_allclose(found['tiles'], tiles, rtol=0, atol=1e-3)

  right = np.mean([state['label'] for state in states] == labels)
  assert abs(right - np.mean(model.classify(pixels).argmax(axis=1) == labels)) <= 0.005
