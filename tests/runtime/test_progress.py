"""What long work shows of its progress."""

import re
import subprocess
import sys

import pytest

from conftest import ROOT
from cvae_jax.runtime import progress


def use_terminal(monkeypatch):
  """To be called in the test itself: pytest sets sys.stdout after the fixtures."""
  monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '120')


def shown_text(capsys):
  """What was printed, without the terminal's control sequences."""
  return re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', capsys.readouterr().out)


def test_without_a_terminal_a_few_lines(capsys, monkeypatch):
  monkeypatch.setattr(progress, 'QUIET_SECONDS', 0)
  with progress.shown('counting') as advance:
    for number in range(100):
      advance((number + 1) / 100)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == 'counting ...'
  assert [line.split(',')[0].strip() for line in lines[1:]] == [
    f'counting: {percent}%' for percent in (25, 50, 75, 100)
  ]


@pytest.mark.parametrize('variable', ['FORCE_COLOR', 'TTY_COMPATIBLE'])
def test_a_file_is_no_terminal_whatever_the_environment_says(capsys, monkeypatch, variable):
  monkeypatch.setenv(variable, '1')
  with progress.shown('counting', 3, 'things') as advance:
    advance(3)
  assert capsys.readouterr().out == 'counting 3 things ...\n'


def test_a_terminal_that_cannot_move_its_cursor_has_lines(capsys, monkeypatch):
  use_terminal(monkeypatch)
  monkeypatch.setenv('TERM', 'dumb')
  with progress.shown('counting', 3, 'things') as advance:
    advance(3)
  assert capsys.readouterr().out == 'counting 3 things ...\n'


def test_long_work_is_forecast_after_its_first_pieces(capsys, monkeypatch):
  """Without the first, which compiles."""
  now = iter([0.0, 50.0, 53.0, 56.0, 59.0])
  monkeypatch.setattr(progress.time, 'perf_counter', lambda: next(now))
  with progress.shown('counting') as advance:
    for number in range(1, 5):
      advance(number / 100)
  lines = capsys.readouterr().out.splitlines()
  assert lines == ['counting ...', '  counting: about 291 s to go']


def test_quick_work_has_its_heading_alone_and_a_bar_without_lines_nothing(capsys):
  for lines in (True, False):
    with progress.shown('decoding', 1200, 'pictures', lines=lines) as advance:
      advance(1200, status='quick')
  assert capsys.readouterr().out == 'decoding 1,200 pictures ...\n'


def test_a_bar_counts_and_keeps_its_status_until_the_next(capsys, monkeypatch):
  use_terminal(monkeypatch)
  with progress.shown('epoch 1  step', 6, transient=False) as advance:
    advance(1, status='[loss 3]')
    advance(5, title='epoch 2  step')
  *_, last = shown_text(capsys).strip().splitlines()
  assert re.match(r'epoch 2  step 5/6 .*\[loss 3\] time left', last)


def test_a_bar_of_a_fraction_and_a_line_above_it(capsys, monkeypatch):
  use_terminal(monkeypatch)
  with progress.shown('fitting [x]') as advance:
    advance(0.5)
    progress.log('a line')
  lines = [line.strip() for line in shown_text(capsys).splitlines()]
  assert 'a line' in lines
  assert any(line.startswith('fitting [x]  50%') for line in lines)


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path):
  code = (
    'from cvae_jax.runtime import progress\n'
    'for number in range(20_000): progress.log(f"line {number}")\n'
    f'open({str(tmp_path / "done")!r}, "w")'
  )
  pipe = f'{sys.executable} -c {chr(39)}{code.replace(chr(39), chr(34))}{chr(39)} | head -1'
  done = subprocess.run(
    ['bash', '-c', pipe], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
  )
  assert done.stdout == 'line 0\n'
  assert done.stderr == ''
  assert (tmp_path / 'done').exists()
