"""Which folders may be used, where a checkpoint is, which run is the newest."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import refusing_kernel

from conftest import ROOT
from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.runtime.errors import InputError, OccupiedError
from cvae_jax.training import run_folder
from tiny import tiny_config

SAVED = SavedConfig(tiny_config(), tuple('0123456789'), 'f00d', {'training images': 7})


def is_usable(workdir, config):
  """Whether the folder is usable, and left as it is."""
  before = sorted(workdir.rglob('*'))
  try:
    run_folder.check_usable(workdir, config)
    return True
  except OccupiedError:
    return False
  finally:
    assert sorted(workdir.rglob('*')) == before


def test_new_empty_and_own_folders_are_usable(tmp_path):
  assert is_usable(tmp_path / 'new', tiny_config())
  (tmp_path / '.DS_Store').write_text('')
  assert is_usable(tmp_path, tiny_config())
  config_lib.save(tmp_path, SAVED)
  assert is_usable(tmp_path, tiny_config(log_every_steps=9))
  assert not is_usable(tmp_path, tiny_config(seed=9))


def test_another_run_is_refused_with_what_differs_and_a_free_folder(tmp_path):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  config_lib.save(workdir, SAVED)
  (tmp_path / 'run-2').mkdir()
  with pytest.raises(OccupiedError, match=r'beta is 1.0 there, 4.0 here; seed') as error:
    run_folder.check_usable(workdir, tiny_config(beta=4.0, seed=3))
  assert error.value.free_workdir == tmp_path / 'run-3'


def test_more_epochs_are_trained_in_another_folder_from_where_the_run_ended(tmp_path):
  workdir = tmp_path / 'run'
  (workdir / 'checkpoints').mkdir(parents=True)
  config_lib.save(workdir, SAVED)
  longer = tiny_config(num_epochs=9)
  with pytest.raises(OccupiedError) as error:
    run_folder.check_usable(workdir, longer)
  assert error.value.resume_from is None  # it has no checkpoint
  (workdir / 'checkpoints' / '6').mkdir()
  shorter, other = tiny_config(num_epochs=1), tiny_config(num_epochs=9, beta=4.0)
  for config, expected in ((longer, workdir), (shorter, None), (other, None)):
    with pytest.raises(OccupiedError, match='num_epochs is 2 there') as error:
      run_folder.check_usable(workdir, config)
    assert (error.value.resume_from, error.value.free_workdir) == (expected, tmp_path / 'run-2')


def test_strange_files_are_not_trained_over(tmp_path):
  thesis = tmp_path / 'thesis.tex'
  thesis.write_text('')
  for workdir in (tmp_path, thesis):
    with pytest.raises(OccupiedError, match=str(workdir)) as error:
      run_folder.check_usable(workdir, tiny_config())
    assert error.value.free_workdir == workdir.with_name(f'{workdir.name}-2')
  config_lib.save(tmp_path, SAVED)
  for name in ('samples', 'checkpoints'):
    (tmp_path / name).write_text('')
    with pytest.raises(OccupiedError, match=str(tmp_path / name)):
      run_folder.check_usable(tmp_path, tiny_config())
    (tmp_path / name).unlink()


def test_locate(tiny_run, tmp_path):
  assert run_folder.locate(tiny_run) == (tiny_run, None)
  assert run_folder.locate(tiny_run / 'checkpoints') == (tiny_run, None)
  assert run_folder.locate(tiny_run / 'checkpoints' / '4') == (tiny_run, 4)
  for path in (tmp_path, tiny_run / 'checkpoints' / '999', tmp_path / 'nowhere'):
    with pytest.raises(InputError, match=str(path)):
      run_folder.locate(path)


def test_a_folder_of_runs_is_told_apart(tiny_run, tmp_path):
  (tmp_path / 'sweep').mkdir()
  (tmp_path / 'sweep' / 'beta=1').symlink_to(tiny_run)
  with pytest.raises(InputError, match=r'1 run.*sweep/beta=1'):
    run_folder.locate(tmp_path / 'sweep')


def test_newest_is_the_run_written_last(tiny_run, tmp_path):
  for number, name in enumerate(('b', 'a', 'c')):
    shutil.copytree(tiny_run, tmp_path / name)
    for checkpoint in (tmp_path / name / 'checkpoints').iterdir():
      os.utime(checkpoint, (number, number))
  shutil.rmtree(tmp_path / 'c' / 'checkpoints')  # began later, but has no model yet
  assert run_folder.newest(tmp_path) == tmp_path / 'a'


def test_newest_where_there_is_none(tmp_path):
  assert run_folder.newest(tmp_path) is None
  (tmp_path / 'begun').mkdir()
  (tmp_path / 'begun' / 'config.json').touch()
  assert run_folder.newest(tmp_path) is None


def test_one_process_at_a_time(tmp_path):
  with run_folder.lock(tmp_path):
    second = run_folder.lock(tmp_path)
    with pytest.raises(InputError, match=rf'process {os.getpid()} on '):
      second.__enter__()
  with run_folder.lock(tmp_path):
    assert f'process {os.getpid()} on ' in (tmp_path / '.lock').read_text()  # free again


LOCKED = """
import sys
from pathlib import Path
from cvae_jax.training import run_folder
from refusing_kernel import refuse

refuse(int(sys.argv[2]), 'flock')
with run_folder.lock(Path(sys.argv[1])):
  print('locked')
"""


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_warning(tmp_path, number):
  if not refusing_kernel.NUMBERS:
    pytest.skip('the number of the system call is not known here')
  command = [sys.executable, '-c', LOCKED, str(tmp_path), str(number)]
  environment = os.environ | {'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}'}
  done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
  warning, last = done.stdout.splitlines()
  assert last == 'locked'
  assert str(tmp_path) in warning
  assert os.strerror(number) in warning


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  for take in (run_folder.lock, run_folder.made_whole):
    run = tmp_path / 'file' / 'run'
    with pytest.raises(InputError, match=str(run)), take(run):
      pytest.fail('it was made')


def test_made_whole_or_not_at_all(tmp_path):

  def break_off():
    with run_folder.made_whole(tmp_path / 'run') as folder:
      (folder / 'half').write_text('')
      raise KeyError

  with pytest.raises(KeyError):
    break_off()
  assert list(tmp_path.iterdir()) == []
  with run_folder.made_whole(tmp_path / 'run') as folder:
    (folder / 'all').write_text('')
  assert [path.name for path in tmp_path.rglob('*')] == ['run', 'all']


def test_free_names_of_folders_without_one(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert run_folder.free_name(Path()) == Path('runs') / f'{tmp_path.name}-2'
  assert run_folder.free_name(Path('/')) == Path('runs/run-2')
