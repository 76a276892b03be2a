"""A page in Firefox, driven by WebDriver BiDi."""

import asyncio
import json
import shutil
import socket
import subprocess

import numpy as np
import pytest
from tornado.websocket import websocket_connect

import cvae_jax
from cvae_jax import exporting
from page_reference import read

FIREFOX = shutil.which('firefox-esr') or shutil.which('firefox')
START_SECONDS = 60


class Browser:
  """One tab."""

  def __init__(self, connection):
    self._connection, self._number = connection, 0
    self.events = []

  async def call(self, method, **params):
    self._number += 1
    await self._connection.write_message(
      json.dumps({'id': self._number, 'method': method, 'params': params})
    )
    while (answer := json.loads(await self._connection.read_message())).get('id') != self._number:
      self.events.append(answer)
    assert answer['type'] == 'success', answer
    return answer['result']


async def _connect(port):
  for _ in range(2 * START_SECONDS):
    try:
      return await websocket_connect(f'ws://127.0.0.1:{port}/session', max_message_size=1 << 28)
    except OSError:
      await asyncio.sleep(0.5)
  raise TimeoutError('Firefox does not answer')


async def _evaluate(port, address, expression):
  """The value of a JSON expression on a page once it is ready, and what its console said."""
  connection = await _connect(port)
  browser = Browser(connection)
  await browser.call('session.new', capabilities={})
  await browser.call('session.subscribe', events=['log.entryAdded'])
  tab = (await browser.call('browsingContext.getTree'))['contexts'][0]['context']
  await browser.call('browsingContext.navigate', context=tab, url=address, wait='complete')
  result = await browser.call(
    'script.evaluate',
    expression=f'window.page.ready.then(async () => JSON.stringify({expression}))',
    target={'context': tab},
    awaitPromise=True,
  )
  connection.close()
  return json.loads(result['result']['value']), browser.events


@pytest.mark.slow
@pytest.mark.skipif(FIREFOX is None, reason='Firefox is not installed')
def test_the_page_reads_in_firefox_what_jax_does(tmp_path):
  model = cvae_jax.load('mnist')
  page = exporting.write(model, 'html', tmp_path / 'page.html', str(tmp_path))  # without images
  image = model.sample([7], seed=3)
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  command = [
    FIREFOX,
    '--headless',
    '--profile',
    str(tmp_path),
    '--remote-debugging-port',
    str(port),
  ]
  with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    try:
      expression = f'(await page.setImage({image.ravel().tolist()}, 2), page.state())'
      state, events = asyncio.run(_evaluate(port, page.as_uri(), expression))
    finally:
      process.kill()
  assert events == []
  for name, want in zip(('elbos', 'bars', 'tiles'), read(model, image), strict=True):
    np.testing.assert_allclose(state[name], want[0], rtol=0, atol=1e-3)
  assert state['label'] == 7
