"""Runs of earlier versions of this package. Files in tests/stored are never rewritten."""

import tarfile

import numpy as np
import pytest

import cvae_jax
from conftest import ROOT
from cvae_jax.training import loop
from tiny import rows, tiny_config

CONFIG = tiny_config(checkpoint_every_steps=2, log_every_steps=3, keep_checkpoints=9)


@pytest.fixture
def run(tmp_path):
  """A run of version 0.1.0 on digits, stopped in the middle of its second and last epoch."""
  with tarfile.open(ROOT / 'tests' / 'stored' / 'run_of_0.1.0.tar.gz') as archive:
    archive.extractall(tmp_path, filter='data')
  return tmp_path / 'run'


def test_a_model_of_0_1_0_decodes_as_it_did_then(run):
  model = cvae_jax.load(run, checkpoint=4)
  images = model.decode(np.float32([[9, -5, 20], [30, -30, 15]]), [3, 7])
  expected = [[0.557109, 0.514830, 0.505554, 0.482484], [0.464845, 0.555123, 0.394001, 0.637287]]
  np.testing.assert_allclose(images[:, 4, 2:6, 0], expected, atol=1e-5)
  assert cvae_jax.load(run).step == 3  # the one that was validated


def test_a_run_of_0_1_0_resumes(run, tmp_path, capsys):
  loop.train(CONFIG, run)
  assert 'resuming at step 4' in capsys.readouterr().out
  loop.train(CONFIG, tmp_path / 'new')
  for old, new in zip(rows(run), rows(tmp_path / 'new'), strict=True):
    # The columns of its version stay; those that no term fills any more are empty.
    assert set(new) < set(old)
    for name in old:
      value = new.get(name, '')
      assert (old[name] == '') == (value == '')
      if value:
        assert float(old[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-3), name
