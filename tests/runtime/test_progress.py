"""What is said while something takes long."""

import subprocess
import sys

from conftest import ROOT
from cvae_jax.runtime import progress


def test_without_a_terminal_a_few_lines(capsys):
  with progress.shown('counting') as advance:
    for number in range(100):
      advance((number + 1) / 100)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == 'counting ...'
  assert [line.split(',')[0].strip() for line in lines[1:]] == [
    f'counting: {share}%' for share in (25, 50, 75, 100)
  ]


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path):
  code = (
    'from cvae_jax.runtime import progress\n'
    'for number in range(20_000): progress.say(f"line {number}")\n'
    f'open({str(tmp_path / "done")!r}, "w")'
  )
  pipe = f'{sys.executable} -c {chr(39)}{code.replace(chr(39), chr(34))}{chr(39)} | head -1'
  done = subprocess.run(
    ['bash', '-c', pipe], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
  )
  assert done.stdout == 'line 0\n'
  assert done.stderr == ''
  assert (tmp_path / 'done').exists()
