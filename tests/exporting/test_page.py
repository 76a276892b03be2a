"""The exported page in Chromium, by mouse, keyboard and finger; needs no network."""

import base64
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import cvae_jax
import saved_models
from cvae_jax import exporting

api = pytest.importorskip(
  'playwright.sync_api', reason='playwright is not installed (pip install playwright)'
)
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason='there is no chromium (apt install chromium)'),
]
DESKTOP, PHONE = {'width': 1440, 'height': 900}, {'width': 390, 'height': 844}


@pytest.fixture(scope='module')
def browse():
  """Starts a headless browser, with arguments of its command."""
  with api.sync_playwright() as playwright:
    yield lambda *arguments: playwright.chromium.launch(
      executable_path=CHROMIUM, args=['--no-sandbox', *arguments]
    )


@pytest.fixture(scope='module')
def chromium(browse):
  return browse()


class Visit:
  """A page in a tab of its own; complaints of its console and requests are collected."""

  def __init__(self, browser, file, state='', **options):
    options = {'viewport': DESKTOP, 'reduced_motion': 'reduce'} | options
    self.context = browser.new_context(offline=True, **options)
    self.page = self.context.new_page()
    self.complaints, self.requests = [], []
    self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
    self.page.on('console', lambda message: self.complaints.append(message.text))
    self.page.on('request', lambda request: self.requests.append(request.url))
    self.page.goto(f'file://{file}{state}')
    self.page.evaluate('window.page.ready')

  @property
  def state(self):
    """What `window.page.state()` gives, arrays as arrays."""
    state = self.page.evaluate('window.page.state()')
    return {k: np.array(v) if isinstance(v, list) else v for k, v in state.items()}

  @property
  def caption(self):
    return self.page.text_content('#caption')

  def settle(self):
    """Waits until the page shows the same for half a second."""
    before = None
    for _ in range(40):
      now = self.page.evaluate('JSON.stringify([window.page.state(), location.hash])')
      if now == before:
        return self.state
      before = now
      self.page.wait_for_timeout(500)
    raise AssertionError('the page does not settle')

  def stroke(self, *points):
    """Draws a line through points, fractions of the canvas."""
    self.page.locator('#pad').scroll_into_view_if_needed()
    box = self.page.locator('#pad').bounding_box()
    places = [(box['x'] + x * box['width'], box['y'] + y * box['height']) for x, y in points]
    self.page.mouse.move(*places[0])
    self.page.mouse.down()
    for place in places[1:]:
      self.page.mouse.move(*place, steps=8)
    self.page.mouse.up()

  def on_map(self, x, y):
    """Pixels of a point of the map, which is scrolled into view."""
    self.page.locator('#map').evaluate("node => node.scrollIntoView({block: 'end'})")
    box = self.page.locator('#map').bounding_box()
    return box['x'] + x * box['width'], box['y'] + y * box['height']


@pytest.fixture
def visit(chromium):
  """Opens pages; none of them may complain or ask for anything outside of its file."""
  visits = []

  def open_page(file, state='', **options):
    visits.append(Visit(chromium, file, state, **options))
    return visits[-1]

  yield open_page
  for one in visits:
    one.context.close()
    assert one.complaints == []
    assert [url for url in one.requests if not re.match('file:|data:|blob:', url)] == []


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
  """Writes the page of a model, once for each name."""
  folder = tmp_path_factory.mktemp('pages')

  def write(name, model):
    file = folder / f'{name}.html'
    return file if file.exists() else exporting.write(model(), 'html', file)

  return write


@pytest.fixture(scope='session')
def digits(exported, tiny_run):
  """The page of a tiny model of digits, with test images."""
  return exported('digits', lambda: cvae_jax.load(tiny_run))


@pytest.fixture(scope='session')
def table(exported, tmp_path_factory):
  """The page of a model of a class, a flag that may be unknown, and a number in percent."""
  folder = tmp_path_factory.mktemp('models') / 'table'
  return exported('table', lambda: saved_models.save(folder, columns=saved_models.COLUMNS))


