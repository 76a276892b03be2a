"""Names in every script: drawn with a font that has them, or called by their numbers."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from cvae_jax.plots import curves, figures, fonts
from cvae_jax.plots.style import font_manager
from figure_text import check_text

NO_FONT_HAS = '\U0003fffd'  # no character at all
IMAGES = np.random.RandomState(0).rand(3, 2, 8, 8, 1)


def font_file(path, characters):
  """A font whose glyphs are squares, each of another size."""
  builder, pen = FontBuilder(1000, isTTF=True), TTGlyphPen(None)
  builder.setupGlyphOrder(['.notdef', *(f'square{n}' for n in range(len(characters)))])
  builder.setupCharacterMap({ord(x): f'square{n}' for n, x in enumerate(characters)})
  glyphs = {'.notdef': pen.glyph()}
  for n in range(len(characters)):
    pen, side = TTGlyphPen(None), 800 - 600 * n
    pen.moveTo((100, 0))
    for corner in ((100, side), (100 + side, side), (100 + side, 0)):
      pen.lineTo(corner)
    pen.closePath()
    glyphs[f'square{n}'] = pen.glyph()
  builder.setupGlyf(glyphs)
  builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
  builder.setupHorizontalHeader(ascent=800, descent=-200)
  builder.setupNameTable({'familyName': path.stem, 'styleName': 'Regular'})
  builder.setupOS2(usWeightClass=400)
  builder.setupPost()
  builder.save(path)
  return str(path)


@pytest.fixture
def installed(monkeypatch):
  """Sets the font files of the system."""

  def install(*files):
    monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: list(files))
    fonts._fallbacks.cache_clear()
    fonts._explain.cache_clear()

  yield install
  fonts._fallbacks.cache_clear()


def test_a_font_of_the_system_draws_what_the_usual_one_lacks(installed, tmp_path, capsys):
  (tmp_path / 'broken.ttf').write_bytes(b'no font')
  installed(str(tmp_path / 'broken.ttf'), font_file(tmp_path / 'Squares.ttf', '猫数'))
  draw = lambda name: figures.image_grid(IMAGES[:1], (name,), title='Of 猫', class_names=('猫',))  # noqa: E731
  seen, first = check_text(draw('猫'))
  _, second = check_text(draw('数'))
  assert seen == ['猫', 'Of 猫']
  assert first.shape == second.shape
  # Of a square of 800 units and one of 200, in letters of 10 points.
  ink = [int(np.sum(255 - x[:, : x.shape[1] // 4].astype(float))) for x in (first, second)]
  assert ink[0] > 1.5 * ink[1]
  assert capsys.readouterr().out == ''


def test_a_class_that_no_font_shows_is_called_by_its_number(installed, capsys):
  installed()
  names = ('cat', '猫', '大猫')
  rows, title = ('猫', 'cat', '大猫'), 'Samples of 大猫'
  seen, _ = check_text(figures.image_grid(IMAGES, rows, title=title, class_names=names))
  assert seen == ['class 1', 'cat', 'class 2', 'Samples of class 2']
  assert capsys.readouterr().out.count('class 1 is 猫, class 2 is 大猫') == 1
  check_text(figures.image_grid(IMAGES, rows, title=title, class_names=names))
  assert capsys.readouterr().out == ''  # said once
  points, labels = np.random.RandomState(0).randn(60, 2), np.arange(60) % 3
  seen, _ = check_text(figures.latent_scatter(points, labels, names, ('z0', 'z1'), 'runs/猫'))
  assert {' cat', ' class 1', ' class 2'} <= set(seen)
  assert any(text.startswith(r'runs/\u732b') for text in seen)


@pytest.mark.parametrize('character', [NO_FONT_HAS, '\udce9', '\x1b', '\n', '\u0600'])
def test_no_character_stops_a_picture(character):
  name = f'a{character}b'
  check_text(figures.image_grid(IMAGES, (name, 'x', 'y'), (name, 'z'), name, {0: name}))
  check_text(figures.image_grid(IMAGES, (name, 'x', 'y'), class_names=('x', name)))
  check_text(
    figures.latent_scatter(IMAGES[0, 0, :, :2, 0], np.zeros(8, int), (name,), ('', ''), name)
  )
  check_text(curves.plane({name: (0, 1), 'b': (1, 2)}, ('KL', 'FID')))


@pytest.mark.parametrize(
  'name', ['$a_b$', r'$\frac{1}{', 'a_b^2', '{x}', '%', '#', '&', '_', r'\n']
)
def test_names_are_no_formulas(name):
  seen, _ = check_text(figures.image_grid(IMAGES, (name, 'x', 'y'), title=name))
  assert seen.count(name) == 2


def test_scripts_of_the_usual_font_need_no_other(monkeypatch):
  monkeypatch.setattr(font_manager, 'findSystemFonts', None)  # fails if it is called
  assert fonts.drawable(['Ärmel', 'Кот', 'γάτα', 'قطة', 'חתול', '😀']) == [
    'Ärmel', 'Кот', 'γάτα', 'قطة', 'חתול', '😀'
  ]  # fmt: skip


def test_wide_characters_are_given_room(installed, tmp_path):
  installed(font_file(tmp_path / 'Wide.ttf', '宽'))
  check_text(figures.image_grid(IMAGES, ('宽' * 20, 'b', 'c'), ('宽' * 9, '宽'), '宽' * 30))


def test_long_names_leave_room_for_the_curves(tmp_path):
  log = tmp_path / 'metrics.csv'
  log.write_text('validation/kl,epoch\n1,1\n2,2\n')
  names = '_' * 255, 'x=$1$' * 51  # as long as names of folders get
  seen, _ = check_text(curves.compared({name: [log] for name in names}))
  assert sum(text.endswith('…') for text in seen) == 2
  check_text(curves.plane(dict(zip(names, ((0, 1), (1, 2)), strict=True)), ('KL', 'FID')))
  points, labels = np.random.RandomState(0).randn(60, 2), np.arange(60) % 2
  check_text(figures.latent_scatter(points, labels, names, ('z0', 'z1'), names[0]))
