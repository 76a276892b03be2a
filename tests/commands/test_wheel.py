"""The wheel alone, in a folder without the repository."""

import subprocess
import sys
import sysconfig
import venv
from functools import partial

import pytest

from conftest import ROOT
from tiny import DENSE_FLAGS

FIT = """
import cvae_jax
from sklearn.datasets import load_digits

digits = load_digits()
config = cvae_jax.default_config(num_epochs=1, **{'model.name': 'mlp', 'model.norm': 'none'})
model = cvae_jax.fit(digits.images / 16, digits.target, config)
print(cvae_jax.__file__, model.elbo(digits.images[:3] / 16, digits.target[:3]).elbo.shape)
"""


@pytest.fixture(scope='module')
def python(tmp_path_factory):
  """A Python with the wheel, and the libraries of this one."""
  folder = tmp_path_factory.mktemp('wheel')
  # A copy: setuptools writes beside what it builds.
  subprocess.run(['git', 'clone', '-q', str(ROOT), str(folder / 'source')], check=True)
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
  subprocess.run([*pip, 'wheel', '--no-deps', '-w', folder, folder / 'source'], check=True)
  venv.create(folder / 'venv')
  (packages,) = (folder / 'venv').glob('lib/python*/site-packages')
  (wheel,) = folder.glob('*.whl')
  subprocess.run([*pip, 'install', '--no-deps', '--target', packages, wheel], check=True)
  (packages / 'libraries.pth').write_text(sysconfig.get_path('purelib'))
  return folder / 'venv' / 'bin' / 'python'


@pytest.mark.slow
def test_the_wheel_trains_evaluates_and_draws(python, tmp_path, monkeypatch):
  monkeypatch.delenv('PYTHONPATH', raising=False)
  called = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True)

  def run(*words):
    done = called([python, *words])
    assert done.returncode == 0, done.stderr
    return done.stdout

  trained = run('-m', 'cvae_jax.train', '--config', 'digits', '--config.num_epochs=1', *DENSE_FLAGS)
  # What it suggests can be run as it stands.
  for line in trained.splitlines()[-2:]:
    words = line.partition(' python ')[2].split()
    run(*words, *(['--metrics=likelihood'] if 'evaluate' in line else []))
  assert list((tmp_path / 'runs/digits').glob('evaluation/*.json'))
  assert list((tmp_path / 'runs/digits').glob('samples/all*.png'))
  assert 'configs/sweeps/kld_weight.py' in run(
    '-m', 'cvae_jax.train', '--config=sweeps/kld_weight', '--help'
  )
  other = ['-m', 'cvae_jax.train', '--config', 'digits', '--config.beta=9', *DENSE_FLAGS]
  refused = called([python, *other])
  assert refused.returncode == 2
  assert '-m cvae_jax.train --config=digits ' in refused.stderr
  assert 'site-packages/cvae_jax/__init__.py (3,)' in run('-c', FIT)
  assert {path.name for path in tmp_path.iterdir()} == {'runs'}