def test_a_drawing_is_read_and_shown_in_every_class(visit, digits):
  tab = visit(digits)
  tab.page.click('#clear')
  empty = tab.settle()
  assert (len(empty['bars']), empty['nats'], empty['source']) == (0, None, 'average')
  tab.stroke((0.4, 0.2), (0.6, 0.5), (0.4, 0.8))
  drawn = tab.settle()
  assert drawn['bars'].shape == (10,)
  assert drawn['bars'].sum() == pytest.approx(1)
  assert drawn['label'] == drawn['bars'].argmax()
  assert drawn['nats'] == pytest.approx(np.log(np.exp(drawn['elbos']).mean()))
  assert 0 <= drawn['quantile'] <= 1
  assert drawn['tiles'].shape == (10, 64)
  assert np.abs(drawn['tiles'] - empty['tiles']).max() > 1e-3
  texts = tab.page.locator('#reading .bars li .name').all_text_contents()
  assert texts == list('0123456789')
  assert tab.page.locator('#tiles .likeliest').text_content() == str(drawn['label'])


def test_without_a_drawing_the_page_asks_for_one(visit, digits):
  tab = visit(digits)
  tab.settle()
  own = tab.page.text_content('#reading-title')
  assert own.startswith('The model reads')
  assert not tab.caption.startswith('Your')
  tab.page.click('#clear')
  tab.settle()
  assert tab.page.text_content('#reading-title').strip().startswith('Draw a digit')
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  tab.settle()
  assert tab.page.text_content('#reading-title').startswith('The model reads')
  assert tab.caption.startswith('Your')


def test_a_dot_is_drawn_where_the_pen_was(visit, digits):
  tab = visit(digits)
  tab.page.click('#clear')
  tab.stroke((0.25, 0.75))
  assert tab.settle()['seen'].max() > 0
  centre = tab.page.evaluate("""() => {
    const canvas = document.getElementById('pad'), {width, height} = canvas;
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
    let [ink, x, y] = [0, 0, 0];
    for (let i = 0; i < width * height; i++) {
      if (data[4 * i + 3] < 128) continue;
      ink++; x += i % width; y += Math.floor(i / width);
    }
    return [x / ink / width, y / ink / height];
  }""")
  assert centre == pytest.approx([0.25, 0.75], abs=0.01)


def test_undo_takes_back_a_stroke_and_a_clearing(visit, digits):
  tab = visit(digits)
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  one = tab.settle()['seen']
  tab.stroke((0.2, 0.5), (0.8, 0.5))
  assert np.abs(tab.settle()['seen'] - one).max() > 0.5
  tab.page.keyboard.press('Control+z')
  np.testing.assert_array_equal(tab.settle()['seen'], one)
  tab.page.click('#clear')
  assert tab.settle()['seen'].max() == 0
  tab.page.click('#undo')
  np.testing.assert_array_equal(tab.settle()['seen'], one)


def test_the_first_stroke_replaces_what_the_page_drew(visit, digits):
  tab = visit(digits)
  assert tab.state['seen'].max() == 1
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  alone = tab.settle()['seen']
  tab.page.click('#clear')
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  np.testing.assert_array_equal(tab.settle()['seen'], alone)


def test_an_image_of_a_program_is_read_as_an_example_is(visit, digits):
  tab = visit(digits)
  tab.page.click('#examples li:nth-child(4) button')
  clicked = tab.settle()
  tab.page.click('#clear')
  tab.settle()
  tab.page.evaluate(
    'async (image) => window.page.setImage(Float32Array.from(image))', clicked['seen'].tolist()
  )
  given = tab.state  # without waiting: the promise is kept when all is there
  for name in ('seen', 'elbos', 'bars', 'latent', 'tiles'):
    np.testing.assert_array_equal(given[name], clicked[name])


def test_a_link_restores_strokes_on_an_example_and_a_moved_style(visit, digits):
  tab = visit(digits)
  tab.page.click('#examples li:nth-child(2) button')
  example = tab.settle()['seen'].reshape(8, 8)
  tab.stroke((0.2, 0.2), (0.8, 0.8))
  drawn = tab.settle()['seen'].reshape(8, 8)
  assert np.abs(np.diag(drawn - example)).max() > 0.1
  np.testing.assert_array_equal(drawn[:3, 5:], example[:3, 5:])  # as it is, but for the stroke
  tab.page.focus('#sliders input >> nth=0')
  for _ in range(30):
    tab.page.keyboard.press('ArrowRight')
  before = tab.settle()
  state = '#' + tab.page.url.split('#')[1]
  after = visit(digits, state).settle()
  np.testing.assert_array_equal(after['seen'], before['seen'])
  np.testing.assert_allclose(after['bars'], before['bars'], atol=1e-5)
  np.testing.assert_allclose(after['latent'], before['latent'], atol=1e-3)
  np.testing.assert_allclose(after['tiles'], before['tiles'], atol=1e-3)
  assert after['source'] == before['source'] == 'moved'


