"""Makes the pictures of the manual from the shipped weights.

  python -m tools.make_figures DIR                 all of them; DIR holds MNIST and Fashion-MNIST
  python -m tools.make_figures DIR handwriting     only those with these names

Each command of sample.py in docs/drawing.md that stands right above a picture makes that picture,
in docs/images/. `handwriting.png`, of the front page, has a layout of its own. The pictures of
sweeps and of comparisons, docs/images/kld_weight.png for one, come from the reports of these runs.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageSequence

import cvae_jax
from cvae_jax.inference import drawings, inputs
from cvae_jax.plots import style

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'drawing.md'
IMAGES = ROOT / 'docs' / 'images'
# A block of one command, and the picture below it.
SHOWN = re.compile(r'^```\n(python sample\.py [^\n]*)\n```\n+!\[[^\]]*\]\(images/([^)]+)\)', re.M)
GREYS = 64  # of a PNG file, which they halve
GIF_SIDE, GIF_GREYS = 240, 16  # pixels

# The front page: test images of MNIST, chosen for different styles.
HANDWRITING = (1337, 1170, 602, 899, 1346, 859)
SCALE = 3
MARGIN, GAP, HEADER = 18, 54, 46  # pixels
INK, FIRST_INK, PALE = (31, 41, 55), (200, 70, 20), (214, 218, 224)
FONT_SIZE = 20


def commands() -> dict[str, str]:
  """The commands of the page by the name of their picture."""
  return {name: command for command, name in SHOWN.findall(PAGE.read_text(encoding='utf-8'))}


def draw(command: str, name: str, data_dir: str) -> Path:
  """Runs a command of the page, with its picture in docs/images/."""
  path = IMAGES / name
  words = [data_dir if word == 'DIR' else word for word in shlex.split(command)[1:]]
  subprocess.run([sys.executable, *words, '--output', str(path)], cwd=ROOT, check=True)
  if path.suffix == '.gif':
    _shrink(path)
  else:
    Image.open(path).convert('L').quantize(GREYS).save(path, optimize=True)
  return path


def _shrink(path: Path) -> None:
  """Makes an animation small enough for a page."""
  with Image.open(path) as animation:
    size = [round(side * min(1, GIF_SIDE / max(animation.size))) for side in animation.size]
    frames = [
      frame.convert('L').resize(size, Image.Resampling.NEAREST).quantize(GIF_GREYS)
      for frame in ImageSequence.Iterator(animation)
    ]
    duration = animation.info['duration']
  frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0)


def handwriting(data_dir: str) -> Path:
  """Test images, and the handwriting of each as all ten digits; see `sample.py --mode style`."""
  model = cvae_jax.load('mnist_large')
  first = inputs.from_dataset(model, model.data(data_dir).test, HANDWRITING)
  images = drawings.restyle(model, first).images[..., 0]
  rows, columns, side, _ = images.shape
  tile = SCALE * side
  right = MARGIN + tile + GAP
  size = right + (columns - 1) * tile + MARGIN, HEADER + rows * tile + MARGIN
  picture = Image.new('RGB', size, 'white')
  for row, column in np.ndindex(rows, columns):
    ink = Image.fromarray(np.uint8(np.round(255 * images[row, column])))
    ink = ink.resize((tile, tile), Image.Resampling.BICUBIC)
    left = right + (column - 1) * tile if column else MARGIN
    colour = INK if column else FIRST_INK
    picture.paste(Image.new('RGB', ink.size, colour), (left, HEADER + row * tile), ink)
  pen = ImageDraw.Draw(picture)
  font = ImageFont.truetype(style.font_manager.findfont(style.FONT), FONT_SIZE)
  middle = MARGIN + tile + GAP // 2
  pen.line([(middle, HEADER // 3), (middle, size[1] - MARGIN)], PALE, 2)
  pen.text((MARGIN + tile // 2, HEADER // 2), 'written', FIRST_INK, font, 'mm')
  pen.text((right + tile // 4, HEADER // 2), 'drawn in the same handwriting', INK, font, 'lm')
  path = IMAGES / 'handwriting.png'
  picture.quantize(GREYS).save(path, optimize=True)
  return path


def main(data_dir: str, names: Collection[str]) -> None:
  """Makes the pictures of these names, without their suffix; of none, all."""
  data_dir = str(Path(data_dir).expanduser().resolve())
  known = commands()
  stems = {Path(name).stem for name in known} | {'handwriting'}
  if unknown := set(names) - stems:
    sys.exit(
      f'no picture {", ".join(sorted(unknown))}, expected some of {", ".join(sorted(stems))}'
    )
  for name, command in known.items():
    if not names or Path(name).stem in names:
      print(f'{draw(command, name, data_dir)}', flush=True)
  if not names or 'handwriting' in names:
    print(handwriting(data_dir))


if __name__ == '__main__':
  if len(sys.argv) < 2 or sys.argv[1].startswith('-'):
    sys.exit(__doc__)
  main(sys.argv[1], sys.argv[2:])
