"""Figures do not depend on the matplotlib settings of whoever draws them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from conftest import ROOT
from cvae_jax.plots import curves, figures

# A matplotlibrc such as people have: LaTeX, a dark style, a font that is not there.
HOSTILE = """
text.usetex: True
text.color: white
xtick.color: white
ytick.color: white
axes.labelcolor: white
axes.facecolor: black
figure.facecolor: black
savefig.facecolor: black
savefig.transparent: True
savefig.bbox: tight
savefig.pad_inches: 2
savefig.format: pdf
figure.dpi: 40
savefig.dpi: 37
figure.constrained_layout.use: True
axes.grid: True
axes.formatter.use_locale: True
axes.formatter.use_mathtext: True
axes.titlesize: 30
axes.xmargin: 0.4
font.family: A Font That Is Not There
font.size: 31
image.origin: lower
image.cmap: jet
image.interpolation: bicubic
lines.linewidth: 9
lines.marker: x
path.sketch: 1, 100, 2
legend.loc: center
legend.frameon: True
xtick.top: True
"""
DRAW = """
import numpy as np
from cvae_jax.plots import figures
image = np.eye(8).reshape(1, 1, 8, 8, 1)
png = figures.to_png(figures.image_grid(image, ['$x_1$'], ['y'], 'Of z'))
import matplotlib
settings = dict(matplotlib.rcParams.copy())
print(png.hex(), settings['backend'], settings['figure.dpi'])
"""


def pictures():
  """One of each kind, as the bytes of its file."""
  random = np.random.RandomState(0)
  values, kl = random.rand(3), random.rand(3)
  log = Path(__file__).with_name('log.csv')
  names = 'T_shirt $2$', 'Ärmel', 'العربية'
  drawn = [
    figures.image_grid(random.rand(3, 2, 8, 8, 1), names, ('1', '2'), 'Of $x_1$', {0: 'heading'}),
    figures.latent_scatter(random.randn(60, 2), np.arange(60) % 3, names, ('z0', 'z1'), 'run'),
    figures.kl_per_dimension(kl, kl > 0.3, 'KL'),
    figures.aggregate_posterior(random.randn(50, 3), kl, standard=True),
    figures.reliability(np.linspace(0, 1, 4), values, values, np.array([1, 2, 3]), 0.1),
    curves.learning_rate_ramp(np.logspace(-8, 0, 9), np.linspace(3, 1, 9), 1e-4),
    curves.plane({'beta=1': (0, 1), '$beta$': (1, 2)}, ('KL', 'FID')),
    curves.training_curves(log),
    curves.compared({'one': [log], '_other': [log]}),
  ]
  return list(map(figures.to_png, drawn))


@pytest.fixture(scope='module')
def usual():
  with matplotlib.rc_context():
    matplotlib.rcParams.update(matplotlib.rcParamsDefault)
    return pictures()


@pytest.fixture
def draw(tmp_path):
  """Draws in a process of its own, in a folder with a file `matplotlibrc`; returns its output."""

  def run(settings, environment):
    (tmp_path / 'matplotlibrc').write_bytes(settings)
    kept = {name: text for name, text in os.environ.items() if name not in ('HOME', 'MPLBACKEND')}
    return subprocess.run(
      [sys.executable, '-c', DRAW],
      cwd=tmp_path,
      env=kept | {'PYTHONPATH': str(ROOT)} | environment,
      capture_output=True,
      text=True,
      check=False,
    )

  return run


def test_pictures_have_the_same_bytes_with_any_settings(usual, tmp_path):
  (tmp_path / 'matplotlibrc').write_text(HOSTILE)
  with matplotlib.rc_context(fname=tmp_path / 'matplotlibrc'):
    assert matplotlib.rcParams['text.usetex']
    assert pictures() == usual


@pytest.mark.parametrize(
  ('settings', 'environment', 'left'),
  [
    # What can be used is what the user's own figures find.
    (HOSTILE.encode(), {'MPLBACKEND': 'svg'}, ['svg', '40.0']),
    # No text, an unknown backend, a file where a folder should be, no home.
    (b'figure.dpi: \xff', {'MPLBACKEND': 'nonsense', 'MPLCONFIGDIR': __file__}, ['agg', '100.0']),
  ],
)
def test_no_setting_of_the_user_ends_a_process_or_changes_its_pictures(
  settings, environment, left, draw
):
  done = draw(settings, environment)
  assert (done.returncode, done.stderr) == (0, '')
  picture, backend, dpi = done.stdout.split()
  image = np.eye(8).reshape(1, 1, 8, 8, 1)
  assert picture == figures.to_png(figures.image_grid(image, ['$x_1$'], ['y'], 'Of z')).hex()
  assert [backend, dpi] == left


def test_matplotlib_is_imported_in_one_place():
  importing = re.compile(r'^ *(import|from) matplotlib', re.MULTILINE)
  files = [*ROOT.glob('*.py'), *(ROOT / 'cvae_jax').rglob('*.py')]
  found = {path.name for path in files if importing.search(path.read_text('utf-8'))}
  assert found == {'style.py', 'quiet_tensorflow.py'}  # both inside `first_import`