@pytest.mark.parametrize('state', ['#s=%%%', '#e=1&z=AA&l=77', '#e=999', '#nothing', '#t=NaN'])
def test_a_damaged_link_opens_the_page_as_without_and_is_told(visit, digits, state):
  whole, tab = visit(digits), visit(digits, state)
  np.testing.assert_array_equal(tab.settle()['seen'], whole.settle()['seen'])
  assert 'damaged' in tab.page.text_content('#notice')
  assert not whole.page.is_visible('#notice')
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  assert not tab.page.is_visible('#notice')


def test_the_map_shows_what_is_under_the_pointer_until_it_leaves(visit, digits):
  tab = visit(digits)
  before = tab.settle()
  tab.page.mouse.move(*tab.on_map(0.1, 0.1), steps=3)
  hovered = tab.settle()
  assert tab.caption == 'Under the pointer'
  assert np.abs(hovered['tiles'] - before['tiles']).max() > 1e-3
  np.testing.assert_array_equal(hovered['latent'], before['latent'])
  tab.page.mouse.move(1, 1)
  np.testing.assert_array_equal(tab.settle()['tiles'], before['tiles'])


def test_the_point_moves_in_the_plane_alone(visit, digits):
  tab = visit(digits)
  latents = [tab.settle()['latent']]
  tab.page.focus('#map')
  for key in ('ArrowRight', 'ArrowUp', 'Shift+ArrowLeft', 'ArrowDown'):
    tab.page.keyboard.press(key)
    latents.append(tab.settle()['latent'])
  steps = np.diff(latents, axis=0)
  np.testing.assert_allclose(np.linalg.norm(steps, axis=1), [0.1, 0.1, 0.5, 0.1], rtol=1e-4)
  np.testing.assert_allclose(steps[1], -steps[3], atol=1e-6)
  assert abs(steps[0] @ steps[1]) < 1e-6
  assert np.linalg.matrix_rank(steps, tol=1e-4) == 2


def test_the_point_is_dragged(visit, digits):
  tab = visit(digits)
  before = tab.settle()
  x, y = tab.on_map(0, 0)
  place = tab.page.evaluate("""() => {
    // The accent's ring is the only thing of its colour on the map, but for the picture's frame.
    const canvas = document.getElementById('map'), box = canvas.getBoundingClientRect();
    const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const [xs, ys] = [[], []];
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] === 201 && data[i + 1] === 63 && data[i + 2] === 39) {
        xs.push((i / 4) % width); ys.push(Math.floor(i / 4 / width));
      }
    }
    return [Math.min(...xs) + 10, ys.reduce((a, b) => a + b, 0) / ys.length];
  }""")
  tab.page.mouse.move(x + place[0], y + place[1])
  tab.page.mouse.down()
  tab.page.mouse.move(x + place[0] + 60, y + place[1] - 20, steps=5)
  tab.page.mouse.up()
  tab.page.mouse.move(1, 1)
  after = tab.settle()
  assert after['source'] == 'moved'
  assert np.abs(after['latent'] - before['latent']).max() > 0.01
  tab.page.click('#reset')
  np.testing.assert_array_equal(tab.settle()['latent'], before['latent'])


def test_a_slider_moves_its_latent(visit, digits):
  tab = visit(digits)
  before = tab.settle()['latent']
  slider = tab.page.locator('#sliders input >> nth=1')
  latent = int(slider.get_attribute('id').removeprefix('latent-'))
  slider.focus()
  for _ in range(50):
    tab.page.keyboard.press('ArrowLeft')
  after = tab.settle()
  moved = np.flatnonzero(np.abs(after['latent'] - before) > 1e-6)
  assert moved.tolist() == [latent]
  assert after['latent'][latent] < before[latent]


