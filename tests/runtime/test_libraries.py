"""Whether optional libraries are installed."""

from cvae_jax.runtime import libraries


def test_a_library_and_none():
  assert libraries.installed('numpy', 'jax')
  assert not libraries.installed('numpy', 'no_such_library')
  assert libraries.has_distribution('ml_collections')
  assert not libraries.has_distribution('no-such-library')


def test_a_folder_of_its_name_is_no_library(tmp_path, monkeypatch):
  (tmp_path / 'tracks_runs' / 'run-1').mkdir(parents=True)  # as wandb/ is
  monkeypatch.syspath_prepend(tmp_path)
  assert not libraries.installed('tracks_runs')
  (tmp_path / 'tracks_runs' / '__init__.py').touch()
  monkeypatch.syspath_prepend(tmp_path)  # forgets what was not there
  assert libraries.installed('tracks_runs')
