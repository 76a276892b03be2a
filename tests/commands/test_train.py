"""train.py as a user runs it."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

import made_data
from conftest import ROOT
from tiny import DENSE_FLAGS, TINY_FLAGS, rows

TINY_DENSE = [*TINY_FLAGS, *DENSE_FLAGS]


def train(command, *arguments, **environment):
  return command(
    'train.py', '--config', 'configs/default.py', *TINY_DENSE, *arguments, **environment
  )


@pytest.fixture
def refused_train(refused):
  return lambda *arguments, **environment: refused(
    'train.py', '--config', 'configs/default.py', *arguments, **environment
  )


def test_a_run_and_what_is_said_when_it_is_called_again(command, tmp_path):
  done = train(command)
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  lines = done.stdout.splitlines()
  assert 'parameters, 100 training and 50 validation images of digits' in lines[0]
  assert any('validation −ELBO' in line for line in lines)
  assert lines[-4].endswith('runs/tiny/samples/step_6.png')
  assert lines[-3].startswith('best and last: epoch 2, step 6, validation −ELBO ')
  assert lines[-1].endswith('python sample.py --workdir=runs/tiny')
  assert (tmp_path / 'runs/tiny/samples/step_6.png').is_file()
  assert '\x1b' not in done.stdout  # plain lines where there is no terminal
  assert (tmp_path / 'runs/tiny/train.log').read_text().count('/2  validation −ELBO') == 2

  hidden = str(ROOT / 'tests' / 'without_tensorflow')  # most of a start is to import it
  again = train(command, PYTHONPATH=hidden)
  assert again.returncode == 0
  assert 'is complete' in again.stdout

  other = train(command, '--config.beta=4', PYTHONPATH=hidden)
  assert other.returncode == 2
  assert 'beta is 1.0 there, 4.0 here' in other.stderr
  suggested = shlex.split(other.stderr.partition('Choose a free folder: ')[2])
  assert suggested[-1] == '--workdir=runs/tiny-2'
  pasted = command('train.py', *suggested[2:], PYTHONPATH=hidden)
  assert pasted.returncode == 0, pasted.stderr
  saved = json.loads((tmp_path / 'runs/tiny-2/config.json').read_text())
  assert saved['config']['beta'] == 4.0


@pytest.mark.slow
def test_the_command_to_paste_keeps_odd_names(command, tmp_path):
  odd = tmp_path / 'a  b ü'
  odd.mkdir()
  (odd / 'thesis.tex').write_text('')
  done = train(command, '--workdir', odd)
  assert done.returncode == 2
  suggested = shlex.split(done.stderr.partition('Choose a free folder: ')[2])
  assert suggested[-1] == f'--workdir={odd}-2'
  pasted = subprocess.run(
    [*suggested, '--smoke'], cwd=tmp_path, capture_output=True, text=True, check=False
  )
  assert pasted.returncode == 0, pasted.stderr


def test_ctrl_c_before_the_first_step_ends_with_one_line(command, tmp_path):
  del command  # only for the link to configs/
  process = subprocess.Popen(
    [sys.executable, str(ROOT / 'train.py'), '--config', 'configs/default.py', *TINY_DENSE],
    cwd=tmp_path,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  time.sleep(1)
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=15)
  assert process.returncode == 130
  assert said == 'train.py: Interrupted. The same command goes on from the last checkpoint.\n'


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_run(tmp_path, command):
  del command  # only for the link to configs/
  flags = shlex.join([*TINY_DENSE, '--config', 'configs/default.py'])
  shell = f'{sys.executable} {ROOT / "train.py"} {flags} | head -1'
  done = subprocess.run(
    ['bash', '-o', 'pipefail', '-c', shell],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stderr == ''
  assert (tmp_path / 'runs/tiny/samples/step_6.png').is_file()


# Sums in another order differ in the last bits, which a batch norm of 32 small images amplifies;
# statistics taken per device instead of over the global batch would be off by several percent.
# Quicker, and for up to 8 devices: tests/test_devices.py.
@pytest.mark.slow
@pytest.mark.parametrize(
  ('model', 'norm', 'tolerance'), [('resnet', 'group', 1e-4), ('resnet', 'batch', 1e-3)]
)
def test_one_device_or_four_train_the_same_run(command, tmp_path, model, norm, tolerance):
  for count in (1, 4):
    done = train(
      command,
      f'--config.model.name={model}',
      f'--config.model.norm={norm}',
      f'--workdir={count}',
      XLA_FLAGS=f'--xla_force_host_platform_device_count={count}',
    )
    assert done.returncode == 0, done.stderr
    assert f'on {count} cpu device(s)' in done.stdout
  for one, four in zip(rows(tmp_path / '1'), rows(tmp_path / '4'), strict=True):
    for name in one:
      if one[name]:
        assert float(one[name]) == pytest.approx(float(four[name]), rel=tolerance), name


@pytest.mark.slow
def test_smoke_leaves_nothing_on_disk(command, tmp_path):
  before = sorted(tmp_path.rglob('*'))
  # As a user's home: an empty one, where JAX has not been told of another cache.
  home = {'HOME': str(tmp_path / 'home'), 'XDG_CACHE_HOME': str(tmp_path / 'home')}
  done = train(command, '--smoke', JAX_COMPILATION_CACHE_DIR='', **home)
  assert done.returncode == 0, done.stderr
  assert 'All works' in done.stdout
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.slow
def test_training_without_tensorflow(command, tmp_path):
  hidden = str(ROOT / 'tests' / 'without_tensorflow')
  done = train(command, '--config.num_epochs=1', '--config.profile', PYTHONPATH=hidden)
  assert done.returncode == 0, done.stderr
  assert 'TensorFlow is not installed: nothing for TensorBoard' in done.stdout
  assert 'no trace will be written' in done.stdout
  assert not list((tmp_path / 'runs/tiny').glob('events*'))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.betaa=4'], "Unknown config field 'betaa'. Did you mean 'beta'?"),
    (['--config.data.nam=x'], "Unknown config field 'data.nam'. Did you mean 'data.name'?"),
    (['--config.data.name.x=1'], "Unknown config field 'data.name.x'"),
    (['--config.batch_size=0'], 'batch_size=0 is not an integer, 1 or more'),
    (['--config.batch_size=many'], "batch_size='many' is not an integer, 1 or more"),
    (['--config.beta=-1'], 'beta=-1.0 is not a number, 0 or more'),
    (['--config.beta_schedule=cylical'], "Did you mean 'cyclical'?"),
    (['--config.latent_dim=0'], 'latent_dim=0 is not an integer'),
    (['--config.model.groups=7'], 'model.groups=7 does not divide all of model.channels=(32, 64)'),
    (['--config.precision=float16'], "precision='float16' is not one of: float32, bfloat16"),
    (['--config.profile=maybe'], "profile='maybe' is not True or False"),
    (['--config.batch_size=99999'], 'batch_size=99999 is more than the 1,297 training images'),
    (['--confg.beta=4'], "Unknown command line flag 'confg.beta'"),
    (['surplus'], "Unexpected argument 'surplus'"),
    (['--config.init_from=nowhere'], 'neither a run folder nor a checkpoint'),
    (['--resume_from=nowhere'], 'neither a run folder nor a checkpoint'),
    (['--smoke', '--resume_from=x'], '--resume_from means nothing to --smoke: leave it out'),
    (['--find_lr', '--resume_from=x'], '--resume_from means nothing to --find_lr'),
    (['--workdir=.'], 'holds files that are no run'),
    (['--workdir=configs/mnist.py/x'], 'cannot be written'),
    (['--config.data.validation_examples=5'], 'data.validation_examples=5 cannot be split off'),
  ],
)
def test_mistakes_get_one_line(refused_train, arguments, message):
  assert message in refused_train(*arguments)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], '--config is missing'),
    (['--config='], '--config is empty'),
    (['--config', 'configs'], 'is no file'),
    (['--config', 'x' * 300], 'cannot be a path: File name too long'),
    (['--config.beta=4'], '--config is missing'),
    (['--config', 'configs/mnits.py'], "is not there. Did you mean 'configs/mnist.py'?"),
    (['--config', 'configs/mnits.py', '--config.beta=4'], 'is not there'),
  ],
)
def test_mistaken_config_files_get_one_line(refused, arguments, message):
  assert message in refused('train.py', *arguments)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('def get_config(:', 'is no Python'),
    ('x = 1', 'has no function get_config()'),
    ('import nothing_like_it\ndef get_config(): pass', 'fails: ModuleNotFoundError'),
    ('def get_config(): return 1 / 0', 'fails: ZeroDivisionError'),
    ('def get_config(): assert False', 'fails: AssertionError'),
    ('def get_config(): raise SystemExit(5)', 'fails: SystemExit'),
    ('def get_config(): return None', 'no ConfigDict'),
    (
      'from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({"beta": 1.0})',
      'lacks the field(s)',
    ),
  ],
)
def test_broken_config_files_get_one_line(refused, tmp_path, content, message):
  (tmp_path / 'mine.py').write_text(content)
  assert message in refused('train.py', '--config', 'mine.py')


@pytest.mark.parametrize('flag', ['--debug', '--debug=true'])
def test_debug_shows_the_traceback(command, flag):
  done = command('train.py', '--config', 'configs/default.py', '--config.latent_dim=0', flag)
  assert done.returncode == 2
  assert 'Traceback' in done.stderr


def test_the_last_value_of_a_flag_counts(refused_train):
  # Both are wrong, and only the last is spoken of.
  said = refused_train('--config.model.channels=8,0', '--config.model.channels=0,4')
  assert 'model.channels=(0, 4) is not' in said


@pytest.mark.slow
def test_data_that_cannot_be_had(refused_train, tmp_path):
  offline = {'HTTPS_PROXY': 'http://127.0.0.1:9', 'https_proxy': 'http://127.0.0.1:9'}
  (tmp_path / 'empty').mkdir()
  for folder in ('empty', 'missing/too'):
    flags = ('--config.data.name=mnist', f'--config.data.dir={folder}')
    began = time.monotonic()
    assert 'download failed' in refused_train(*flags, **offline)
    assert time.monotonic() - began < 30
  (tmp_path / 'broken').mkdir()
  for name in ('train-images-idx3', 'train-labels-idx1', 't10k-images-idx3', 't10k-labels-idx1'):
    (tmp_path / 'broken' / f'{name}-ubyte').write_bytes(b'\0\0\x08')
  flags = ('--config.data.name=mnist', '--config.data.dir=broken')
  assert 'is truncated' in refused_train(*flags)


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_no_traceback(command):
  done = train(
    command,
    '--config.learning_rate=1e30',
    '--config.learning_rate_schedule=constant',
    '--config.clip_norm=0',
    '--config.likelihood=gaussian',
  )
  assert done.returncode == 1
  assert done.stderr.count('\n') == 1
  assert 'not finite' in done.stderr


@pytest.mark.slow
def test_a_screen_without_greek_letters_is_no_reason_to_stop(command):
  done = train(command, '--smoke', PYTHONIOENCODING='ascii', PYTHONUTF8='0', LC_ALL='C')
  assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, 'openpty'), reason='no pseudo-terminals here')
@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar(tmp_path, command):
  del command  # only for the link to configs/
  primary, secondary = os.openpty()
  process = subprocess.Popen(
    [sys.executable, str(ROOT / 'train.py'), '--config', 'configs/default.py', *TINY_DENSE],
    cwd=tmp_path,
    stdout=secondary,
    stderr=secondary,
    env=os.environ | {'TERM': 'xterm', 'COLUMNS': '140', 'LINES': '40'},
  )
  os.close(secondary)
  said = b''
  while True:
    try:
      piece = os.read(primary, 4096)
    except OSError:  # the other side is closed
      break
    if not piece:
      break
    said += piece
  os.close(primary)
  assert process.wait() == 0
  text = said.decode()
  for part in ('epoch 2/2', 'step 6/6', 'loss', 'KL', 'images/s', 'time left'):
    assert part in text


@pytest.mark.slow
@pytest.mark.data('mnist')
def test_real_mnist_smoke(real_data, command):
  arguments = ('--config', 'configs/mnist.py', f'--config.data.dir={real_data}', '--smoke')
  done = command('train.py', *arguments)
  assert done.returncode == 0, done.stderr
  assert 'All works' in done.stdout


@pytest.mark.slow
def test_pictures_of_a_folder_streamed_to_an_unconditional_model(command, tmp_path):
  """A run with another choice at every place, from a folder of pictures to a grid of samples."""
  flags = [
    *made_data.make('folder', tmp_path / 'pictures'),
    '--config.data.name=folder',
    '--config.data.channels=3',
    '--config.data.placement=stream',
    '--config.data.augment.rotation=30',
    '--config.data.augment.brightness=0.2',
    '--config.conditional=False',
    '--config.likelihood=discretized_logistic',
    '--config.num_importance_samples=2',
    '--config.beta_schedule=cyclical',
    '--config.beta_delay_steps=1',
    '--config.optimizer=adam',
    '--config.model.name=conv',
    '--config.model.norm=none',
    '--config.model.dropout=0.1',
  ]
  home = {'XDG_CACHE_HOME': str(tmp_path / 'home')}
  done = train(command, *flags, **home)
  assert done.returncode == 0, done.stderr
  assert 'decoding 140 pictures' in done.stdout
  assert 'images streamed from the host' in done.stdout
  table = rows(tmp_path / 'runs/tiny')
  assert float(table[-1]['validation/bits_per_dim']) == pytest.approx(
    float(table[-1]['validation/negative_elbo']) / (192 * math.log(2))
  )
  again = train(command, *flags, '--workdir=again', '--config.data.placement=device', **home)
  assert 'decoding' not in again.stdout  # it was kept
  for row, other in zip(table, rows(tmp_path / 'again'), strict=True):
    assert float(row['train/loss']) == pytest.approx(float(other['train/loss']), rel=1e-5)
  sampled = command('sample.py', '--workdir=again', '--num_images=6')
  assert sampled.returncode == 0, sampled.stderr
  said = 'Samples, z ~ fitted prior: again/samples/all-seed0-n6-fitted_prior.png'
  assert sampled.stdout.splitlines()[1] == said
  refused = command('sample.py', '--workdir=again', '--digit=3')
  assert refused.returncode == 2
  assert 'unconditional' in refused.stderr