def test_a_slider_holds_a_latent_far_out_and_does_not_jump(visit, digits):
  script = """async () => {
    const {Sliders} = await import('sliders');
    const [root, more] = [document.createElement('div'), document.createElement('button')];
    document.body.append(root);
    const given = [];
    const all = {priorMean: [0], std: [1], latentDim: 1, latents: null};
    const sliders = new Sliders(root, more, all, (k, value) => {
      given.push(value);
      sliders.show([value]);
    });
    sliders.show([4.5]);
    const input = root.querySelector('input');
    input.focus();
    return [input.valueAsNumber, input.getAttribute('aria-valuetext'), window.given = given];
  }"""
  page = visit(digits).page
  value, text, _ = page.evaluate(script)
  assert (value, text.split()[0]) == (4.5, '4.5')
  for _ in range(2):
    page.keyboard.press('ArrowLeft')
  np.testing.assert_allclose(page.evaluate('window.given'), [4.49, 4.48], rtol=1e-6)


def test_new_styles_differ_and_at_temperature_0_are_few(visit, digits):
  tab = visit(digits)
  drawn = []
  for _ in range(2):
    tab.page.click('#sample')
    drawn.append(tab.settle()['latent'])
  assert np.abs(drawn[0] - drawn[1]).max() > 0.01
  tab.page.locator('#temperature').fill('0')
  coldest = set()
  for _ in range(8):
    tab.page.click('#sample')
    tab.page.wait_for_timeout(200)
    coldest.add(tuple(tab.state['latent'].round(5)))
  assert len(coldest) < 8
  assert tab.caption == 'A new style'


def test_the_way_from_a_to_b_begins_at_a_and_ends_at_b(visit, digits):
  tab = visit(digits)
  tab.page.click('#examples li:nth-child(1) button')
  a = tab.settle()
  tab.page.click('#store-a')
  tab.page.click('#examples li:nth-child(8) button')
  b = tab.settle()
  tab.page.click('#store-b')
  tab.page.locator('#way').fill('0')
  np.testing.assert_allclose(tab.settle()['tiles'], a['tiles'], atol=1e-5)
  tab.page.locator('#way').fill('1')
  np.testing.assert_allclose(tab.settle()['tiles'], b['tiles'], atol=1e-5)
  tab.page.locator('#way').fill('0.5')
  middle = tab.settle()
  np.testing.assert_allclose(middle['latent'], (a['latent'] + b['latent']) / 2, atol=1e-5)
  tab.page.click('#play')
  places = {tab.page.input_value('#way')}
  for _ in range(5):
    tab.page.wait_for_timeout(200)
    places.add(tab.page.input_value('#way'))
  assert len(places) > 3
  tab.page.click('#play')
  tab.settle()


def test_drawing_stops_the_animation(visit, digits):
  tab = visit(digits)
  tab.page.click('#play')
  tab.page.wait_for_timeout(300)
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  assert tab.settle()['source'] == 'drawing'
  assert tab.page.text_content('#play') == 'Play'


def test_what_a_stopped_animation_still_decodes_is_not_shown(visit, digits):
  script = """async () => {
    const {Morph} = await import('morph');
    const [waiting, shown] = [[], []];
    const morph = new Morph({
      decodeAt: (t) => new Promise((resolve) => {
        waiting.push(() => resolve({latent: [t], images: [[t]]}));
      }),
      show: (t, latent, images) => shown.push([t, latent[0], images[0][0]]),
      onState() {},
    });
    const go = async (t, stops) => {
      const seen = morph.seek(t);
      if (stops) morph.stop();
      for (let i = 0; i < 9; i++) {
        waiting.splice(0).forEach((resolve) => resolve());
        await null;
      }
      await seen;
    };
    await go(0.3, true);
    await go(0.51, false);
    return shown;
  }"""
  shown = visit(digits).page.evaluate(script)
  np.testing.assert_allclose(shown, [[0.51, 0.51, 0.51]], rtol=1e-6)


def test_the_row_is_saved_as_a_picture(visit, digits, tmp_path):
  tab = visit(digits, color_scheme='dark')
  tab.settle()
  with tab.page.expect_download() as download:
    tab.page.click('#save')
  assert download.value.suggested_filename.endswith('.png')
  download.value.save_as(tmp_path / 'row.png')
  pixels = np.asarray(Image.open(tmp_path / 'row.png').convert('RGB'))
  assert pixels.shape[1] > 10 * pixels.shape[0] * 0.7
  assert pixels[0, 0].tolist() == [0x1C, 0x1F, 0x25]
  assert pixels.max() > 200  # light ink


