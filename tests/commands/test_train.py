"""train.py, run as a user does."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

import made_data
from conftest import ROOT
from cvae_jax.runtime import quiet_tensorflow
from cvae_jax.training.logging.metrics_file import EVENTS_PATTERN
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


def test_a_run_and_its_command_called_again(command, forked_command, tmp_path):
  done = train(command, MPLBACKEND='nonsense')  # Keras, behind TensorBoard, imports Matplotlib
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  lines = done.stdout.splitlines()
  assert 'parameters, 100 training and 50 validation images of digits' in lines[0]
  assert any('validation' in line and 'negative_elbo' in line for line in lines)
  assert lines[-4].endswith('runs/tiny/samples/step_6.png')
  assert lines[-3].startswith('best and last: epoch 2, step 6, validation ')
  assert lines[-1].endswith(f'python {ROOT / "sample.py"} --workdir=runs/tiny')
  assert (tmp_path / 'runs/tiny/samples/step_6.png').is_file()
  assert '\x1b' not in done.stdout  # plain lines where there is no terminal
  assert (tmp_path / 'runs/tiny/train.log').read_text().count('/2  validation ') == 2
  if quiet_tensorflow.installed('tensorboard'):
    assert 'TensorBoard' not in done.stdout  # it does not fail
    assert list((tmp_path / 'runs/tiny').glob(EVENTS_PATTERN))

  again = train(forked_command)
  assert again.returncode == 0
  assert 'complete' in again.stdout

  other = train(forked_command, '--config.beta=4')
  assert other.returncode == 2
  assert re.search(r'\bbeta\b.*1\.0.*4\.0', other.stderr)
  suggested = shlex.split(other.stderr.partition('Choose a free folder: ')[2])
  assert suggested[-1] == '--workdir=runs/tiny-2'
  pasted = forked_command('train.py', *suggested[2:])
  assert pasted.returncode == 0, pasted.stderr
  saved = json.loads((tmp_path / 'runs/tiny-2/config.json').read_text())
  assert saved['config']['beta'] == 4.0


@pytest.mark.slow
def test_the_suggested_command_quotes_odd_names(command, tmp_path):
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
  _, stderr = process.communicate(timeout=15)
  assert process.returncode == 130
  assert stderr == 'train.py: Interrupted. The same command resumes from the last checkpoint.\n'


CONFIG = """# -*- coding: {encoding} -*-
# é
from configs import default

def get_config(latent_dim='5'):
  config = default.get_config()
  config.latent_dim = int(latent_dim)
  config.seed = -1
  return config
