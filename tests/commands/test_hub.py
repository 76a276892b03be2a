"""Models from a hub: a stand-in for it serves one repository to huggingface_hub."""

import shutil

import pytest

import hub_server
from cvae_jax.inference import shipped
from cvae_jax.runtime import libraries

needs_library = pytest.mark.skipif(
  not libraries.installed('huggingface_hub'), reason='needs make export-tools'
)


@pytest.fixture
def repository(tmp_path):
  """A folder with the shipped digits, and with what no model has."""
  folder = tmp_path / 'repository'
  shutil.copytree(shipped.FOLDER / 'digits', folder)
  (folder / 'modeling.py').write_text('raise SystemExit("executed")')
  return folder


@pytest.mark.slow
@needs_library
def test_a_model_is_fetched_once_and_executes_nothing(command, repository, tmp_path):
  home = {'HF_HOME': str(tmp_path / 'home'), 'HF_HUB_DISABLE_TELEMETRY': '1'}
  arguments = ('sample.py', '--digit', '3', '--workdir')
  with hub_server.serving(repository, 'me/digits', ('main', 'v1')) as (address, asked):
    done = command(*arguments, 'hf://me/digits@v1', HF_ENDPOINT=address, **home)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'hub/me/digits/samples/3-seed0-fitted_prior.png').is_file()
    assert any('weights.safetensors' in path for path in asked)
    assert not any('modeling.py' in path for path in asked)
    asked.clear()
    done = command(*arguments, 'hf://me/digits@v1', HF_ENDPOINT=address, **home)
    assert done.returncode == 0, done.stderr
    assert not any('/resolve/' in path for path in asked)
    for wrong, named in (('me/digits@v2', "'v2'"), ('me/other', 'me/other')):
      done = command(*arguments, f'hf://{wrong}', HF_ENDPOINT=address, **home)
      assert (done.returncode, done.stderr.count('\n')) == (2, 1), done.stderr
      assert done.stderr.startswith('sample.py: hf://')
      assert named in done.stderr
  # The hub is gone: the cache has the model.
  done = command(*arguments, 'hf://me/digits@v1', HF_ENDPOINT=address, **home)
  assert done.returncode == 0, done.stderr
  done = command(*arguments, 'hf://me/else', HF_ENDPOINT=address, **home)
  assert (done.returncode, done.stderr.count('\n')) == (2, 1), done.stderr