def test_other_conditions_have_controls_and_change_the_tiles(visit, table):
  tab = visit(table)
  before = tab.settle()
  assert tab.page.locator('.condition > label:first-child').all_text_contents() == ['bar', 'grey']
  assert tab.page.is_checked('#condition-1-unknown')
  assert not tab.page.is_enabled('#condition-1')
  tab.page.locator('#condition-2').fill('90')
  assert tab.page.text_content('output[for=condition-2]') == '90 %'
  bright = tab.settle()
  assert np.abs(bright['tiles'] - before['tiles']).max() > 1e-3
  tab.page.uncheck('#condition-1-unknown')
  known = tab.settle()
  assert np.abs(known['tiles'] - bright['tiles']).max() > 1e-3
  after = visit(table, '#' + tab.page.url.split('#')[1])
  np.testing.assert_allclose(after.settle()['tiles'], known['tiles'], atol=1e-3)
  assert not after.page.is_checked('#condition-1-unknown')


def test_a_model_without_classes_has_one_tile_and_no_bars(visit, exported, tmp_path):
  model = lambda: saved_models.save(tmp_path / 'plain', conditional=False)  # noqa: E731
  tab = visit(exported('plain', model))
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  state = tab.settle()
  assert len(state['tiles']) == 1
  assert state['nats'] == pytest.approx(state['elbos'][0])
  assert not tab.page.is_visible('#reading .bars')
  assert not tab.page.is_visible('#reading-title')


def test_colours_are_drawn_with(visit, exported, tmp_path):
  model = lambda: saved_models.save(  # noqa: E731
    tmp_path / 'rgb', data__name='folder', data__channels=3, likelihood='gaussian'
  )
  tab = visit(exported('rgb', model))
  tab.page.click('#clear')
  tab.page.locator('#colour').fill('#ff0000')
  tab.stroke((0.5, 0.2), (0.5, 0.8))
  seen = tab.settle()['seen'].reshape(8, 8, 3)
  assert seen[..., 0].max() > 0.5
  assert seen[..., 1:].max() == 0


@pytest.mark.parametrize('width', [320, 390, 820])
@pytest.mark.parametrize('page', ['digits', 'table'])
def test_nothing_is_wider_than_a_phone(visit, request, page, width):
  tab = visit(request.getfixturevalue(page), viewport={'width': width, 'height': 844})
  tab.settle()
  assert tab.page.evaluate('document.documentElement.scrollWidth') == width


def test_a_finger_draws_and_explores(visit, digits):
  tab = visit(digits, viewport=PHONE, has_touch=True)
  tab.page.click('#clear')
  tab.settle()
  session = tab.context.new_cdp_session(tab.page)

  def touch(*points):
    for kind, at in zip(['touchStart'] + ['touchMove'] * (len(points) - 1), points, strict=True):
      session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': [at]})

  box = tab.page.locator('#pad').bounding_box()
  xs = box['x'] + box['width'] * np.linspace(0.3, 0.7, 9)
  touch(*({'x': float(x), 'y': box['y'] + box['height'] / 2} for x in xs))
  session.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
  drawn = tab.settle()
  assert drawn['source'] == 'drawing'
  x, y = tab.on_map(0.2, 0.2)
  touch({'x': x, 'y': y}, {'x': x + 20, 'y': y})
  tab.settle()
  assert tab.caption == 'Under the pointer'
  session.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
  np.testing.assert_array_equal(tab.settle()['tiles'], drawn['tiles'])


def test_every_control_is_reached_by_tab_and_has_a_name(visit, digits):
  tab = visit(digits)
  tab.settle()
  reached = []
  for _ in range(80):
    tab.page.keyboard.press('Tab')
    reached.append(tab.page.evaluate('document.activeElement.id'))
  controls = ('copy', 'theme', 'clear', 'save', 'map', 'sample', 'temperature', 'play', 'way')
  assert {*controls, 'store-a', 'store-b', 'latent-0'} <= {*reached}
  for control in tab.page.get_by_role('button').all() + tab.page.get_by_role('slider').all():
    label = control.get_attribute('aria-label') or control.text_content().strip()
    labelled = control.evaluate('node => node.labels?.length > 0')
    assert label or labelled, control.evaluate('node => node.outerHTML')


def test_light_and_dark(visit, digits):
  tab = visit(digits, color_scheme='dark')
  background = 'getComputedStyle(document.body).backgroundColor'
  assert tab.page.evaluate(background) == 'rgb(20, 22, 26)'
  tab.page.click('#theme')
  assert tab.page.evaluate(background) == 'rgb(246, 243, 236)'


