"""Commands whose output is closed, full, or read by nobody."""

import subprocess
import sys

import pytest

from conftest import ROOT

# Prints more than a buffer holds, then leaves a file.
PROGRAM = """
from pathlib import Path
from cvae_jax import cli

def main():
  print('β\\udce9')
  for _ in range(10):
    print('x' * 10_000, flush=True)
  Path('done').write_text('')

cli.run(main, 'doc')
"""


@pytest.mark.parametrize(
  'redirection',
  ['| true', '> /dev/full', '>&-', '<&-', '2>&-', '>&- 2>&- <&-', '> /dev/full 2>&1'],
)
@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_a_command_ends_its_work(tmp_path, redirection, unbuffered):
  (tmp_path / 'program.py').write_text(PROGRAM)
  line = f'set -o pipefail; {sys.executable} program.py {redirection}'
  environment = {'PYTHONUNBUFFERED': unbuffered, 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    ['bash', '-c', line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stderr) == (0, '')
  # No output went into the file that was opened after a descriptor was found closed.
  assert (tmp_path / 'done').read_text() == ''


def test_letters_that_the_terminal_lacks_and_bytes_of_names_are_shown(tmp_path):
  (tmp_path / 'program.py').write_text(PROGRAM)
  done = subprocess.run(
    [sys.executable, 'program.py'],
    cwd=tmp_path,
    env={'PYTHONIOENCODING': 'ascii', 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    check=False,
  )
  assert done.stdout.startswith(b'?\\xe9\n')
