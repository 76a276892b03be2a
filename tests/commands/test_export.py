"""export.py, run as a user does; tests/exporting/ has what the files hold."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import cvae_jax
from conftest import ROOT
from cvae_jax import exporting
from cvae_jax.exporting import onnx_files
from cvae_jax.inference import shipped
from cvae_jax.runtime import libraries

PAGE = (ROOT / 'docs' / 'exporting.md').read_text(encoding='utf-8')
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)

needs_onnx = pytest.mark.skipif(
  not libraries.installed(*onnx_files.LIBRARIES), reason='needs make export-tools'
)


def run_code(code, folder):
  """Runs it in a process of its own, in a folder."""
  words = [sys.executable, '-c', code]
  return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_onnx
def test_the_page_samples_a_digit_with_onnxruntime_and_numpy_alone(command, tmp_path):
  done = command('export.py', '--workdir', 'mnist', '--format', 'onnx')
  assert (done.returncode, done.stderr) == (0, '')
  differences = re.findall(r'(\w+)\.onnx: [\d.]+ MB, at most (\S+) from JAX', done.stdout)
  assert [name for name, _ in differences] == ['encoder', 'decoder', 'prior']
  assert all(float(difference) < 1e-4 for _, difference in differences)
  assert done.stdout.endswith('onnx: shipped/mnist/export/onnx\n')
  (example,) = (
    code for code in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL) if 'pgm' in code
  )
  imported = '\nimport sys\nprint(sorted({"jax", "cvae_jax", "flax", "torch"} & set(sys.modules)))'
  done = run_code(example + imported, tmp_path)
  assert (done.returncode, done.stderr, done.stdout) == (0, '', '[]\n')
  row = np.asarray(Image.open(tmp_path / 'threes.pgm'))
  assert row.shape == (28, 8 * 28)
  threes = row.reshape(28, 8, 28, 1).transpose(1, 0, 2, 3)
  seen = cvae_jax.load('mnist').classify(threes).argmax(axis=1)
  assert (seen == 3).sum() >= 7


@pytest.mark.slow
def test_the_page_loads_a_stablehlo_file_with_jax_alone(command, tmp_path):
  done = command('export.py', '--workdir', 'mnist', '--format', 'stablehlo')
  assert (done.returncode, done.stderr) == (0, '')
  assert '6 months' in done.stdout
  (example,) = (
    code for code in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL) if 'jax' in code
  )
  shown = '\nimport sys\nprint(images.shape, "cvae_jax" in sys.modules)'
  done = run_code(example + shown, tmp_path)
  assert (done.returncode, done.stderr, done.stdout) == (0, '', '(8, 28, 28, 1) False\n')


@pytest.mark.slow
def test_a_run_becomes_a_folder_for_a_hub_that_loads(forked_command, tiny_run, tmp_path):
  shutil.copytree(tiny_run, tmp_path / 'runs' / 'tiny')
  done = forked_command('export.py', '--format', 'hub')
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout.endswith('hub: runs/tiny/export/hub\n')
  done = forked_command('export.py', '--format', 'hub', '--checkpoint', '4', '--output', 'mine')
  assert done.stdout.endswith('hub: mine\n')
  for folder in ('runs/tiny/export/hub', 'mine'):
    done = forked_command('sample.py', '--workdir', folder, '--digit', '3')
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('kind', ['stablehlo', 'hub'])
def test_output_that_cannot_be_written_is_named(refused, tmp_path, kind):
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'thesis.tex').touch()
  for output in ('file', 'file/inside', 'mine', '/proc/nowhere/export'):
    message = refused('export.py', '--workdir', 'digits', '--format', kind, '--output', output)
    assert output in message


def test_unknown_formats_and_flags_that_do_nothing_are_refused(refused):
  message = refused('export.py', '--workdir', 'digits', '--format', 'pickle')
  assert all(name in message for name in ('pickle', *exporting.MODULES))
  message = refused('export.py', '--workdir', 'digits', '--format', 'hub', '--data_dir', 'data')
  assert '--data_dir' in message


@pytest.mark.parametrize('damage', ['bytes', 'foreign', 'text'])
def test_damaged_and_foreign_weights_are_refused(refused, tmp_path, damage):
  folder = tmp_path / 'model'
  shutil.copytree(shipped.FOLDER / 'digits', folder)
  weights = folder / 'weights.safetensors'
  if damage == 'bytes':
    content = bytearray(weights.read_bytes())
    content[-100] ^= 255
    weights.write_bytes(content)
  elif damage == 'foreign':
    shutil.copy(shipped.FOLDER / 'mnist_large' / 'weights.safetensors', weights)
  else:
    weights.write_text('no weights')
  assert 'weights.safetensors' in refused('export.py', '--workdir', 'model', '--format', 'hub')


def test_no_model_is_no_export(refused):
  assert 'nowhere' in refused('export.py', '--workdir', 'nowhere', '--format', 'onnx')