def test_a_browser_without_webassembly_gets_one_line(browse, digits):
  tab = Visit(browse('--js-flags=--jitless'), digits)
  assert 'WebAssembly' in tab.page.text_content('#error')
  assert tab.page.is_visible('#error')
  assert not tab.page.is_visible('#pad')
  assert tab.complaints == []


def damaged(text):
  """The text of a page with half of its model, with other bytes, and without any."""
  begin = text.index('id="model">') + len('id="model">')
  end = text.index('<', begin)
  yield text[:begin] + text[begin : (begin + end) // 2] + text[end:]
  yield text[:begin] + base64.b64encode(b'no model').decode() + text[end:]
  yield text[:begin] + text[end:]


def test_a_damaged_page_says_so_in_one_line(visit, digits, tmp_path):
  for number, text in enumerate(damaged(digits.read_text())):
    file = tmp_path / f'{number}.html'
    file.write_text(text)
    tab = visit(file)
    assert 'damaged' in tab.page.text_content('#error')
    assert tab.page.is_visible('#error')


@pytest.mark.parametrize('share', [0.3, 0.9, 0.999])
def test_a_file_that_was_cut_says_so_in_one_line(chromium, digits, tmp_path, share):
  whole = digits.read_bytes()
  file = tmp_path / 'cut.html'
  file.write_bytes(whole[: int(share * len(whole))])
  page = chromium.new_context(offline=True).new_page()
  page.goto(f'file://{file}')
  page.wait_for_selector('#error', timeout=10_000)
  assert 'damaged' in page.text_content('#error')
  assert not page.is_visible('#app')
  page.context.close()


# The frame of drawings, in the page's own modules.


def framed(tab, images, strokes):
  """The frame of images [N, H, W], and strokes as it shows them, [H, W]."""
  script = """async ([images, shape, strokes]) => {
    const [{frameOf}, {render}] = [await import('framing'), await import('strokes')];
    const frame = frameOf(images.map((image) => Float32Array.from(image)), shape);
    const drawn = strokes.map((points) => ({points, colour: '#ffffff'}));
    return [frame, Array.from(render(drawn, null, shape, frame))];
  }"""
  shape = [*images.shape[1:], 1]
  flat = images.reshape(len(images), -1).tolist()
  frame, image = tab.page.evaluate(script, [flat, shape, strokes])
  return frame, np.reshape(image, images.shape[1:])


@pytest.mark.data('mnist')
def test_drawings_get_the_frame_of_mnist(visit, digits, real_data):
  images = cvae_jax.load('mnist').data(str(real_data.parent)).test.images[:20, ..., 0] / 255
  tab = visit(digits)
  for scale in (0.3, 1.0):
    points = (np.array([[0.3, 0.1], [0.6, 0.5], [0.3, 0.9]]) * scale * 4095).astype(int)
    frame, drawn = framed(tab, images, [points.ravel().tolist()])
    assert (frame['side'], frame['centre']) == (20, [14, 14])
    assert 2 < frame['brush'] < 3
    rows, columns = np.nonzero(drawn > 0.1)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=1)
    y, x = (np.indices(drawn.shape) * drawn).sum(axis=(1, 2)) / drawn.sum()
    assert max(abs(y - 14), abs(x - 14)) <= 0.5


def test_images_that_share_no_frame_give_none(visit, digits):
  images = np.zeros((4, 16, 16))
  for size, image in enumerate(images):
    image[2 : 4 + 3 * size, 2:5] = 1
  frame, _ = framed(visit(digits), images, [])
  assert frame is None


@pytest.mark.data('mnist')
def test_digits_by_mouse_are_read_by_the_shipped_model(visit, exported, real_data):
  model = cvae_jax.load('mnist')
  file = exported('mnist', lambda: model)
  digits = {
    1: [[(0.55, 0.15), (0.45, 0.85)]],
    4: [[(0.35, 0.15), (0.25, 0.5), (0.75, 0.5)], [(0.65, 0.15), (0.6, 0.9)]],
    7: [[(0.25, 0.2), (0.75, 0.2), (0.4, 0.9)]],
  }
  tab = visit(file)
  for digit, strokes in digits.items():
    tab.page.click('#clear')
    for points in strokes:
      tab.stroke(*points)
    state = tab.settle()
    assert state['label'] == digit
    assert state['bars'][digit] > 0.9
