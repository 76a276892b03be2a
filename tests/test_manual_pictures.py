"""The pictures of the manual."""

import re

from PIL import Image

from tools import make_figures

PICTURE = re.compile(r'!\[[^\]]*\]\(([^)]+)\)')
MAX_BYTES = 220_000


def test_each_picture_on_drawing_stands_below_the_command_that_makes_it():
  first, *shown = PICTURE.findall(make_figures.PAGE.read_text(encoding='utf-8'))
  assert first == 'images/handwriting.png'  # of the front page, with a layout of its own
  assert shown == [f'images/{name}' for name in make_figures.commands()]
  assert len(shown) > 10


def test_pictures_are_small_and_each_is_on_a_page():
  pages = [*make_figures.PAGE.parent.glob('*.md'), make_figures.ROOT / 'README.md']
  shown = {name for page in pages for name in PICTURE.findall(page.read_text(encoding='utf-8'))}
  shown = {name.removeprefix('docs/').removeprefix('images/') for name in shown}
  for path in make_figures.IMAGES.iterdir():
    with Image.open(path) as picture:
      picture.verify()
    assert path.stat().st_size < MAX_BYTES, path.name
    assert path.name in shown, path.name
