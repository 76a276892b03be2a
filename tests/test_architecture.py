"""The order of the rooms: the contracts of pyproject.toml, checked by import-linter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

COMMAND = [Path(sys.executable).with_name('lint-imports'), '--no-cache', '--no-logo']


def lint(folder):
  return subprocess.run(
    [*COMMAND, ROOT / 'pyproject.toml'],
    cwd=folder,
    env=os.environ | {'COLUMNS': '100', 'PYTHONPATH': str(folder)},
    capture_output=True,
    text=True,
    check=False,
  )


def test_imports_go_downward_and_in_no_circle():
  done = lint(ROOT)
  assert done.returncode == 0, done.stdout


def test_a_climb_a_circle_and_a_module_without_a_place_are_found(tmp_path):
  package = tmp_path / 'cvae_jax'
  shutil.copytree(ROOT / 'cvae_jax', package, ignore=shutil.ignore_patterns('shipped', '*.pyc'))
  for path, line in (
    ('runtime/paths.py', 'import cvae_jax.plots.grids'),
    ('data/transforms.py', 'import cvae_jax.data.augmentation'),
    ('data/augmentation.py', 'import cvae_jax.data.transforms'),
    ('loose.py', ''),
  ):
    with open(package / path, 'a') as file:
      file.write(f'\n{line}\n')
  done = lint(tmp_path)
  assert done.returncode == 1
  for named in ('cvae_jax.runtime.paths -> cvae_jax.plots.grids', 'cvae_jax.loose'):
    assert named in done.stdout
  assert '.augmentation -> .transforms' in done.stdout or (
    '.transforms -> .augmentation' in done.stdout
  )