"""


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1'])
def test_a_config_file_may_have_any_encoding_and_an_argument(refused, tmp_path, encoding):
  (tmp_path / 'mine.py').write_bytes(CONFIG.format(encoding=encoding).encode(encoding))
  assert 'seed=-1' in refused('train.py', '--config', 'mine.py')
  message = refused('train.py', '--config=mine.py:0')
  assert 'latent_dim=0' in message


def test_a_config_file_may_take_its_function_from_another(refused, tmp_path):
  (tmp_path / 'mine.py').write_text('from configs.mnist import get_config')
  assert 'seed=-1' in refused('train.py', '--config', 'mine.py', '--config.seed=-1')


@pytest.mark.parametrize(
  ('line', 'named'),
  [
    ('config.num_epochs = "many"', "'num_epochs'"),
    ('config.beta = [1]', "'beta'"),
    ('config.latent_dim = int(config.name)', "'default'"),
  ],
)
def test_a_wrong_type_in_a_config_file_gets_one_line(refused, tmp_path, line, named):
  (tmp_path / 'mine.py').write_text(
    'from configs import default\n'
    f'def get_config():\n  config = default.get_config()\n  {line}\n  return config\n'
  )
  message = refused('train.py', '--config', 'mine.py')
  assert 'mine.py' in message
  assert named in message
  assert 'Traceback' not in message


def test_more_epochs_of_a_finished_run_continue_it_in_another_folder(
  forked_command, tiny_run, tmp_path
):
  shutil.copytree(tiny_run, tmp_path / 'runs' / 'tiny')
  refused = train(forked_command, '--config.checkpoint_every_steps=2', '--config.num_epochs=3')
  assert refused.returncode == 2
  suggested = shlex.split(refused.stderr.partition('Choose a free folder: ')[2])
  pasted = forked_command('train.py', *suggested[2:])
  assert pasted.returncode == 0, pasted.stderr
  assert 'resuming at step 6' in pasted.stdout
  assert (tmp_path / 'runs/tiny-2/samples/step_9.png').is_file()


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_the_run(tmp_path, command):
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


# Sums in another order differ in the last bits, and a batch norm of 32 small images amplifies them.
# Statistics per device, instead of over the global batch, would differ by several percent.
# Faster, and for up to 8 devices: tests/runtime/test_devices.py.
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
  # An empty home, with no other cache configured for JAX.
  home = {'HOME': str(tmp_path / 'home'), 'XDG_CACHE_HOME': str(tmp_path / 'home')}
  done = train(command, '--smoke', JAX_COMPILATION_CACHE_DIR='', **home)
  assert done.returncode == 0, done.stderr
  assert 'Nothing was written' in done.stdout
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
  ('arguments', 'named'),
  [
    (['--config.betaa=4'], ["'betaa'", "'beta'"]),
    (['--config.data.nam=x'], ["'data.nam'", "'data.name'"]),
    (['--config.data.name.x=1'], ["'data.name.x'"]),
    (['--config.batch_size=0'], ['batch_size=0 ']),
    (['--config.batch_size=many'], ["batch_size='many'"]),
    (['--config.beta=-1'], ['beta=-1.0']),
    (['--config.beta_schedule=cylical'], ["beta_schedule='cylical'", "'cyclical'"]),
    (['--config.latent_dim=0'], ['latent_dim=0 ']),
    (['--config.model.groups=7'], ['model.groups=7', 'model.channels=(32, 64)']),
    (['--config.precision=float16'], ["precision='float16'", 'bfloat16']),
    (['--config.profile=maybe'], ["profile='maybe'"]),
    (['--config.batch_size=99999'], ['batch_size=99999', '1,297']),
    (['--confg.beta=4'], ["'confg.beta'"]),
    (['surplus'], ["'surplus'"]),
    (['--config.init_from=nowhere'], ['nowhere']),
    (['--resume_from=nowhere'], ['nowhere']),
    (['--smoke', '--resume_from=x'], ['--resume_from', '--smoke']),
    (['--smoke', '--find_lr'], ['--find_lr', '--smoke']),
    (['--find_lr', '--resume_from=x'], ['--resume_from', '--find_lr']),
    (['--apply'], ['--apply', '--find_lr']),
    (['--workdir=.'], ['Choose a free folder: ', '--workdir=']),
    (['--workdir=configs/mnist.py/x'], ['configs/mnist.py/x']),
    (['--config.data.validation_examples=5'], ['data.validation_examples=5']),
  ],
)
def test_mistakes_get_one_line(refused_train, arguments, named):
  message = refused_train(*arguments)
  assert all(text in message for text in named), message


@pytest.mark.parametrize(
  ('arguments', 'named'),
  [
    ([], ['--config']),
    (['--config='], ['--config']),
    (['--config', 'configs'], ["'configs'"]),
    (['--config', 'x' * 300], ['xxx', 'File name too long']),
    (['--config.beta=4'], ['--config is missing']),
    (['--config', 'configs/mnits.py'], ["'configs/mnits.py'", "'configs/mnist.py'"]),
    (['--config', 'configs/mnits.py', '--config.beta=4'], ["'configs/mnits.py'"]),
  ],
)
def test_mistaken_config_files_get_one_line(refused, arguments, named):
  message = refused('train.py', *arguments)
  assert all(text in message for text in named), message


@pytest.mark.parametrize(
  ('content', 'named'),
  [
    ('def get_config(:', ["'mine.py'", 'SyntaxError']),
    ('x = 1', ["'mine.py'", "'get_config'"]),
    ('import nothing_like_it\ndef get_config(): pass', ["'mine.py'", "'nothing_like_it'"]),
    ('def get_config(): return 1 / 0', ["'mine.py'", 'ZeroDivisionError']),
    ('def get_config(): assert False', ["'mine.py'", 'AssertionError']),
    ('def get_config(): raise SystemExit(5)', ["'mine.py'", 'SystemExit']),
    ('def get_config(): return None', ['NoneType', 'ConfigDict']),
    (
      'from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({"beta": 1.0})',
      ['batch_size', 'sigma'],
    ),
  ],
)
def test_broken_config_files_get_one_line(refused, tmp_path, content, named):
  (tmp_path / 'mine.py').write_text(content)
  message = refused('train.py', '--config', 'mine.py')
  assert all(text in message for text in named), message


@pytest.mark.parametrize('flag', ['--debug', '--debug=true'])
def test_debug_shows_the_traceback(command, flag):
  done = command('train.py', '--config', 'configs/default.py', '--config.latent_dim=0', flag)
  assert done.returncode == 2
  assert 'Traceback' in done.stderr


def test_the_last_value_of_a_flag_counts(refused_train):
  # Both are wrong; the message is about the last.
  message = refused_train('--config.model.channels=8,0', '--config.model.channels=0,4')
  assert 'model.channels=(0, 4)' in message


@pytest.mark.slow
def test_data_that_cannot_be_downloaded_or_read(refused_train, tmp_path):
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
def test_a_loss_that_is_not_finite_gets_one_line(command):
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
def test_a_terminal_without_greek_letters_does_not_stop_training(command):
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
  written = b''
  while True:
    try:
      piece = os.read(primary, 4096)
    except OSError:  # the other side is closed
      break
    if not piece:
      break
    written += piece
  os.close(primary)
  assert process.wait() == 0
  text = written.decode()
  for shown in ('epoch 2/2', 'step 6/6', 'loss', 'kl', 'images/s', 'time left'):
    assert shown in text


@pytest.mark.slow
@pytest.mark.data('mnist')
def test_real_mnist_smoke(real_data, command):
  arguments = ('--config', 'configs/mnist.py', f'--config.data.dir={real_data}', '--smoke')
  done = command('train.py', *arguments)
  assert done.returncode == 0, done.stderr
  assert 'Nothing was written' in done.stdout


@pytest.mark.slow
def test_pictures_of_a_folder_streamed_to_an_unconditional_model(command, tmp_path):
  """A run with other choices everywhere, from a folder of pictures to a grid of samples."""
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
  assert 'decoding' not in again.stdout  # cached
  for row, other in zip(table, rows(tmp_path / 'again'), strict=True):
    assert float(row['train/loss']) == pytest.approx(float(other['train/loss']), rel=1e-5)
  sampled = command('sample.py', '--workdir=again', '--num_images=6')
  assert sampled.returncode == 0, sampled.stderr
  assert sampled.stdout.endswith(': again/samples/all-seed0-n6-fitted_prior.png\n')
  refused = command('sample.py', '--workdir=again', '--digit=3')
  assert refused.returncode == 2
  assert 'unconditional' in refused.stderr
